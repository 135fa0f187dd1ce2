"""RedisSource and RedisIndex, over a socket: what a real server answered, replayed; the real one too where there is one.

PODIUM_TEST_REDIS_URL names a server with the search module; its indexes whose names begin with podium-test are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import redis
from redisvl.index import AsyncSearchIndex, SearchIndex
from redisvl.query import VectorQuery
from redisvl.query.filter import FilterExpression, Num, Tag

import podium
import resp
from environment import PARITY, ROOT
from loopback import wait_until
from podium.errors import InvalidInput, SourceError
from podium.formats import stream_documents
from podium.integrations.redisvl import Vectorizer
from podium.places import load_source
from podium.sources.loading import load_into, with_ids
from podium.sources.redis import admin as redis_admin
from podium.sources.redis import commands as redis_queries
from podium.sources.redis import replies as redis_wire
from podium.sources.redis.description import lease_key
from podium.sources.redis.filters import checked_filter, misused_field
from podium.sources.redis.index import RedisIndex
from podium.sources.redis.lease import Lease
from podium.sources.redis.schema import checked_schema, create_command
from podium.sources.redis.server import Server
from podium.sources.redis.source import _complete
from podium.sources.redis.storage import storage_for
from resp import Fake, Recorder, Replay, reply

RECORDINGS = Path(__file__).parent / "redis"
REAL = os.environ.get("PODIUM_TEST_REDIS_URL")
RECORDING = bool(os.environ.get("PODIUM_RECORD"))
NAME = "podium-test"
DOCUMENTS = [
    {"title": "Nevada", "content": "Carson City is the capital city of Nevada.", "year": 1864, "kind": "wiki"},
    {"title": "Saipan", "content": "The capital of the Northern Mariana Islands is Saipan.", "year": 1986, "kind": "book"},
    {"title": "Capital", "content": "Punishment has existed in the United States for centuries.", "year": 1608, "kind": "wiki"},
    {"title": "Washington", "content": "D.C. is the capital of the United States. Don’t forget!", "year": 1790, "kind": "book"},
    {"title": "Bread", "content": "Flour, water, salt and time.", "year": 1000, "kind": "wiki"},
]
DIGESTS = f"{NAME}:[0-9a-f]*"  # keys of documents whose ids are digests, without those that podium keeps for itself
IDS = [f"d{at}" for at in range(len(DOCUMENTS))]


def embed(texts):
    """Count four letters: whole numbers, so that every machine sends the same bytes."""
    return np.array([[text.count(letter) + 1 for letter in "acsi"] for text in texts], np.float32)


class Redis:
    """A server for one test, in one protocol: recorded or real."""

    def __init__(self, url, protocol, real):
        self.url, self.protocol, self.real = url, protocol, real
        self.connection = {"protocol": protocol}

    def index(self, name=NAME, **options):
        return RedisIndex(
            self.url,
            name,
            **{"text": ["content", "title"], "embed": embed, "tags": ["kind"], "numbers": ["year"]} | options,
            connection=self.connection,
        )

    def loaded(self, documents=DOCUMENTS, ids=IDS, **options):
        index = self.index(**options)
        index.prepare(len(documents))
        index.add(documents, ids)
        index.finish()
        index.close()
        return self

    def source(self, name=NAME, **options):
        settings = {"embed": embed, "connection": self.connection} | options
        return podium.RedisSource.from_url(self.url, index=name, **settings)


@pytest.fixture(params=["replayed-2", "replayed-3", "real-2", "real-3"])
def server(request):
    where, _, protocol = request.param.partition("-")
    recording = RECORDINGS / f"{request.node.originalname}-{protocol}.json"
    if where == "replayed":
        if RECORDING:
            pytest.skip("recording, not replaying")
        with Replay(recording) as replay:
            yield Redis(replay.url, int(protocol), False)
        return
    if not REAL:
        pytest.skip("PODIUM_TEST_REDIS_URL names no Redis with the search module")
    with alone():
        yield from _real(int(protocol), recording)


@contextlib.contextmanager
def alone():
    """Keep other test processes away from the real server meanwhile."""
    with open(Path(tempfile.gettempdir()) / "podium-test-redis.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _real(protocol, recording):
    clean(REAL)
    if RECORDING:
        parts = urlsplit(REAL)
        with Recorder(parts.hostname, parts.port or 6379, recording) as recorder:
            yield Redis(recorder.url, protocol, True)
    else:
        yield Redis(REAL, protocol, True)
    clean(REAL)


def clean(url):
    with redis.Redis.from_url(url) as client:
        for name in client.execute_command("FT._LIST"):
            if name.decode().startswith(NAME):
                client.execute_command("FT.DROPINDEX", name)
        for key in client.scan_iter(f"{NAME}*"):
            client.delete(key)


def keys(found):
    return [document["source_key"].removeprefix(f"{NAME}:") for document in found]


def in_order(found):
    scores = [document["source_score"] for document in found]
    return scores == sorted(scores, reverse=True) and [d["source_rank"] for d in found] == list(range(1, len(found) + 1))


def test_every_mode_gives_whole_documents_best_first(server):
    source = server.loaded().source()
    for mode, best in (("text", "d0"), ("vector", None), ("hybrid", None)):
        found = source.search("the capital city?", 3, mode=mode)
        assert in_order(found), mode
        assert best in (None, keys(found)[0])
        for document in found:
            said = DOCUMENTS[int(document["source_key"][-1])]
            fields = {name: value for name, value in document.items() if not name.startswith("source_")}
            assert fields == said | {"year": str(said["year"])}
        assert asyncio.run(source.asearch("the capital city?", 3, mode=mode)) == found
    source.close()


def test_hybrid_is_reciprocal_rank_or_a_weighted_sum_and_says_who_fused(server):
    source = server.loaded().source()
    assert source.mode == "hybrid"
    assert "if the server has it" in source.explain()
    text, near = (source.search("capital of states", 5, mode=mode) for mode in ("text", "vector"))
    ranks = [dict(zip(keys(found), itertools.count(1), strict=False)) for found in (text, near)]
    wanted = {key: sum(1 / (60 + each[key]) for each in ranks if key in each) for key in IDS}
    found = source.search("capital of states", 5)
    assert {key: d["source_score"] for key, d in zip(keys(found), found, strict=True)} == pytest.approx(wanted)
    assert "fused here by reciprocal rank: this server has no FT.HYBRID" in source.explain()
    weighted = server.source(fusion="weighted", text_weight=0.4)
    best = text[0]["source_score"]
    wanted = {key: 0.6 * document["source_score"] for key, document in zip(keys(near), near, strict=True)}
    for key, document in zip(keys(text), text, strict=True):
        wanted[key] += 0.4 * document["source_score"] / best
    found = weighted.search("capital of states", 5)
    assert {key: d["source_score"] for key, d in zip(keys(found), found, strict=True)} == pytest.approx(wanted)
    assert "weighted sum, text 0.4" in weighted.explain()
    source.close()
    weighted.close()


def test_another_index_whose_name_begins_alike_is_another(server):
    server.loaded()
    other = server.index(f"{NAME}2")
    other.prepare(1)
    other.add([{"content": "capital of another index"}], ["x"])
    other.finish()
    inner = server.index(f"{NAME}:en")
    inner.prepare(1)
    inner.add([{"content": "capital of an index with a colon in its name"}], ["y"])
    inner.finish()
    source, inside = server.source(mode="text"), server.source(f"{NAME}:en", mode="text")
    assert len(source.search("capital", 9)) == 3
    assert [found["source_key"] for found in inside.search("capital", 9)] == [f"{NAME}%3Aen:y"]
    for each in (other, inner, source, inside):
        each.close()


def test_tags_of_a_list_and_fields_of_odd_names(server):
    index = server.index(text=["the content", "b-c"], tags=["tags"], numbers=[], embed=None)
    index.prepare(1)
    index.add([{"the content": "a red apple", "b-c": "x", "tags": ["fruit", "red thing"]}], ["a"])
    source = server.source(text={"the content": 2, "b-c": 1}, mode="text", filter=Tag("tags") == "red thing", embed=None)
    assert keys(source.search("apple", 3)) == ["a"]
    for each in (index, source):
        each.close()


def test_filters_hold_in_every_mode(server):
    source = server.loaded().source()
    for mode in ("text", "vector", "hybrid"):
        assert set(keys(source.search("capital", 5, mode=mode, filter=Tag("kind") == "book"))) == {"d1", "d3"}
        assert set(keys(source.search("capital", 5, mode=mode, filter=(Num("year") > 1800) & (Tag("kind") == "wiki")))) == {
            "d0"
        }
        assert source.search("capital", 5, mode=mode, filter="@year:[3000 +inf]") == []
    source.filter = Tag("kind") == "book"
    assert set(keys(source.search("capital", 5, mode="text"))) == {"d1", "d3"}
    source.close()


def test_documents_are_fetched_whole_by_their_keys(server):
    """What FT.HYBRID needs, which no server that could be recorded has."""
    server.loaded()
    client = redis.Redis.from_url(server.url, protocol=server.protocol)
    keys_asked = [f"{NAME}:d{at}" for at in (3, 0, 9)]
    request = redis_queries.Request(NAME, {"content": 1.0}, None, 3, None, None, None, 10_000)
    answer = client.execute_command(*redis_queries.documents_command(request, keys_asked), NEVER_DECODE=True)
    rows = {row.key: row.fields for row in redis_wire.search_rows(answer, scored=False)}
    assert {key: fields["title"] for key, fields in rows.items()} == {f"{NAME}:d3": b"Washington", f"{NAME}:d0": b"Nevada"}
    client.close()


def test_text_fields_can_be_several_and_weighted(server):
    server.loaded()
    flat, weighted, every = (server.source(text=text, mode="text") for text in ("content", {"content": 1, "title": 50}, None))
    assert "d2" not in keys(flat.search("capital", 5))
    assert keys(weighted.search("capital", 5))[0] == "d2"
    assert set(keys(every.search("capital", 5))) == {"d0", "d1", "d2", "d3"}
    assert set(every.text_fields) == {"content", "title"}
    for source in (flat, weighted, every):
        source.close()


def test_vectors_come_back_only_when_asked_for(server):
    server.loaded()
    for mode in ("text", "vector", "hybrid"):
        source = server.source(mode=mode, return_fields=["title", "embedding"])
        for document in source.search("capital", 2):
            said = DOCUMENTS[int(document["source_key"][-1])]
            text = f"{said['content']} {said['title']}"
            assert document["embedding"] == embed([text])[0].tolist()
            assert set(document) == {"title", "embedding", "source_key", "source_score", "source_rank"}
        source.close()


TYPED = [
    "capital",
    'what\'s the "capital" of: D.C. (really)?',
    "capital | of -states @title:bread",
    "@year:[0 +inf] *",
    "capital*",
    "%%capital%% ~nevada",
    "-capital",
    "the of is",
    "the",
    "😀 capital 東京",
    "\\ capital \\",
    "as inf nan 1e5 -1 0x1 null",
    "capital\x00\x01\x7f\n\t\u2028\u00a0",
    "_ __ -",
    "=>[KNN 5 @embedding $vector]",
    "capital => { $weight: 0 }",
    "$vector $0 {x} [1 2] <>^",
    "c++ c# a.b/c don't don’t",
    "capital " * 10_000,
    " ".join(f"word{at}" for at in range(9_999)) + " capital",
    "x" * 20_000,
]


def test_any_text_is_a_query_and_never_another(server):
    """What a query finds is what some document has a word of, whatever else it is made of."""
    source = server.loaded().source(mode="text", text=["content", "title"])
    with_capital = {"d0", "d1", "d2", "d3"}
    for typed in TYPED:
        found = set(keys(source.search(typed, 5)))
        words = {word.lower() for word in redis_wire.words(typed)}
        wanted = with_capital if "capital" in words else set()
        for at, document in enumerate(DOCUMENTS):
            said = f"{document['content']} {document['title']}".lower()
            if words & set(redis_wire.tokens(said)) - {"the", "of", "is", "as", "and", "in", "for"}:
                wanted = wanted | {f"d{at}"}
        assert found == wanted, typed[:50]
    source.close()


def test_distances_become_similarities(server):
    made = [(metric, algorithm) for metric in ("cosine", "ip", "l2") for algorithm in ("flat", "hnsw")]
    queried = embed(["a cassis"])[0]
    for metric, algorithm in made:
        name = f"{NAME}-{metric}-{algorithm}"
        attributes = {"dims": 4, "algorithm": algorithm, "distance_metric": metric, "datatype": "float32"}
        fields = [{"name": "content", "type": "text"}, {"name": "embedding", "type": "vector", "attrs": attributes}]
        described = {"index": {"name": name, "prefix": name, "storage_type": "hash"}, "fields": fields}
        client = redis.Redis.from_url(server.url)
        SearchIndex.from_dict(described, redis_client=client).create()
        for at, document in enumerate(DOCUMENTS):
            vector = embed([document["content"]])[0]
            client.hset(f"{name}:{at}", mapping={"content": document["content"], "embedding": vector.tobytes()})
        source = server.source(name, mode="vector", ef_runtime=50 if algorithm == "hnsw" else None)
        for found in source.search("a cassis", 5):
            vector = embed([found["content"]])[0]
            product, apart = float(vector @ queried), float(((vector - queried) ** 2).sum())
            cosine = product / float(np.linalg.norm(vector) * np.linalg.norm(queried))
            wanted = {"cosine": cosine, "ip": product, "l2": 1 / (1 + apart)}[metric]
            assert found["source_score"] == pytest.approx(wanted, abs=1e-5)
        source.close()
        client.close()


def test_an_index_that_a_user_has_already_in_either_flavour(server):
    """With a client that decodes what it reads: vectors and scores are read as bytes all the same."""
    server.loaded()
    wanted = server.source().search("capital", 3)
    client = redis.Redis.from_url(server.url, protocol=server.protocol, decode_responses=True)
    mine = SearchIndex.from_dict(SCHEMA, redis_client=client)
    source = podium.RedisSource(mine, embed=embed)
    assert source.search("capital", 3) == wanted
    assert asyncio.run(source.asearch("capital", 3)) == wanted
    client.close()

    async def awaited():
        theirs = redis.asyncio.Redis.from_url(server.url, protocol=server.protocol, decode_responses=True)
        source = podium.RedisSource(AsyncSearchIndex.from_dict(SCHEMA, redis_client=theirs), embed=embed)
        with pytest.raises(InvalidInput, match="asearch"):
            source.search("capital", 3)
        found = await asyncio.gather(*(source.asearch("capital", 3) for _ in range(4)))
        await theirs.aclose()
        return found

    assert asyncio.run(awaited()) == [wanted] * 4


SCHEMA = {
    "index": {"name": NAME, "prefix": NAME, "storage_type": "hash"},
    "fields": [
        {"name": "content", "type": "text"},
        {"name": "embedding", "type": "vector", "attrs": {"dims": 4, "algorithm": "flat", "distance_metric": "cosine"}},
    ],
}


def test_what_is_not_there_is_said(server):
    server.loaded()
    for options, says in (
        ({"name": f"{NAME}-none"}, r"there is no index 'podium-test-none' on .*; FT._LIST"),
        ({"text": "body"}, r"does not have the text field 'body'; it has content \(TEXT\)"),
        ({"text": "kind"}, r"does not have the text field 'kind'"),
        ({"vector": "v"}, r"does not have the vector field 'v'"),
        ({"embed": lambda texts: [[1.0, 2.0]] * len(texts)}, r"has 4 dimensions, the embedder gives 2"),
        ({"filter": "@kind:{"}, r"cannot read the filter for index 'podium-test'"),
        ({"filter": "@nope:{x}"}, r"does not have the field 'nope' of the filter; it has content \(TEXT\)"),
        (
            {"filter": Num("content") == 3},
            "does not have a NUMERIC or GEO field 'content', which the filter compares with a range",
        ),
        ({"filter": Tag("year") == "3"}, "does not have a TAG field 'year', which the filter compares with tags"),
        ({"filter": "@year:apple"}, "does not have a TEXT field 'year', which the filter compares with words"),
        ({"filter": "@kind > 3"}, "does not have a NUMERIC field 'kind', which the filter compares with a number"),
    ):
        source = server.source(**options)
        with pytest.raises(SourceError, match=says):
            source.search("capital", 3)
        source.close()


def test_search_then_rerank_keeps_both_ranks(server, mini):
    source = server.loaded().source()
    ranking = podium.Search(source, mini, candidates=4, limit=2).search("capital of the United States")
    assert [result.rank for result in ranking] == [1, 2]
    for result in ranking:
        assert result.source_rank == result.document["source_rank"] == result.index + 1
        assert result.source_score == result.document["source_score"]
    assert ranking.usage.source_seconds > 0
    source.close()


def test_loading_goes_on_where_it_was_and_rewrites_nothing(server):
    """Rewritten documents would stay in the server's average length for good, and shift every score."""
    index = server.index()
    index.prepare(len(DOCUMENTS))
    pairs = list(zip(IDS, DOCUMENTS, strict=True))
    assert load_into(index, pairs[:2], lambda done: None) == (2, 0)
    index.close()  # and here it was interrupted
    again = server.index()
    again.prepare(len(DOCUMENTS))
    assert load_into(again, pairs, lambda done: None) == (3, 2)
    source = server.source(mode="text")
    before = source.search("capital of the states", 5)
    assert load_into(again, pairs, lambda done: None) == (0, 5)
    assert source.search("capital of the states", 5) == before
    changed = [("d4", DOCUMENTS[4] | {"content": "Rye.", "year": None})]
    assert load_into(again, changed, lambda done: None) == (1, 0)
    (found,) = source.search("rye", 5)
    assert "year" not in found
    assert source.search("flour", 5) == []
    for each in (index, again, source):
        each.close()


