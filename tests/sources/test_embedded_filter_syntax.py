"""Filter expressions of an EmbeddedIndex: their meaning, errors, and the terms of documents that they are compared with."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import InvalidInput
from podium.sources.embedded.filter_syntax import And, Missing, Not, Number, Or, Tag, fields_of, parsed_filter
from podium.sources.embedded.filter_terms import filter_terms, number_range, sortable

A = Tag("a", ("x",))
B = Tag("b", ("y",))
C = Number("c", 1, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@a:{x}", A),
        ("@a : { x }", A),
        ('@a:{"x"}', A),
        ("@a:{x | y|z}", Tag("a", ("x", "y", "z"))),
        (r"@a:{a\|b | c\}d | \ e}", Tag("a", ("a|b", "c}d", " e"))),
        ('@a:{"a|b}" | "\\"" | c d}', Tag("a", ("a|b}", '"', "c d"))),
        (r"@a:{x* | y\* | z\\*}", Tag("a", ("y*",), ("x", "z\\"))),
        ("@a:{x-y z@w.com}", Tag("a", ("x-y z@w.com",))),
        ("@c:[1 2]", C),
        ("@c:[ 1,  2 ]", C),
        ("@c:[(1 (2]", Number("c", 1, 2, low_is_exclusive=True, high_is_exclusive=True)),
        ("@c:[-inf +INF]", Number("c")),
        ("@c:[-1.5e3 .5]", Number("c", -1500, 0.5)),
        ("@c==3", Number("c", 3, 3)),
        ("@c != 3", Not(Number("c", 3, 3))),
        ("@c>3", Number("c", low=3, low_is_exclusive=True)),
        ("@c>=3", Number("c", low=3)),
        ("@c<3", Number("c", high=3, high_is_exclusive=True)),
        ("@c<=-3", Number("c", high=-3)),
        ("ismissing(@a)", Missing("a")),
        ("ISMISSING( @a )", Missing("a")),
        (r"@author\.name:{x}", Tag("author.name", ("x",))),
        ("@author.name:{x}", Tag("author.name", ("x",))),
        (r"@b\-c\ d:{x}", Tag("b-c d", ("x",))),
        ("@größe:{x}", Tag("größe", ("x",))),
        ("@a:{x} @b:{y}", And((A, B))),
        ("@a:{x}|@b:{y}", Or((A, B))),
        ("@a:{x} @b:{y} | @c:[1 2]", Or((And((A, B)), C))),
        ("@a:{x} (@b:{y} | @c:[1 2])", And((A, Or((B, C))))),
        ("-@a:{x} @b:{y}", And((Not(A), B))),
        ("- -@a:{x}", A),
        ("-(@a:{x} | @b:{y})", Not(Or((A, B)))),
        ("((@a:{x}))", A),
        ("(@a:{x})=>{$weight: 0;} @b:{y} => { $weight: 2 }", And((A, B))),
        ("* -@a:{x}", And((And(()), Not(A)))),
    ],
)
def test_expression_is_parsed_to_a_condition(text, expected):
    assert parsed_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("book", "at 'book' .character 1.; write @field:{value} or @field:.low high.", id="word"),
        pytest.param("kind:book", "at 'kind:book'", id="no-sign"),
        pytest.param("@kind:book", "compares whole values, not words; write @kind:{value}", id="word-of-field"),
        pytest.param('@kind:"a b"', "compares whole values, not words; write @kind:{value}", id="phrase"),
        pytest.param("@a|b:{x}", "a field needs a value", id="two-fields"),
        pytest.param("@a-b:{x}", "write special characters of its name after a", id="name"),
        pytest.param("@", "at '@'", id="at-sign"),
        pytest.param("@a:", "at its end", id="colon"),
        pytest.param("@a:{", "close the braces", id="open-brace"),
        pytest.param("@a:{x", "close the braces", id="no-closing-brace"),
        pytest.param("@a:{}", "close the braces", id="no-value"),
        pytest.param("@a:{x | }", "close the braces", id="no-second-value"),
        pytest.param('@a:{"x}', "or the value between double quotes", id="open-quote"),
        pytest.param("@a:{x}y}", "at 'y}'", id="brace-in-value"),
        pytest.param("@a:{*x}", "can only be at the end of a value", id="suffix"),
        pytest.param("@a:{x*y}", "can only be at the end of a value", id="infix"),
        pytest.param("@a:[1]", "a range has two numbers", id="one-number"),
        pytest.param("@a:[x y]", "a range has two numbers", id="words-in-range"),
        pytest.param("@a:[2 48 5 km]", "a range has two numbers", id="place"),
        pytest.param("@a:[1 2", "a range has two numbers", id="no-closing-bracket"),
        pytest.param("@a:[nan nan]", "a range has two numbers", id="nan"),
        pytest.param("@a>x", "a field needs a value", id="compared-word"),
        pytest.param("@a:{x} |", "at its end", id="nothing-after-or"),
        pytest.param("| @a:{x}", "at '| @a:{x}'", id="nothing-before-or"),
        pytest.param("-", "at its end", id="nothing-negated"),
        pytest.param("()", "at '.' .character 2.", id="empty-group"),
        pytest.param("(@a:{x}", "a closing parenthesis is missing", id="open-group"),
        pytest.param("@a:{x})", "at '.' .character 7.", id="closed-group"),
        pytest.param("~@a:{x}", "at '~@a", id="optional"),
        pytest.param("\x00", "cannot be read", id="control-character"),
        pytest.param("(" * 40 + "@a:{x}" + ")" * 40, "more than 32 groups inside each other", id="deep"),
        pytest.param("@a:{" + "|".join(f"k{i}*" for i in range(2_000)) + "}", "more than 1,000 conditions", id="prefixes"),
        pytest.param("@a:{x} " * 2_000, "more than 1,000 conditions; write @kind:{a . b} for several values", id="long-and"),
        pytest.param(" " * 1_000_001, "the filter has 1,000,001 characters; it can have 1,000,000", id="long"),
    ],
)
def test_expression_that_cannot_be_read_is_an_error_with_a_remedy(text, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        parsed_filter(text)
    assert len(str(caught.value)) < 300


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*'@a1.:{}[]()|-*"\\ =><!,~\n☃', "@a:{", "inf", "ismissing(", "=>{"]), max_size=25))
def test_any_text_is_a_filter_or_an_error(parts):
    try:
        list(fields_of(parsed_filter("".join(parts))))
    except InvalidInput:
        pass


@pytest.mark.parametrize(
    "text",
    [
        "@a:{" + " " * 500_000,
        "@a:{" + "\\" * 500_000,
        '@a:{"' + "\\" * 500_000,
        "@a:[" + "1" * 500_000,
        "@a:[" + " " * 500_000,
        "@a>" + "1." * 200_000,
        "-" * 500_000,
        "@" + "\\a" * 200_000,
        "ismissing(" + " " * 500_000,
        "@a:{x}" + " " * 500_000 + "=>{" + "x" * 100_000,
    ],
    ids=lambda text: text[:12].strip(),
)
def test_time_to_read_an_expression_is_linear_in_its_length(text):
    """The limit of 20 seconds is far above a linear time, and far below a quadratic one, which would be hours."""
    start = time.process_time()
    with pytest.raises(InvalidInput):
        parsed_filter(text)
    assert time.process_time() - start < 20


def test_many_values_of_a_field_are_one_condition():
    assert len(parsed_filter("@a:{" + "|".join(map(str, range(50_000))) + "}").values) == 50_000


NUMBERS = [-math.inf, -1e300, -17, -1.5, -1e-300, -0.0, 0.0, 5e-324, 0.1, 1, 2, 1e15 + 0.3, 2**53 + 1, 1e300, math.inf]


@pytest.mark.parametrize("low", NUMBERS)
def test_range_has_exactly_its_numbers(low):
    for high in NUMBERS:
        for is_exclusive in (False, True):
            first, last = number_range(Number("n", low, high, is_exclusive, is_exclusive))
            in_range = [number for number in NUMBERS if first <= sortable(number) <= last]
            expected = [number for number in NUMBERS if (low < number < high if is_exclusive else low <= number <= high)]
            assert in_range == expected


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_sortable_integers_sort_like_the_numbers(first, second):
    assert (sortable(first) < sortable(second)) == (first < second)
    assert -(2**63) <= sortable(first) < 2**63


def test_terms_of_a_document_name_its_fields():
    fields_with_terms = {"kind": " Book ", "year": 1990, "price": "3.5", "open": True, "deep": [{"a": {"b": "x"}}, {"a": "y"}]}
    fields_without_terms = {"none": None, "blank": " ", "empty": [], "not": math.nan, "n" * 201: "z"}
    names = filter_terms(fields_with_terms | fields_without_terms | {"text": "t" * 201}).names
    assert names == {
        *("tag kind", "tag year", "number year", "tag price", "number price", "tag open"),
        *("tag deep.a.b", "tag deep.a", "long text"),
    }


def test_terms_of_two_fields_are_never_equal():
    assert not filter_terms({"a=b": "c"}).terms & filter_terms({"a": "b=c"}).terms


def test_equal_values_have_one_term():
    assert filter_terms({"a": "É"}).terms == filter_terms({"a": "e\u0301 "}).terms
    assert len(filter_terms({"a": ["x", "X", 1, "1", 1.0]}).terms) == 3


@pytest.mark.parametrize(
    "value", ["nan", "inf", "1_000", "0x10", "1 2", "١", 10**400, "9" * 300], ids=lambda value: str(value)[:6]
)
def test_value_that_is_not_a_number_has_no_number_term(value):
    assert not [name for name in filter_terms({"n": value}).names if name.startswith("number")]
