"""Filters for Redis: which are valid, and which fields an index must have for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redisvl.query.filter import Tag

from podium.errors import InvalidInput
from podium.sources.redis.filters import checked_filter, missing_field
from podium.sources.redis.replies import NO_INFO, Field
from redisearch import ids_of

KINDS = {"year": "NUMERIC", "kind": "TAG", "b-c": "TAG", "content": "TEXT", "title": "TEXT"}
INDEX = replace(NO_INFO, fields={name: Field(name, name, kind) for name, kind in KINDS.items()})


@pytest.mark.parametrize(
    "filter_text",
    [
        r"@year:[2000 +inf] -@kind:{a\|b | c}",
        '(@content:("an apple @nope:[1]") | ismissing(@year))',
        r"@b\-c:{x@y}",
        "@content|title:(red)",
        "@year>=3 @year==4",
        "(@kind:{a})=>{$weight: 0}",
    ],
)
def test_filter_that_fits_the_index_is_accepted(filter_text):
    assert checked_filter(filter_text) == filter_text
    assert missing_field(INDEX, None, None, filter_text) is None


@pytest.mark.parametrize("value", [None, "", " * "])
def test_filter_that_matches_everything_is_none(value):
    assert checked_filter(value) is None


@pytest.mark.parametrize("value", ["@k:{b*}", "-@k:{book | b*}", r"@k:{\ *}", "@n:[1 2] @k:{ b* | c}"])
def test_prefix_of_one_character_is_refused(value):
    with pytest.raises(InvalidInput, match="a prefix of one character, with which Redis finds nothing"):
        checked_filter(value)


@pytest.mark.parametrize("value", ["@k:{bo*}", r"@k:{b\*}", "@k:{b}", "@k:{a | bo*}", '@t:"b*"', "@k:{*b*}"])
def test_other_tags_are_not_refused(value):
    assert checked_filter(value) == value


TAGS = ["a b", "a`b", "a\nb", "a\tb", "a\rb", "_", "__", "a_b", "a|b", "a{b}", "a\\b", 'a"b']


@pytest.mark.recording("tags")
def test_expression_of_redisvl_finds_each_tag(server):
    """redisvl puts no backslash before a backtick and white space, which RediSearch would read as separators."""
    ids = [f"t{i}" for i in range(len(TAGS))]
    server.load([{"content": "apple", "kind": tag} for tag in TAGS], ids, embed=None)
    source = server.source(mode="text", embed=None)
    results = {tag: ids_of(source.search("apple", 20, filter=Tag("kind") == tag)) for tag in TAGS}
    assert results == {tag: [document_id] for tag, document_id in zip(TAGS, ids, strict=True)}
    either = ids_of(source.search("apple", 20, filter=Tag("kind") == ["a`b", "_"]))
    assert sorted(either) == ["t1", "t5"]