@pytest.mark.skipif(not RECORDING, reason="docs/make.py replays this; it is only run to be recorded")
def test_the_readmes_example_is_recorded():
    """On an index of the README's own name, dropped afterwards."""
    documents = list(with_ids(stream_documents(ROOT / "docs" / "documents.jsonl"), None))
    index = RedisIndex(REAL, "capitals", text=["title", "content"])
    index.prepare(len(documents))
    load_into(index, documents, lambda done: None)
    parts = urlsplit(REAL)
    with Recorder(parts.hostname, parts.port or 6379, RECORDINGS / "readme.json") as recorder:
        source = podium.RedisSource.from_url(recorder.url, index="capitals", text=["title", "content"])
        assert source.search("capital of the United States", 100)
        source.close()
    index.close()
    redis_admin.drop(REAL, "capitals")


def test_documents_without_text_are_kept(server):
    index = server.index()
    index.prepare(2)
    index.add([{"content": "", "title": None}, "just a string"], ["empty", "string"])
    assert index.unchanged([{"content": "", "title": None}, "just a string"], ["empty", "string"]) == {"empty", "string"}
    index.close()


def test_an_index_that_does_not_fit_is_said_before_anything_is_written(server):
    server.loaded(tags=[], numbers=[], embed=None)
    for options, says in (
        ({}, r"is there already, without kind \(TAG\), year \(NUMERIC\), embedding \(VECTOR\)"),
        ({"tags": [], "numbers": [], "embed": None, "text": ["body"]}, r"without body \(TEXT\); it has content \(TEXT\)"),
    ):
        index = server.index(**options)
        with pytest.raises(SourceError, match=says):
            index.prepare(1)
        index.close()
    index = server.index(tags=[], embed=None)
    with pytest.raises(InvalidInput, match="document 0 has something in 'year' that is not a number"):
        index.add([{"content": "a", "title": "", "year": "x"}], ["a"])
    for document, says in (
        ({"content": "a", "year": "1_000"}, "not a number"),
        ({"body": "a"}, "document 0 has no field content, title; it has body"),
        ({}, "it has no fields"),
        (None, "it has no fields"),
        ({"content": None}, "has nothing in any field"),
    ):
        with pytest.raises(InvalidInput, match=says):
            index.check(document, "d", 0)
    index.close()


