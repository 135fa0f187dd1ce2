"""Places: the sources at URLs, folders and files, and options that only some kinds of place have."""

from __future__ import annotations

import json

import pytest

import podium
from podium.errors import InvalidInput, SourceError
from podium.inputs import comma_list
from podium.places import KINDS, IndexOptions, SourceOptions, index_target, kind_of, load_source, weights
from podium.sources.redis.place import split_url

DOCUMENTS = [{"title": "Nevada", "body": "the capital city"}, {"title": "Bread", "body": "flour and water"}]
SECRET = "s3c"  # the beginning of the passwords below


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text("\n".join(map(json.dumps, DOCUMENTS)), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    podium.EmbeddedIndex.create(tmp_path / "index", text="body").add(DOCUMENTS)
    return tmp_path / "index"


@pytest.mark.parametrize(
    ("url", "server", "name"),
    [
        ("redis://u:p@h:1/docs?ssl=x", "redis://u:p@h:1?ssl=x", "docs"),
        ("redis://u:p@h:1/0/docs", "redis://u:p@h:1/0", "docs"),
        ("redis://h?index=a/b", "redis://h", "a/b"),
        ("unix:///run/redis.sock?db=1&index=docs", "unix:///run/redis.sock?db=1", "docs"),
        ("redis+sentinel://h:26379/main/0/docs", "redis+sentinel://h:26379/main/0", "docs"),
    ],
    ids=["path", "database", "parameter", "socket", "sentinel"],
)
def test_url_is_split_into_server_and_index(url, server, name):
    assert split_url(url) == (server, name)


@pytest.mark.parametrize(
    "url", ["redis://h/2/docs", "redis://h/a/b/docs", "redis://u:123/s3c@h/docs", "redis+sentinel://h/main/3/docs"]
)
def test_url_with_another_database_or_path_is_refused(url):
    with pytest.raises(InvalidInput, match="database 0 only") as caught:
        split_url(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://h", "redis://h/", "redis://h/0", "unix:///run/redis.sock"])
def test_url_without_an_index_is_refused(url):
    with pytest.raises(InvalidInput, match="names no index"):
        split_url(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("redis://[bad/x", "%2F", id="bracket"),
        pytest.param("redis://u:s3c/ret@h/docs", "%2F", id="slash-in-password"),
        pytest.param("redis://h/docs#two", "%23", id="fragment"),
        pytest.param("REDIS://u:s3cret@h/x", "at a URL of this kind; use redis://", id="capitals"),
        pytest.param("redis:/u:s3cret@h/x", "at a URL of this kind; use redis://", id="one-slash"),
        pytest.param("http://u:s3cret@h/x", "at a URL of this kind; use redis://", id="unknown-scheme"),
    ],
)
def test_invalid_url_is_refused_without_its_password(url, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        load_source(url)
    assert SECRET not in str(caught.value)


def test_file_is_indexed_in_memory(file):
    assert load_source(file, text=["body"]).search("flour", 3)[0]["title"] == "Bread"


def test_keyword_replaces_the_field_of_the_options(file):
    source = load_source(file, SourceOptions(text=["title"]), text=["body"])
    assert source.search("flour", 3)[0]["title"] == "Bread"


def test_folder_is_opened(folder):
    assert load_source(folder).search("flour", 3)[0]["title"] == "Bread"


def test_redis_is_not_connected_before_the_first_search():
    source = load_source("redis://127.0.0.1:9/docs")
    with pytest.raises(SourceError, match="cannot reach Redis"):
        source.search("a", 1)
    source.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"text": ["title"]}, "leave them out", id="fields"),
        pytest.param({"vector": "v", "timeout": 2}, "only an index on Redis takes timeout", id="two-of-redis"),
        pytest.param({"filter": "n:[1 2]"}, "the filter cannot be read", id="filter"),
        pytest.param({"candidates": 3}, "a source has no option candidates; it has text, embed", id="unknown"),
    ],
)
def test_option_that_a_folder_does_not_have_is_refused(folder, options, message):
    with pytest.raises(InvalidInput, match=message):
        load_source(folder, **options)


def test_folder_and_file_are_filtered(folder, file):
    for location in (folder, file):
        source = load_source(location, text=None if location is folder else ["body"], filter="@title:{bread}")
        assert [hit["title"] for hit in source.search("flour the capital", 9)] == ["Bread"]


def test_place_without_an_index_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is not an index of podium; create one"):
        load_source(tmp_path)
    with pytest.raises(SourceError, match="there is no"):
        load_source(tmp_path / "missing")


def test_index_cannot_be_created_at_the_path_of_a_file(file):
    with pytest.raises(SourceError, match="there is no folder"):
        kind_of(str(file)).summaries(str(file))
    target = index_target(str(file), IndexOptions(sample="a"))
    with pytest.raises(SourceError, match="exists and is not an index"):
        target.prepare(1, lambda percent: None)


def test_every_option_of_a_kind_exists():
    for kind in KINDS:
        assert set(kind.index_options) <= set(IndexOptions.__dataclass_fields__)
        assert set(kind.source_options) <= set(SourceOptions.__dataclass_fields__)


def test_comma_list_ignores_spaces_and_empty_names():
    assert comma_list(" a, ,b ") == ["a", "b"]


def test_weight_of_a_field_follows_a_caret():
    assert weights("title^2.5, body") == {"title": 2.5, "body": 1.0}
    assert weights("x^y") == {"x^y": 1.0}
    assert weights(None) is None
