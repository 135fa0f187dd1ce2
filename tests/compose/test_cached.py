"""Scores that are remembered: the same as those computed, asked for once, and never a reason to fail."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

import podium
from fakes import AsyncWordOverlap, FunctionScorer, WordOverlap
from podium.compose.cached import CachedScorer
from podium.compose.stores.redis import PREFIX, RedisScores
from podium.errors import InvalidInput, PodiumError
from podium.types import Scores
from serving import Process

TEXTS = ["a red apple", "the sea", "a red apple", "red"]
NEEDS_REDIS = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on this machine")


class Kept(dict):
    """A store in memory."""

    def get(self, keys):
        return {key: self[key] for key in keys if key in self}

    def put(self, rows):
        self.update(rows)


class Failing:
    def get(self, keys):
        raise PodiumError("the store is away")

    put = get


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real Redis. Yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path_factory.mktemp("redis"))],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    for _ in range(200):
        try:
            redis.Redis.from_url(url).ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(10)


def counted(scorer=None):
    """A scorer of word overlap that remembers what it was asked."""
    words = scorer or WordOverlap()
    return FunctionScorer(lambda texts: words.score("red", texts))


def test_a_pair_is_asked_for_once_and_the_ranking_says_so():
    inner = counted()
    reranker = podium.Reranker(CachedScorer(inner, Kept()))
    first = reranker.rerank("red", TEXTS)
    assert inner.calls == [["a red apple", "the sea", "red"]]
    assert first.notes == ()
    again = reranker.rerank("red", [*TEXTS, "new red"])
    assert inner.calls[1:] == [["new red"]]
    assert again.notes == ("4 of 5 scores were remembered",)
    plain = podium.Reranker(counted()).rerank("red", [*TEXTS, "new red"])
    assert [(r.index, r.score) for r in again] == [(r.index, r.score) for r in plain]


@pytest.mark.parametrize("ask", ["score", "ascore", "score_many"])
def test_notes_on_the_query_and_on_unknown_texts_are_the_same_from_the_store(mini, ask):
    cached = podium.Reranker(CachedScorer(mini.scorer, Kept()))

    def rerank(reranker, query, texts):
        if ask == "ascore":
            return asyncio.run(reranker.arerank(query, texts))
        return reranker.rerank_many([query], [texts])[0] if ask == "score_many" else reranker.rerank(query, texts)

    long, unknown = "apple " * 1000, "\u0301"
    for query, texts in ((long, [*TEXTS, "sea " * 1000]), ("red", ["a", unknown]), (unknown, TEXTS), (long, ["short"])):
        expected = rerank(mini, query, texts).notes
        assert expected
        assert rerank(cached, query, texts).notes == expected
        assert rerank(cached, query, texts).notes == (f"{len(texts)} of {len(texts)} scores were remembered", *expected)


def test_query_without_known_tokens_gets_a_note(mini):
    for query in ("\u0301", "\ufe0f\ufe0f"):
        assert "the query has no token that the model knows; the scores mean little" in mini.rerank(query, ["a"]).notes
    assert mini.rerank("red", ["a"]).notes == ()


@pytest.mark.parametrize(
    ("identity", "query", "text"),
    [("b", "q", "t"), ("a", "q2", "t"), ("a", "q", "t2"), ("aq", "", "t"), ("a", "", "qt")],
    ids=["identity", "query", "text", "longer identity", "longer text"],
)
def test_another_identity_query_or_text_is_another_pair(identity, query, text):
    store = Kept()
    first, second = counted(), counted()
    first.identity, second.identity = "a", identity
    CachedScorer(first, store).score("q", ["t"])
    CachedScorer(second, store).score(query, [text])
    assert second.calls == [[text]]


@pytest.mark.parametrize("ask", ["score", "ascore", "score_many"])
def test_every_way_of_asking_remembers(mini, ask):
    scorer = CachedScorer(mini.scorer, Kept())

    def asked(texts):
        if ask == "ascore":
            return asyncio.run(scorer.ascore("red fruit", texts))
        if ask == "score_many":
            return scorer.score_many(["red fruit", "other"], [texts, texts])[0]
        return scorer.score("red fruit", texts)

    expected = mini.scorer.score("red fruit", TEXTS)
    for _ in range(2):
        given = asked(TEXTS)
        assert list(given.values) == list(expected.values)
        assert list(given.raw) == list(expected.raw)
        assert list(given.tokens) == list(expected.tokens)
        assert list(given.dropped_tokens) == list(expected.dropped_tokens)
    assert given.total_tokens == 0
    assert given.notes == ("4 of 4 scores were remembered",)


def test_progress_counts_what_is_remembered_too():
    for inner in (counted(), podium.load("podium-mini").scorer):
        scorer, steps = CachedScorer(inner, Kept()), []
        scorer.score("red", TEXTS[:2])
        scorer.score_many(["red", "red"], [TEXTS[:3], []], progress=steps.append)
        assert sum(steps) == 3


def test_a_store_that_fails_is_said_and_no_failure():
    for inner in (WordOverlap(), AsyncWordOverlap()):
        reranker = podium.Reranker(CachedScorer(inner, Failing()))
        for ranking in (reranker.rerank("red", TEXTS), asyncio.run(reranker.arerank("red", TEXTS))):
            assert ranking.notes == ("the store is away",)
            assert len(ranking) == 4


@NEEDS_REDIS
def test_redis_gives_back_what_was_put(server):
    store = RedisScores(server)
    rows = {
        b"k1": (0.25, -1.5, 7, 0, 3, 0),
        b"k2": (1.0, None, None, None, None, None),
        b"k3": (-3.4e38, 0.0, 0, 12, 0, 5),
    }
    store.put(rows)
    assert store.get([b"k1", b"none", b"k2", b"k3"]) == rows
    assert store.get([]) == {}
    raw = redis.Redis.from_url(server)
    assert 6 * 86_400 < raw.ttl(PREFIX + b"k1".hex()) <= 7 * 86_400
    raw.set(PREFIX + b"old".hex(), struct.pack("<ddii", 0.5, -1.0, 7, 2))  # as earlier versions wrote it
    assert store.get([b"old"]) == {b"old": (0.5, -1.0, 7, 2, None, None)}
    for nonsense in (b"", b"short", b"\xff" * 24, b"\xff" * 32):  # the last is a NaN where a score should be
        raw.set(PREFIX + b"odd".hex(), nonsense)
        assert store.get([b"odd"]) == {}
    raw.delete(PREFIX + b"odd".hex())
    raw.lpush(PREFIX + b"odd".hex(), "a list")
    assert store.get([b"odd"]) == {}
    store.close()


@NEEDS_REDIS
def test_processes_share_what_redis_remembers(server):
    reranker = podium.load("podium-mini", cache=server)
    first = reranker.rerank("a shared query", TEXTS)
    with Process("--cache", server) as served:
        said = served.client.post("/v2/rerank", json={"query": "a shared query", "documents": TEXTS}).json()
        assert said["meta"]["warnings"] == ["4 of 4 scores were remembered"]
        assert [(each["index"], each["relevance_score"]) for each in said["results"]] == [(r.index, r.score) for r in first]
        assert served.client.get("/info").json()["max_input_length"] == 512
    keys = redis.Redis.from_url(server).keys("*")
    assert keys
    assert not any(word in bytes(key) for key in keys for word in (b"shared", b"apple"))
    other = podium.load("podium-mini", cache=server, precision="int8")
    assert other.rerank("a shared query", TEXTS).notes == ()  # another precision has other scores


@NEEDS_REDIS
def test_threads_share_a_store(server):
    reranker = podium.load("podium-mini", cache=server)
    expected = [result.index for result in podium.load("podium-mini").rerank("threads", TEXTS)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: [result.index for result in reranker.rerank("threads", TEXTS)], range(32)))
    assert found == [expected] * 32


def test_a_redis_that_is_not_there_costs_little_and_is_said(caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reranker = podium.load("podium-mini", cache=f"redis://127.0.0.1:{unused.getsockname()[1]}")
        with caplog.at_level("WARNING", "podium"):
            first = reranker.rerank("red", TEXTS)
        assert "the score cache failed (ConnectionError)" in caplog.text
        assert first.notes == ("the score cache failed (ConnectionError); scores were computed",)
        again = reranker.rerank("red", TEXTS)
        assert again.notes == ("the score cache could not be reached a moment ago; scores were computed",)
        assert [r.score for r in first] == [r.score for r in podium.load("podium-mini").rerank("red", TEXTS)]


def test_a_redis_that_hangs_is_waited_for_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisScores(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(PodiumError, match=r"the score cache failed \(TimeoutError\)"):
            store.get([b"k"])
        for _ in range(2):
            with pytest.raises(PodiumError, match="could not be reached a moment ago"):
                store.get([b"k"])


def test_what_cannot_be_remembered_is_refused():
    with pytest.raises(InvalidInput, match="scores documents relative to each other"):
        podium.load("jina:jina-reranker-v3", api_key="k", cache="redis://127.0.0.1")
    with pytest.raises(InvalidInput, match="cache must be the URL of a Redis"):
        podium.load("podium-mini", cache="http://127.0.0.1")


def test_scores_without_a_raw_form_stay_without():
    scorer = CachedScorer(FunctionScorer(lambda texts: Scores([0.5] * len(texts)), "probability"), Kept())
    for _ in range(2):
        given = scorer.score("q", ["a"])
        assert (list(given.values), given.raw, list(given.tokens)) == ([0.5], None, [None])