@pytest.mark.skipif(not REAL, reason="PODIUM_TEST_REDIS_URL names no Redis with the search module")
def test_ten_thousand_documents_from_the_command_line_each_exactly_once(tmp_path):
    with alone():
        ten_thousand_documents(tmp_path)


def ten_thousand_documents(tmp_path):
    clean(REAL)
    words = ["red", "green", "apple", "sea", "night", "city", "river", "stone"]
    lines = [{"content": f"{words[at % 8]} {words[at // 8 % 8]} number {at}", "year": at} for at in range(10_000)]
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = [sys.executable, "-m", "podium", "index", str(file), "--to", f"{REAL}/{NAME}", "--number", "year"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = redis.Redis.from_url(REAL)
    wait_until(lambda: next(client.scan_iter(DIGESTS), None) is not None)
    killed.kill()
    killed.wait()
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    added, kept = (int(word) for word in done.stdout.replace(",", "").split() if word.isdecimal())
    assert added + kept == 10_000
    assert kept > 0
    found = load_source(f"{REAL}/{NAME}").search("number 77", 5)
    assert found[0]["content"].endswith("number 77")
    assert sum(1 for _ in client.scan_iter(DIGESTS, count=1000)) == 10_000
    client.close()
    clean(REAL)


# What no server here can be made to do at will: as its documentation and its own tests say it does.

INFO = {
    "index_name": NAME,
    "index_definition": {"key_type": "HASH", "prefixes": [f"{NAME}:"]},
    "attributes": [
        {"identifier": "content", "attribute": "content", "type": "TEXT"},
        {
            "identifier": "embedding",
            "attribute": "embedding",
            "type": "VECTOR",
            "algorithm": "FLAT",
            "data_type": "FLOAT32",
            "dim": 4,
            "distance_metric": "COSINE",
        },
    ],
    "num_docs": 2,
    "indexing": 0,
}
FOUND = [1, "k:1", "2.5", ["content", "red"]]


class Turns(list):
    """Answers to be given one after the other, the last one again and again."""


def answering(answers, protocol=3):
    """Answer by a command's first word."""
    answers = {"GET": None, "SET": b"+OK\r\n", "PTTL": -2, "DEL": 1, "INFO": "maxmemory_policy:noeviction"} | answers
    left = {name: each if isinstance(each, Turns) else Turns([each]) for name, each in answers.items()}

    def answer(words):
        given = left[words[0]]
        value = given.pop(0) if len(given) > 1 else given[0]
        hangs_up = value is None and words[0] != "GET"
        return value if hangs_up or isinstance(value, bytes) else reply(value, protocol)

    return answer


@pytest.mark.parametrize("protocol", [2, 3])
def test_ft_hybrid_is_one_round_trip_where_the_server_has_it_and_fields_are_named(protocol):
    rows = [
        {"__key": "k:2", "__score": "0.0325", "content": "green", "embedding": b"\x00\x00\x80?" * 4},
        {"__key": "k:1", "__score": "0.016", "content": "red"},
    ]
    hybrid = {"total_results": 2, "results": rows, "warnings": [], "execution_time": 0.4}
    kind = {"identifier": "kind", "attribute": "kind", "type": "TAG"}
    info = INFO | {"attributes": [*INFO["attributes"], kind], "num_docs": 2}
    with Fake(answering({"FT.INFO": info, "FT.HYBRID": hybrid}, protocol)) as fake:
        source = podium.RedisSource.from_url(
            fake.url, index=NAME, embed=embed, return_fields=["content"], connection={"protocol": protocol}
        )
        found = source.search("red | @x", 2, filter=Tag("kind") == "a")
        assert [(d["source_key"], d["source_score"], d["content"]) for d in found] == [
            ("k:2", 0.0325, "green"),
            ("k:1", 0.016, "red"),
        ]
        assert all("embedding" not in document for document in found)
        assert "FT.HYBRID" in source.explain()
        assert [words[0] for words in fake.commands] == ["FT.INFO", "GET", "FT.HYBRID"]
        sent = fake.commands[2]
        assert sent[2:4] == ("SEARCH", "@content:(red | x) (@kind:{a})")
        assert sent[sent.index("COMBINE") :][:7] == ("COMBINE", "RRF", "4", "CONSTANT", "60", "WINDOW", "100")
        assert sent[sent.index("FILTER") + 1] == "@kind:{a}"
        assert sent[sent.index("LOAD") :][:5] == ("LOAD", "3", "@__key", "@__score", "@content")
        source.close()


def test_ft_hybrid_gives_keys_and_the_documents_are_fetched_whole():
    """One document was deleted between the two."""
    rows = [{"__key": f"k:{at}", "__score": str(1 - at / 10)} for at in range(3)]
    hybrid = {"total_results": 3, "results": rows, "warnings": [], "execution_time": 0.4}
    whole = [2, "k:2", ["content", "green", "more", "kept"], "k:0", ["content", "red"]]
    with Fake(answering({"FT.INFO": INFO, "FT.HYBRID": hybrid, "FT.SEARCH": whole})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME, embed=embed)
        assert source.search("red", 3) == [
            {"content": "red", "source_key": "k:0", "source_score": 1.0, "source_rank": 1},
            {"content": "green", "more": "kept", "source_key": "k:2", "source_score": 0.8, "source_rank": 2},
        ]
        assert fake.commands[3][2:7] == ("*", "INKEYS", "3", "k:0", "k:1")
        source.close()


def test_an_embedder_goes_where_a_redisvl_index_wants_vectors():
    """What is loaded and what is asked for are the embedder's vectors, to the bit."""
    with_vectors = podium.Embedder(PARITY / "embedders" / "bert-mean")
    vectorizer = Vectorizer(with_vectors)
    found = [1, f"{NAME}:a", ["vector_distance", "0.25", "content", "a red apple"]]
    with Fake(answering({"HSET": 2, "FT.SEARCH": found, "FT._LIST": [NAME], "FT.INFO": INFO}, 2)) as fake:
        client = redis.Redis.from_url(fake.url, protocol=2)
        schema = json.loads(json.dumps(SCHEMA))
        schema["fields"][1]["attrs"]["dims"] = vectorizer.dims
        index = SearchIndex.from_dict(schema, redis_client=client)
        text = "a red apple"
        index.load([{"content": text, "embedding": vectorizer.embed(text, as_buffer=True)}])
        query = VectorQuery(vectorizer.embed(text), "embedding", return_fields=["content"], num_results=1)
        assert index.query(query)[0]["content"] == text
        wanted = with_vectors.embed([text])[0].tobytes().decode("latin-1")
        sent = {words[0]: words for words in fake.commands}
        assert wanted in sent["HSET"]
        assert wanted in sent["FT.SEARCH"]
        client.close()
    with_vectors.close()


def test_a_json_index_gives_whole_documents():
    document = {"content": "red", "embedding": [1, 2, 3, 4], "nested": {"a": 1}}
    info = INFO | {"index_definition": {"key_type": "JSON", "prefixes": [NAME]}}
    info["attributes"] = [
        each | {"identifier": f"$.{each['attribute']}"} for each in INFO["attributes"]
    ]  # fmt: skip
    with Fake(answering({"FT.INFO": info, "FT.SEARCH": [1, "k:1", "2.5", ["$", json.dumps(document)]]})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        assert source.search("red", 1) == [
            {"content": "red", "nested": {"a": 1}, "source_key": "k:1", "source_score": 2.5, "source_rank": 1}
        ]
        source.close()


def test_a_document_that_vanished_between_matching_and_reading_is_left_out():
    gone = [2, "k:0", "9.5", None, "k:1", "2.5", ["content", "red"]]
    with Fake(answering({"FT.INFO": INFO, "FT.SEARCH": gone})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        assert keys(source.search("red", 5)) == ["k:1"]
        source.close()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            {"FT.INFO": Exception("ERR unknown command 'FT.INFO', with args beginning with: 'x'")},
            "has no search module; use Redis 8",
        ),
        ({"FT.INFO": Exception("NOAUTH Authentication required.")}, "does not let this user in"),
        ({"FT.INFO": Exception("NOPERM User x has no permissions to run the 'FT.INFO' command")}, r"check user name, .*ACL"),
        ({"FT.INFO": Exception("LOADING Redis is loading the dataset in memory")}, "is still loading its data"),
        ({"FT.INFO": INFO, "FT.SEARCH": Exception("No such scorer BM25STD")}, "does not know the scorer BM25STD"),
        ({"FT.INFO": INFO, "FT.SEARCH": Exception("Timeout limit was reached")}, "did not answer in time"),
        ({"FT.INFO": INFO, "FT.SEARCH": Exception("podium-test: no such index")}, "there is no index"),
        ({"FT.INFO": None}, r"cannot reach Redis at 127.0.0.1:\d+"),
        ({"FT.INFO": INFO, "FT.SEARCH": None}, r"cannot reach Redis at 127.0.0.1:\d+"),
        ({"FT.INFO": b"?what\r\n"}, "cannot reach|refused a command"),
        ({"FT.INFO": INFO, "FT.SEARCH": [1, "k:1", "2.5", None]}, "found 1 documents, but gives the fields of none"),
        ({"FT.INFO": []}, "FT.INFO"),
        ({"FT.INFO": 7}, "FT.INFO"),
        ({"FT.INFO": INFO, "FT.SEARCH": 7}, "FT.SEARCH"),
        ({"FT.INFO": INFO, "FT.SEARCH": [1, "k"]}, "FT.SEARCH"),
        ({"FT.INFO": INFO, "FT.SEARCH": [1, "k", "high", []]}, "FT.SEARCH"),
        ({"FT.INFO": INFO, "FT.SEARCH": [1, "k", "nan", []]}, "FT.SEARCH"),
    ],
)
def test_every_failure_names_the_server_and_the_remedy(answers, says):
    with Fake(answering(answers)) as fake:
        source = podium.RedisSource.from_url(fake.url.replace("//", "//user:s3cret@"), index=NAME)
        with pytest.raises(SourceError, match=says) as caught:
            source.search("red", 5)
        assert "s3cret" not in f"{caught.value!r} {source!r} {source.explain()}"
        with pytest.raises(SourceError, match=says):
            asyncio.run(source.asearch("red", 5))
        source.close()


