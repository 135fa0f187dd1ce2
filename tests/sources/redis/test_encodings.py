"""Encodings of documents on the Redis server that has their index."""

from __future__ import annotations

import pytest
import redis

import podium
from fakes import LetterCounts
from podium.errors import InvalidInput
from podium.sources.loading import load_into
from podium.sources.redis import admin
from podium.sources.redis.description import encoding_prefix
from podium.sources.redis.encodings import index_encodings
from podium.sources.redis.server import Server
from redisearch import DOCUMENTS, IDS, NAME, ONE_HIT, TEXT_INFO, answering, source_at
from resp import FakeRedis, Gate

QUERY = "the capital of the United States"
PREFIX = encoding_prefix(f"{NAME}:")


def no_progress(count: int) -> None:
    pass


@pytest.fixture
def load(server):
    """A function that loads documents and their encodings. It returns how many were added, skipped and encoded."""

    def load_with_encodings(documents=DOCUMENTS, ids=IDS, reranker=None, **options):
        index = server.index(text=["title", "content"], embed=None, **options)
        index.prepare(len(documents))
        reranker = reranker or podium.Reranker(LetterCounts())
        counts = load_into(index, list(zip(ids, documents, strict=True)), no_progress, reranker)
        index.finish()
        index.close()
        return counts

    return load_with_encodings


def computed_count(server, **options) -> int:
    """Search with a reranker that has no encodings of its own, and return how many texts it encodes."""
    scorer = LetterCounts()
    source = server.source(text=None, embed=None)
    assert len(podium.Search(source, podium.Reranker(scorer), **options).search(QUERY)) == 4
    return len(scorer.computed)


def encoding_keys(client: redis.Redis) -> list[bytes]:
    return sorted(client.scan_iter(f"{PREFIX}*"))


@pytest.mark.recording("encodings")
def test_search_does_not_encode_documents_again(server, load):
    assert load() == (5, 0, 5)
    assert computed_count(server) == 0
    assert computed_count(server, rank_by="title") == 4
    assert load() == (0, 5, 0)


@pytest.mark.recording("encodings-added")
def test_documents_that_are_indexed_already_are_encoded(server, load):
    index = server.index(text=["title", "content"], embed=None)
    index.prepare(5)
    index.add(DOCUMENTS, IDS)
    index.close()
    assert computed_count(server) == 4
    assert load() == (0, 5, 5)
    assert computed_count(server) == 0


@pytest.mark.recording("encodings-changed")
def test_encodings_of_changed_and_deleted_documents_are_deleted(server, load):
    load()
    client = server.client()
    before = encoding_keys(client)
    changed = [DOCUMENTS[0] | {"content": "Carson City is the capital."}, DOCUMENTS[1] | {"year": 1}]
    assert load(changed, IDS[:2]) == (2, 0, 1)  # the text of the second document did not change
    after = encoding_keys(client)
    assert len(after) == len(before) == 5
    assert len({*after} - {*before}) == 1
    assert computed_count(server) == 0
    assert admin.delete(server.url, NAME, ["d0", "d4", "none"]) == 2
    assert len(encoding_keys(client)) == 3
    assert admin.drop(server.url, NAME) == 3
    assert not list(client.scan_iter(f"{NAME}*"))


@pytest.mark.recording("encodings-damaged")
def test_damaged_encodings_are_computed(server, load):
    load()
    client = server.client()
    for key in encoding_keys(client):
        client.set(key, "damaged")
    assert computed_count(server) == 4
    assert load() == (0, 5, 5)
    assert computed_count(server) == 0


@pytest.mark.recording("encodings-one")
def test_index_add_stores_encodings(server):
    index = server.index(embed=None)
    index.prepare(5)
    index.add(DOCUMENTS, IDS, keep=podium.Reranker(LetterCounts()))
    index.close()
    scorer = LetterCounts()
    podium.Search(server.source(text=None, embed=None), podium.Reranker(scorer)).search(QUERY)
    assert scorer.computed == []


@pytest.mark.recording("encodings-reserved")
def test_id_of_an_encoding_is_refused(server, load):
    with pytest.raises(InvalidInput, match=r"cannot have the id '\.podium-encoding:1'"):
        server.index(embed=None).check(DOCUMENTS[0], ".podium-encoding:1", 0)


@pytest.mark.parametrize("failure", ["slow", "refused", "integer", "too many values"])
def test_search_computes_encodings_that_redis_does_not_return(failure):
    gate = Gate()
    reply_to_mget = {"integer": 5, "too many values": ["x", "y"]}.get(failure, Exception("NOPERM no access"))
    answers = answering({"FT.INFO": TEXT_INFO, "FT.SEARCH": ONE_HIT, "MGET": reply_to_mget})
    with (
        FakeRedis(lambda words: gate(words) if words[0] == "MGET" and failure == "slow" else answers(words)) as server,
        source_at(server.url) as source,
    ):
        scorer = LetterCounts()
        search = podium.Search(source, podium.Reranker(scorer))
        for _ in range(2):
            assert len(search.search("red")) == 1
        gate.open()
        assert scorer.computed == ["red"]
        assert server.command_names().count("MGET") == 1  # the second search finds the encoding in memory


def test_failed_write_is_logged(caplog):
    """The store of encodings raises no error for it, so the log is the only place that names the reason."""
    with FakeRedis(answering({"SET": Exception("OOM command not allowed when used memory > 'maxmemory'.")})) as fake:
        index_encodings(Server.from_url(fake.url, NAME, timeout=5.0), f"{NAME}:").put({b"key": b"encoding"})
    assert "encodings could not be written: Redis at" in caplog.text
    assert "is full (maxmemory)" in caplog.text


def test_compaction_is_refused():
    with pytest.raises(InvalidInput, match="has nothing to compact"):
        podium.places.kind_of("redis://host/name").compact("redis://host/name")
