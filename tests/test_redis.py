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
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from redisvl.index import AsyncSearchIndex, SearchIndex
from redisvl.query import VectorQuery
from redisvl.query.filter import Num, Tag

import podium
import redis
import resp
from conftest import PARITY
from loopback import wait_until
from podium.errors import InvalidInput, SourceError
from podium.integrations.redisvl import Vectorizer
from podium.places import load_source
from podium.sources import files, redis_queries, redis_wire
from podium.sources.loading import identified, load_into
from podium.sources.redis_index import RedisIndex
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
        ({"filter": Num("content") == 3}, "does not have a NUMERIC or GEO field 'content', which the filter compares with a range"),
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
    client = redis.Redis.from_url(REAL)
    documents = list(identified(files.stream(Path(__file__).parents[1] / "docs" / "documents.jsonl"), None))
    index = RedisIndex(REAL, "capitals", text=["title", "content"])
    index.prepare(len(documents))
    load_into(index, documents, lambda done: None)
    parts = urlsplit(REAL)
    with Recorder(parts.hostname, parts.port or 6379, RECORDINGS / "readme.json") as recorder:
        source = podium.RedisSource.from_url(recorder.url, index="capitals", text=["title", "content"])
        assert source.search("capital of the United States", 100)
        source.close()
    client.execute_command("FT.DROPINDEX", "capitals", "DD")
    index.close()
    client.close()


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
            index.check([document])
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
    with Fake(answering(answers | {"FT.SEARCH": None}, 2)) as fake, pytest.raises(SourceError, match="cannot reach Redis at 127"):
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
        ({"mode": "vector"}, "give embed="),
        ({"fusion": "max"}, "fusion must be"),
        ({"text_weight": 2}, "from 0 to 1"),
        ({"text": []}, "text must be"),
        ({"text": {"a": 0}}, "weight"),
        ({"return_fields": "content"}, "return_fields must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"text": 5}, "text must be"),
        ({"return_fields": 5}, "return_fields must be"),
        ({"filter": 5}, "filter must be"),
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
    first, again = (list(identified(said, None)) for _ in range(2))
    assert first == again
    assert first[2][0] == f"{first[0][0]}-2"
    assert [name for name, _ in identified([{"id": 7}, {"id": "b"}], "id")] == ["7", "b"]
    for documents in ([{"id": 1}, {"id": "1"}], [{"id": None}], ["x"], [{}]):
        with pytest.raises(InvalidInput, match=r"document [01] has"):
            list(identified(documents, "id"))