def test_a_lost_connection_is_tried_once_more():
    with Fake(answering({"FT.INFO": Turns([None, INFO]), "FT.SEARCH": Turns([None, FOUND])})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        assert keys(source.search("red", 5)) == ["k:1"]
        assert [words[0] for words in fake.commands] == ["FT.INFO", "FT.INFO", "FT.SEARCH", "FT.SEARCH"]
        source.close()
    with Fake(answering({"FT.INFO": None})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        with pytest.raises(SourceError):
            source.search("red", 5)
        assert len(fake.commands) == 2
        source.close()


def test_the_same_for_a_client_that_is_awaited():
    async def searched(fake):
        client = redis.asyncio.Redis.from_url(fake.url, protocol=2, retry=None)
        source = podium.RedisSource(AsyncSearchIndex.from_dict(SCHEMA, redis_client=client))
        try:
            return await source.asearch("red", 5)
        finally:
            await client.aclose()

    answers = {"FT.INFO": INFO, "FT.SEARCH": FOUND, "FT._LIST": []}
    with Fake(answering(answers, 2)) as fake:
        assert keys(asyncio.run(searched(fake))) == ["k:1"]
    with (
        Fake(answering(answers | {"FT.SEARCH": None}, 2)) as fake,
        pytest.raises(SourceError, match="cannot reach Redis at 127"),
    ):
        asyncio.run(searched(fake))


def test_a_server_that_says_nothing_is_waited_for_as_long_as_asked():
    gate = resp.Gate()
    with Fake(gate) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME, timeout=0.2)
        with pytest.raises(SourceError, match="did not answer in time"):
            source.search("red", 5)
        assert len(fake.commands) == 1
        gate.open()
        source.close()


def test_half_an_answer_is_none():
    partial = {"results": [], "total_results": 9, "warning": ["Timeout limit was reached"]}
    with Fake(answering({"FT.INFO": INFO, "FT.SEARCH": partial}, 3)) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME, connection={"protocol": 3})
        with pytest.raises(SourceError, match="only a part of the answer: Timeout limit was reached"):
            source.search("red", 5)
        source.close()


