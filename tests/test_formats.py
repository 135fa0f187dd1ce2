"""Documents from files: how a format is recognised, and errors that name the line."""

from __future__ import annotations

import pytest

from podium.errors import InvalidInput
from podium.formats import format_of, parse_documents


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b'  {"a": 1}', "jsonl"), (b'"a"', "jsonl"), (b"[1]", "json"), (b"plain", "txt")],
    ids=["object", "string", "array", "text"],
)
def test_format_is_recognised_by_the_first_character(content, kind):
    assert format_of("", content) == kind


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("txt", b"a\n\xff\xfe\n", "line 2: not UTF-8"),
        ("jsonl", b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("jsonl", b"[1]\n", "line 1: a document is a JSON string or object, not list"),
        ("json", b"{}", "one dict"),
        ("json", b"[5]", "item 0"),
        ("csv", b"a,b\n1\n", "line 2: not as many cells"),
        ("csv", b"a,b\n1,2,3\n", "line 2: not as many cells"),
        ("csv", b"a;b;c,d\n1;2\n", "line 2: not as many cells as the header.* semicolons"),
        ("csv", b'a,b\n"1,2\n', "line"),
        ("csv", b"text,text\na,b\n", "a column twice"),
        ("xlsx", b"", "no format 'xlsx'"),
    ],
    ids=[
        "encoding",
        "JSON lines",
        "JSON lines of a list",
        "JSON object",
        "JSON array of a number",
        "CSV with a missing cell",
        "CSV with another cell",
        "CSV with semicolons",
        "CSV with an unclosed quote",
        "CSV with a repeated column",
        "unknown format",
    ],
)
def test_damaged_file_is_refused(kind, content, message):
    with pytest.raises(InvalidInput, match=message):
        parse_documents(content, kind, "docs")


def test_column_without_a_name_is_read():
    """pandas writes such a column for its index."""
    assert parse_documents(b",text\n0,a\n", "csv", "docs") == [{"": "0", "text": "a"}]