def test_an_index_that_was_made_anew_is_looked_at_again():
    other = INFO | {"attributes": [{"identifier": "body", "attribute": "body", "type": "TEXT"}]}
    answers = {"FT.INFO": Turns([other, INFO]), "FT.SEARCH": FOUND}
    with Fake(answering(answers)) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        with pytest.raises(SourceError, match="text field 'content'"):
            source.search("red", 5)
        assert keys(source.search("red", 5)) == ["k:1"]
        source.close()


def test_loading_waits_until_the_server_has_looked_through_what_was_there():
    answers = {"FT.INFO": Turns([INFO, INFO | {"indexing": 1}, INFO | {"indexing": 1}, INFO])}
    with Fake(answering(answers)) as fake:
        index = RedisIndex(fake.url, NAME, embed=embed)
        index.prepare(1)
        assert [words[0] for words in fake.commands].count("FT.INFO") == 4
        index.close()


def test_vectors_are_not_lost_by_loading_without_the_embedder():
    with Fake(answering({"FT.INFO": INFO})) as fake:
        index = RedisIndex(fake.url, NAME)
        with pytest.raises(SourceError, match=r"has vectors in 'embedding'; load with its embedder \(--embed\)"):
            index.prepare(1)
        index.close()


def test_a_field_has_one_purpose():
    with pytest.raises(InvalidInput, match="the field 'content' is named twice"):
        RedisIndex("redis://127.0.0.1:9", NAME, text="content", tags=["content"])


def test_failures_of_long_ago_are_not_told_again():
    failed = INFO | {"hash_indexing_failures": 2, "Index Errors": {"last indexing error": "Invalid numeric value"}}
    with Fake(answering({"FT.INFO": failed})) as fake:
        index = RedisIndex(fake.url, NAME, embed=embed)
        index.prepare(1)
        index.finish()
        index.close()


def test_an_index_that_was_dropped_meanwhile_is_said():
    with Fake(answering({"FT.INFO": Turns([INFO, INFO, Exception("Unknown index name")])})) as fake:
        index = RedisIndex(fake.url, NAME, embed=embed)
        index.prepare(1)
        with pytest.raises(SourceError, match="was dropped meanwhile; index the file again"):
            index.finish()
        index.close()


def test_no_document_is_in_an_error():
    refused = Exception("OOM command not allowed when used memory > 'maxmemory'.")
    answers = {"FT.INFO": INFO, "DEL": 1, "MULTI": b"+OK\r\n", "HSET": refused, "EXEC": Exception("EXECABORT discarded")}
    with Fake(answering(answers)) as fake:
        index = RedisIndex(fake.url, NAME)
        with pytest.raises(SourceError, match=r"is full \(maxmemory\)|refused a command") as caught:
            index.add([{"content": "a secret"}], ["a"])
        assert "secret" not in str(caught.value)
        index.close()


def test_documents_that_the_server_could_not_index_are_said():
    failed = INFO | {"hash_indexing_failures": 2, "Index Errors": {"last indexing error": "Invalid numeric value"}}
    with Fake(answering({"FT.INFO": failed})) as fake:
        index = RedisIndex(fake.url, NAME)
        with pytest.raises(SourceError, match="could not index 2 of them: Invalid numeric value"):
            index.finish()
        index.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "fuzzy"}, "mode must be"),
        ({"mode": "vector"}, "give an embedder as embed="),
        ({"fusion": "max"}, "fusion must be"),
        ({"text_weight": 2}, "from 0 to 1"),
        ({"text": []}, "text must be"),
        ({"text": {"a": 0}}, "weight"),
        ({"return_fields": "content"}, "return_fields must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"text": 5}, "text must be"),
        ({"return_fields": 5}, "return_fields must be"),
        ({"filter": 5}, "filter must be"),
        ({"filter": "year > 2000"}, "the filter 'year > 2000' names no field"),
        ({"filter": FilterExpression()}, "the filter expression is not complete"),
        ({"index": ""}, "from_url takes"),
    ],
)
def test_bad_use_is_said_before_anything_is_sent(options, says):
    with pytest.raises(InvalidInput, match=says):
        podium.RedisSource.from_url("redis://127.0.0.1:9", **{"index": "x"} | options)


def test_bad_urls_and_calls():
    with pytest.raises(InvalidInput, match="begins with redis, rediss") as caught:
        podium.RedisSource.from_url("http://u:s3cret@localhost", index="x")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InvalidInput, match="SearchIndex"):
        podium.RedisSource(object())
    source = podium.RedisSource.from_url("redis://127.0.0.1:9", index="x")
    with pytest.raises(InvalidInput, match="limit"):
        source.search("x", 0)
    with pytest.raises(InvalidInput, match="at most 1,000,000"):
        source.search("x", None)
    with pytest.raises(InvalidInput, match="query is empty"):
        source.search(" ", 1)
    with pytest.raises(SourceError, match=r"cannot reach Redis at 127.0.0.1:9: .*check that it runs"):
        source.search("x", 1)
    source.close()


def test_ids_are_what_documents_say_or_a_field_of_theirs():
    said = [{"a": 1}, "x", {"a": 1}]
    first, again = (list(with_ids(said, None)) for _ in range(2))
    assert first == again
    assert first[2][0] == f"{first[0][0]}-2"
    assert [name for name, _ in with_ids([{"id": 7}, {"id": "b"}], "id")] == ["7", "b"]
    for documents in ([{"id": 1}, {"id": "1"}], [{"id": None}], ["x"], [{}]):
        with pytest.raises(InvalidInput, match=r"document [01] has"):
            list(with_ids(documents, "id"))


# One deadline for a whole search, and no part of an answer


def given_index(url, **options):
    """Return redisvl's index over a client of the caller's own: RESP2, and no socket timeout."""
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=None, **options)
    return SearchIndex.from_dict(SCHEMA, redis_client=client), client


def test_a_command_that_took_its_whole_timeout_is_refused():
    """RESP2 has no other sign that the reply is only a part."""
    request = redis_queries.Request(NAME, {"content": 1.0}, None, 3, None, None, None, milliseconds=1)
    steps = _complete(("FT.SEARCH",), request)
    next(steps)
    time.sleep(0.002)
    with pytest.raises(SourceError, match="gave only a part of the answer"):
        steps.send([0])
    steps = _complete(("FT.SEARCH",), replace(request, milliseconds=600_000))
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send([0])
    assert stop.value.value == [0]


def test_from_url_speaks_resp3():
    with Fake(answering({"FT.INFO": INFO, "FT.SEARCH": {"results": [], "total_results": 0, "warning": ["Timeout"]}})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        with pytest.raises(SourceError, match="only a part of the answer: Timeout"):
            source.search("red", 5)
        source.close()


def test_the_timeout_holds_for_a_given_index_whose_client_has_none():
    gate = resp.Gate()
    with Fake(gate) as fake:
        index, client = given_index(fake.url)
        source = podium.RedisSource(index, timeout=0.2)
        with pytest.raises(SourceError, match="did not answer in time"):  # while the gate is closed
            source.search("red", 5)
        with pytest.raises(SourceError, match="did not answer in time"):
            asyncio.run(source.asearch("red", 5))

        async def awaited():
            theirs = redis.asyncio.Redis.from_url(fake.url, protocol=2, socket_timeout=None)
            source = podium.RedisSource(AsyncSearchIndex.from_dict(SCHEMA, redis_client=theirs), timeout=0.2)
            with pytest.raises(SourceError, match="did not answer in time"):
                await source.asearch("red", 5)
            await theirs.aclose()

        asyncio.run(awaited())
        gate.open()
        client.close()


def test_one_deadline_covers_all_commands_of_a_search():
    """Each later command may take only what is left of it."""
    answers = answering({"FT.INFO": INFO, "FT.SEARCH": Turns([[1, "k:1", "2.5", ["content", "red"]], [0]])})

    def slowly(words):
        time.sleep(0.05)
        return answers(words)

    with Fake(slowly) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME, embed=embed, fusion="weighted", timeout=600)
        source.search("red", 5)
        allowed = [int(words[words.index("TIMEOUT") + 1]) for words in fake.commands if words[0] == "FT.SEARCH"]
        assert len(allowed) == 2
        assert allowed[0] <= 600_000 - 50  # FT.INFO took some of it
        assert allowed[1] <= allowed[0] - 50
        source.close()


# What loading refuses, and what it says at its end


def test_keys_under_the_prefix_are_neither_overwritten_nor_found(server):
    client = redis.Redis.from_url(server.url)
    client.hset(f"{NAME}:1", mapping={"name": "Ann", "content": "a private apple"})
    index = server.index()
    with pytest.raises(SourceError, match=rf"has keys that begin with '{NAME}:' already, such as '{NAME}:1'; .*--prefix"):
        index.prepare(1)
    index.close()
    assert client.hgetall(f"{NAME}:1") == {b"name": b"Ann", b"content": b"a private apple"}
    other = server.index(prefix=f"{NAME}-docs")
    other.prepare(1)
    other.add([{"content": "german apple"}], ["1"])
    other.finish()
    other.close()
    source = server.source(mode="text")
    assert [found["source_key"] for found in source.search("apple", 5)] == [f"{NAME}-docs:1"]
    again = server.index(prefix="elsewhere")
    with pytest.raises(InvalidInput, match=rf"keeps its documents under '{NAME}-docs:'; leave --prefix"):
        again.prepare(1)
    for each in (again, source, client):
        each.close()


def test_a_prefix_that_overlaps_with_another_index_is_refused(server):
    client = redis.Redis.from_url(server.url)
    client.execute_command("FT.CREATE", f"{NAME}-wide", "PREFIX", 1, f"{NAME}-w", "SCHEMA", "content", "TEXT")
    index = server.index(f"{NAME}-wiki")
    with pytest.raises(SourceError, match=rf"overlaps with '{NAME}-w' of index '{NAME}-wide' .*--prefix"):
        index.prepare(1)
    index.close()
    client.close()


def test_documents_that_vanished_while_loading_are_counted(server):
    index = server.index()
    index.prepare(len(DOCUMENTS))
    index.add(DOCUMENTS, IDS)
    client = redis.Redis.from_url(server.url)
    client.delete(f"{NAME}:d0", f"{NAME}:d1")
    with pytest.raises(SourceError, match=r"2 of 5 documents are missing from index 'podium-test' .*evicted .*noeviction"):
        index.finish()
    index.close()
    server.loaded()
    client.close()


def test_an_eviction_policy_that_deletes_documents_is_told():
    with Fake(answering({"FT.INFO": INFO, "INFO": "# Memory\r\nmaxmemory_policy:allkeys-lru\r\n"})) as fake:
        index = RedisIndex(fake.url, NAME, embed=embed)
        index.prepare(1)
        index.finish()
        assert "maxmemory-policy is allkeys-lru" in index.notes[0]
        index.close()


def test_a_filter_of_the_index_is_told(server):
    client = redis.Redis.from_url(server.url)
    client.execute_command(
        *("FT.CREATE", NAME, "PREFIX", 1, f"{NAME}:", "FILTER", "@year > 1700"),
        *("SCHEMA", "content", "TEXT", "title", "TEXT", "kind", "TAG", "year", "NUMERIC"),
    )
    index = server.index(embed=None)
    index.prepare(len(DOCUMENTS))
    index.add(DOCUMENTS, IDS)
    index.finish()
    assert index.notes == ["2 documents do not pass the index's FILTER (@year > 1700), so no search finds them"]
    for each in (index, client):
        each.close()


def other_embed(texts):
    """Return vectors of the same dimension as `embed`'s, far from them."""
    return np.array([[-1 - text.count("e"), 1, -3, 1] for text in texts], np.float32)


def test_another_embedder_is_refused_in_loading_and_searching(server):
    server.loaded()
    index = server.index(embed=other_embed)
    with pytest.raises(SourceError, match="was made with another embedder"):
        index.prepare(1)
    index.close()
    for mode in ("vector", "hybrid"):
        source = server.source(embed=other_embed, mode=mode)
        for _ in range(2):
            with pytest.raises(SourceError, match="was made with another embedder"):
                source.search("capital", 3)
        assert source.search("capital", 1, mode="text")
        source.close()


def test_loading_with_other_ids_is_refused(server):
    server.loaded(ids_from="id")
    index = server.index(ids_from="")
    with pytest.raises(InvalidInput, match="was created with --id id; use --id id again"):
        index.prepare(1)
    index.close()
    server.index(ids_from="id").close()


def test_a_user_who_may_not_read_the_fingerprint_can_search():
    answers = {"FT.INFO": INFO, "GET": Exception("NOPERM no permission to access a key"), "FT.SEARCH": [0]}
    with Fake(answering(answers)) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME, embed=embed, mode="vector")
        assert "may not GET 'podium-test:.podium'" in source.search("red", 1).notes[0]
        source.close()


class Keys:
    """The string keys of a server, answered; time passes only when a test moves it."""

    def __init__(self):
        self.values, self.expires, self.now = {}, {}, 0

    def __call__(self, words):
        return reply(getattr(self, words[0].lower())(*words[1:]), 3)

    def _expire(self):
        for key in [key for key, at in self.expires.items() if at <= self.now]:
            del self.values[key], self.expires[key]

    def set(self, key, value, *options):
        self._expire()
        if key in self.values:
            return None
        self.values[key], self.expires[key] = value, self.now + int(options[-1])
        return "OK"

    def get(self, key):
        self._expire()
        return self.values.get(key)

    def pttl(self, key):
        self._expire()
        return self.expires[key] - self.now if key in self.values else -2

    def pexpire(self, key, milliseconds):
        self.expires[key] = self.now + int(milliseconds)
        return 1

    def delete(self, key):
        self.expires.pop(key, None)
        return int(self.values.pop(key, None) is not None)


def leases(url, **options):
    server = Server.at(url, NAME, 10.0, {})
    return server, Lease(server, f"{NAME}:.podium-lease", **options)


class Clock(Keys):
    """Keys whose time passes with every PTTL that is asked for."""

    def pttl(self, key):
        self.now += 1000
        return super().pttl(key)


def answered(keys):
    return lambda words: reply(keys.delete(*words[1:]), 3) if words[0] == "DEL" else keys(words)


def test_a_second_loader_is_refused_while_the_lease_is_renewed():
    with Fake(answering({"SET": b"_\r\n", "PTTL": Turns([9000, 8800, 15000])})) as fake:
        server, lease = leases(fake.url)
        with pytest.raises(SourceError, match="another process is loading documents into index 'podium-test'"):
            lease.acquire()
        server.close()


def test_a_lease_is_renewed_and_given_back():
    keys = Keys()
    with Fake(answered(keys)) as fake:
        server, lease = leases(fake.url, renewed_each=0.01)
        lease.acquire()
        wait_until(lambda: "PEXPIRE" in [words[0] for words in fake.commands])
        lease.check()
        lease.release()
        assert keys.values == {}
        server.close()


def test_the_lease_of_a_loader_that_was_killed_is_waited_for():
    keys = Clock()
    with Fake(answered(keys)) as fake:
        keys.set(f"{NAME}:.podium-lease", "of a killed one", "NX", "PX", 3000)
        server, lease = leases(fake.url, renewed_each=600)
        lease.acquire()
        assert keys.now >= 3000
        lease.release()
        server.close()


def test_a_loader_that_lost_its_lease_writes_nothing_more():
    keys = Keys()
    with Fake(answered(keys)) as fake:
        server, lease = leases(fake.url, renewed_each=0.01)
        lease.acquire()
        keys.values[f"{NAME}:.podium-lease"] = "another's"
        wait_until(lambda: lease._is_lost)
        with pytest.raises(SourceError, match="another process is loading"):
            lease.check()
        lease.release()
        assert keys.values == {f"{NAME}:.podium-lease": "another's"}
        server.close()


def test_a_batch_whose_connection_broke_is_sent_again():
    """redis-py's pipeline forgets its commands when it fails."""
    answers = {"FT.INFO": INFO, "MULTI": Turns([None, b"+OK\r\n"]), "DEL": b"+QUEUED\r\n", "HSET": b"+QUEUED\r\n"}
    with Fake(answering(answers | {"EXEC": [0, 2]})) as fake:
        index = RedisIndex(fake.url, NAME)
        index.add([{"content": "red"}], ["a"])
        assert [words[0] for words in fake.commands][-4:] == ["MULTI", "DEL", "HSET", "EXEC"]
        index.close()


def test_an_index_that_is_being_built_is_told_with_the_ranking(mini):
    info = INFO | {"indexing": 1, "percent_indexed": "0.25"}
    with Fake(answering({"FT.INFO": Turns([info, INFO]), "FT.SEARCH": FOUND})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        search = podium.Search(source, mini)
        note = "index 'podium-test' is still being built (25% done): documents may be missing"
        assert note in search.search("red").notes
        assert note not in search.search("red").notes
        source.close()


def test_an_answer_that_is_short_is_checked_against_the_index_of_now():
    """An index may have been made anew with other fields since it was last looked at."""
    other = INFO | {"attributes": [{"identifier": "body", "attribute": "body", "type": "TEXT"}]}
    with Fake(answering({"FT.INFO": Turns([INFO, other]), "FT.SEARCH": Turns([FOUND, [0]])})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        assert keys(source.search("red", 1)) == ["k:1"]
        with pytest.raises(SourceError, match="text field 'content'"):
            source.search("red", 1)
        source.close()


# Words, fields and pages


@pytest.mark.parametrize(
    "typed",
    ["statin…", "statin’s", "statin—", "«statin»", "„statin“", "¿statin?", "statin。", "statin，cancer", "statin–cancer"],
)
def test_words_end_at_typographic_and_full_width_punctuation(typed):
    assert "statin" in redis_wire.words(typed)
    assert redis_wire.tokens(typed)[0] in redis_wire.words(typed)  # as the server keeps it of a document


def test_a_word_is_searched_whole_and_in_parts():
    assert redis_wire.words("don’t stop") == ["don’t", "don", "t", "stop"]
    assert redis_wire.words("naïve col·lecció") == ["naïve", "col·lecció", "col", "lecció"]


def test_typographic_punctuation_finds_both_spellings(server):
    index = server.index(embed=None)
    index.prepare(2)
    index.add([{"content": "a statin helps"}, {"content": "the statin’s effect"}], ["plain", "curly"])
    index.finish()
    source = server.source(mode="text")
    assert set(keys(source.search("statin’s", 5))) == {"plain", "curly"}
    assert keys(source.search("statin，", 5)) == ["plain"]
    for each in (index, source):
        each.close()


def test_a_field_named_dollar_in_a_hash_is_a_field(server):
    server.loaded(embed=None)
    client = redis.Redis.from_url(server.url)
    client.hset(f"{NAME}:odd", mapping={"$": '{"content": "replaced"}', "content": "zebra"})
    source = server.source(mode="text", embed=None)
    (found,) = source.search("zebra", 3)
    assert (found["$"], found["content"]) == ('{"content": "replaced"}', "zebra")
    index = server.index(embed=None)
    with pytest.raises(InvalidInput, match=r"document 0 has a field named '\$'"):
        index.check({"content": "a", "$": 1}, "d", 0)
    for each in (index, source, client):
        each.close()


def test_blank_cells_of_tags_and_numbers_are_left_out():
    index = RedisIndex("redis://127.0.0.1:9", NAME, tags=["kind"], numbers=["year"])
    rows = [{"content": "a", "kind": "", "year": " "}, {"content": "a", "kind": "b", "year": " 7 "}]
    for number, row in enumerate(rows):
        index.check(row, "d", number)
    assert [index._storage.encoded(row, 0) for row in rows] == [
        {"content": b"a"},
        {"content": b"a", "kind": b"b", "year": b"7"},
    ]
    index.close()


def test_a_tag_that_contains_the_separator_is_refused():
    """RediSearch would take it for two tags."""
    index = RedisIndex("redis://127.0.0.1:9", NAME, tags=["kind"])
    with pytest.raises(InvalidInput, match=r"has the tag 'salt, pepper' in 'kind', which the tag separator ',' would split"):
        index.check({"content": "a", "kind": ["herbs", "salt, pepper"]}, "d", 0)
    index.close()
    index = RedisIndex("redis://127.0.0.1:9", NAME, tags=["kind"], tag_separator="|")
    assert index._storage.encoded({"content": "a", "kind": ["herbs", "salt, pepper"]}, 0)["kind"] == b"herbs|salt, pepper"
    index.close()


@pytest.mark.parametrize("name", [".podium", ".podium-lease"])
def test_ids_that_podium_uses_itself_are_refused_before_anything_is_written(name):
    index = RedisIndex("redis://127.0.0.1:9", NAME)
    with pytest.raises(InvalidInput, match=f"a document cannot have the id '{name}'"):
        index.check({"content": "a"}, name, 0)
    index.close()


def test_pages_and_totals(server):
    server.loaded()
    for mode, total in (("text", 3), ("vector", 5), ("hybrid", 5)):
        source = server.source(mode=mode)
        whole = source.search("the capital city?", 5)
        pages = [source.search("the capital city?", 2, offset=offset) for offset in (0, 2, 4)]
        assert [document for page in pages for document in page] == whole
        assert {page.total for page in pages} == {whole.total} == {total}
        assert source.search("capital", 2, offset=9) == []
        assert asyncio.run(source.asearch("the capital city?", 2, offset=2)) == pages[1]
        source.close()


def test_a_search_gives_a_page_and_the_total(server, mini):
    source = server.loaded().source(mode="text")
    search = podium.Search(source, mini, candidates=3)
    whole = search.search("the capital city?")
    page = search.search("the capital city?", limit=1, offset=1)
    assert [result.rank for result in page] == [2]
    assert page[0].document == whole[1].document
    assert page.total == whole.total == page.to_dict()["total"] == 3
    with pytest.raises(InvalidInput, match="offset=3 skips all of 3 candidates"):
        search.search("capital", offset=3)
    source.close()


# Making and looking after indexes


def test_an_index_is_made_with_its_options(server):
    index = server.index(text={"title": 3, "content": 1}, vector="vec", tag_separator=";", m=8, ef_construction=50)
    index.prepare(2)
    index.add([{"content": "red", "kind": ["a,b", "c"]}, {"content": "green"}], ["x", "y"])
    index.finish()
    source = server.source(text=None, vector="vec", filter=Tag("kind") == "a,b")
    assert keys(source.search("red", 5)) == ["x"]
    client = redis.Redis.from_url(server.url, protocol=2, decode_responses=True)
    described = str(client.execute_command("FT.INFO", NAME))
    assert all(said in described for said in ("'HNSW'", "'M', 8", "'ef_construction', 50", "'WEIGHT', '3'"))
    for each in (index, source, client):
        each.close()


def test_json_documents_keep_their_types():
    """Only the commands: no server that could be recorded has a JSON module."""
    schema = checked_schema(
        text=["the text"], vector="embedding", tags=["tags"], numbers=["year"], storage="json", tag_separator=","
    )
    assert create_command("x", "x:", schema, dimensions=4, documents=1) == (
        *("FT.CREATE", "x", "ON", "JSON", "PREFIX", 1, "x:", "SKIPINITIALSCAN", "SCHEMA"),
        *('$["the text"]', "AS", "the text", "TEXT", '$["tags"]', "AS", "tags", "TAG", '$["year"]', "AS", "year", "NUMERIC"),
        *('$["embedding"]', "AS", "embedding", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", 4, "DISTANCE_METRIC", "COSINE"),
    )
    storage = storage_for(schema)
    fields = storage.encoded({"the text": "red", "tags": ["a", "b"], "year": "1864", "more": {"n": [1]}, "none": None}, 0)
    assert fields == {"the text": "red", "tags": ["a", "b"], "year": 1864.0, "more": {"n": [1]}}
    deleted, written = storage.writing("x:1", fields, np.array([1, 2], np.float32))
    assert deleted == ("DEL", "x:1")
    assert written[:3] == ("JSON.SET", "x:1", "$")
    assert json.loads(written[3]) == fields | {"embedding": [1.0, 2.0]}
    assert storage.reading("x:1", fields) == [("JSON.GET", "x:1")]
    assert storage.is_same([written[3].encode()], fields, True)
    assert not storage.is_same([written[3].encode()], fields, False)
    assert not storage.is_same([None], fields, True)


def test_a_json_index_of_ours_gives_documents_without_their_vectors():
    info = INFO | {"index_definition": {"key_type": "JSON", "prefixes": [f"{NAME}:"]}}
    info["attributes"] = [each | {"identifier": f'$["{each["attribute"]}"]'} for each in INFO["attributes"]]
    document = json.dumps({"content": "red", "embedding": [1, 2, 3, 4]})
    with Fake(answering({"FT.INFO": info, "FT.SEARCH": [1, "k:1", "2.5", ["$", document]]})) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        assert source.search("red", 1) == [{"content": "red", "source_key": "k:1", "source_score": 2.5, "source_rank": 1}]
        source.close()


def test_words_of_underscores_alone_are_not_searched_for():
    assert redis_wire.words("what does “_” mean") == ["what", "does", "“_”", "mean"]


def test_an_index_is_not_dropped_by_an_alias_or_while_it_is_loaded(server):
    server.loaded()
    client = redis.Redis.from_url(server.url)
    client.execute_command("FT.ALIASADD", "podium-alias", NAME)
    with pytest.raises(SourceError, match=f"'podium-alias' is an alias of the index '{NAME}'"):
        redis_admin.drop(server.url, "podium-alias")
    client.execute_command("FT.ALIASDEL", "podium-alias")
    client.set(lease_key(f"{NAME}:"), "another loader")
    with pytest.raises(SourceError, match="another process"):
        redis_admin.drop(server.url, NAME)
    client.delete(lease_key(f"{NAME}:"))
    assert redis_admin.drop(server.url, NAME) == 5
    client.close()


def test_indexes_are_listed_thinned_out_and_dropped(server):
    server.loaded()
    rows = redis_admin.indexes(server.url)
    assert (NAME, "5") in [row[:2] for row in rows]
    assert redis_admin.indexes(server.url, NAME)[0][2].startswith("content (TEXT), title (TEXT), kind (TAG)")
    assert redis_admin.delete(server.url, NAME, ["d0", "d1", "none"]) == 2
    assert redis_admin.drop(server.url, NAME) == 3
    client = redis.Redis.from_url(server.url)
    assert not list(client.scan_iter(f"{NAME}*"))
    with pytest.raises(SourceError, match="there is no index 'podium-test'"):
        redis_admin.drop(server.url, NAME)
    client.close()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"FT.SEARCH": Exception("LIMIT exceeds maximum of 50")}, r"ask for fewer \(candidates=, --candidates\), or raise"),
        ({"FT.INFO": Exception("Cannot create index on db != 0")}, "keeps indexes in database 0 only"),
        ({"FT.INFO": Exception("NOPERM User x has no permissions to run the 'FT.CREATE' command")}, "ACL allows .*FT.CREATE"),
    ],
)
def test_refusals_of_the_server_name_their_remedy(answers, says):
    with Fake(answering({"FT.INFO": INFO} | answers)) as fake:
        source = podium.RedisSource.from_url(fake.url, index=NAME)
        with pytest.raises(SourceError, match=says):
            source.search("red", 5)
        source.close()


def test_options_that_redis_py_does_not_take_are_told_once():
    source = podium.RedisSource.from_url("redis://127.0.0.1:9?nonsense=1", index="k")
    with pytest.raises(SourceError, match=r"^redis-py does not take this URL or these connection options"):
        source.search("red", 5)


def test_an_async_index_whose_server_is_gone_is_named():
    index = AsyncSearchIndex.from_dict(SCHEMA, redis_url="redis://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9"):
        asyncio.run(podium.RedisSource(index).asearch("red", 5))


def test_fields_of_one_weight_are_one_union():
    """In clauses of their own, a word that is in both would count twice."""
    request = redis_queries.Request(NAME, {"title": 1.0, "b-c": 1.0}, None, 3, None, None, None, 1000)
    assert redis_queries.text_command(request, "red apple")[2] == r"@title|b\-c:(red | apple)"
    request = replace(request, weights={"title": 2.0, "a": 1.0, "b": 1.0})
    assert redis_queries.text_command(request, "red")[2] == "(@title:(red) => { $weight: 2.0 } | @a|b:(red))"


@pytest.mark.parametrize(
    "text",
    [
        "*",
        r"@year:[2000 +inf] -@kind:{a\|b | c}",
        '(@content:("an apple @nope:[1]") | ismissing(@year))',
        r"@b\-c:{x@y}",
        "@content|title:(red)",
        "@year>=3 @year==4",
    ],
)
def test_filters_that_fit_are_let_through(text):
    fields = {name: redis_wire.Field(name, name, kind) for name, kind in (("year", "NUMERIC"), ("kind", "TAG"), ("b-c", "TAG"))}
    fields |= {name: redis_wire.Field(name, name, "TEXT") for name in ("content", "title")}
    checked = checked_filter(text)
    assert checked is None or misused_field(checked, fields) is None
