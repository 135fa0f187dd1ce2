"""RedisScores: scores cached in a real Redis, and one that fails."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

import podium
from fakes import row_with_value
from podium.compose.stores import Row
from podium.compose.stores.redis import PREFIX, RedisScores
from podium.errors import InvalidInput, PodiumError
from redis_server import NEEDS_REDIS, running_redis
from serving import ServerProcess

TEXTS = ["a red apple", "the sea", "a red apple", "red"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis."""
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@NEEDS_REDIS
def test_stored_rows_are_returned(url):
    store = RedisScores(url)
    rows = {
        b"k1": Row(value=0.25, raw=-1.5, tokens=7, dropped_tokens=0, query_tokens=3, query_dropped_tokens=0),
        b"k2": row_with_value(1.0),
        b"k3": Row(value=-3.4e38, raw=0.0, tokens=0, dropped_tokens=12, query_tokens=0, query_dropped_tokens=5),
        b"k4": row_with_value(0.5)._replace(passage_start=0, passage_end=70_000, passage_score=-0.5),
    }
    store.put(rows)
    assert store.get([b"k1", b"missing", b"k2", b"k3", b"k4"]) == rows
    assert store.get([]) == {}
    assert 6 * 86_400 < redis.Redis.from_url(url).ttl(PREFIX + b"k1".hex()) <= 7 * 86_400
    store.close()


@NEEDS_REDIS
@pytest.mark.parametrize("tokens", [2**31, -1])
def test_row_with_an_impossible_number_of_tokens_is_not_stored(url, tokens):
    store = RedisScores(url)
    store.put({b"impossible": row_with_value(1.0)._replace(tokens=tokens), b"possible": row_with_value(2.0)})
    assert store.get([b"impossible", b"possible"]) == {b"possible": row_with_value(2.0)}
    store.close()


@NEEDS_REDIS
def test_row_with_an_impossible_passage_is_not_stored(url):
    store = RedisScores(url)
    passage = {"passage_start": 0, "passage_end": 2**31, "passage_score": 0.5}
    store.put({b"impossible": row_with_value(1.0)._replace(**passage), b"possible": row_with_value(2.0)})
    assert store.get([b"impossible", b"possible"]) == {b"possible": row_with_value(2.0)}
    store.close()


@NEEDS_REDIS
@pytest.mark.parametrize(
    "damage",
    [
        lambda values: [b"", values[1]],
        lambda values: [b"short", values[1]],
        lambda values: [b"\xff" * len(values[0]), values[1]],
        lambda values: [values[0][:-1], values[1]],
        lambda values: [values[0] + b"\0" * 16, values[1]],  # as long as a row with a passage
        lambda values: [bytes([values[0][0] ^ 1]) + values[0][1:], values[1]],
        lambda values: [values[1], values[1]],
    ],
    ids=["empty", "short", "foreign", "cut", "longer", "flipped-bit", "of-another-key"],
)
def test_value_that_is_not_the_row_of_its_key_is_ignored(url, damage):
    store = RedisScores(url)
    rows = {b"a": row_with_value(0.25), b"b": row_with_value(0.75)}
    store.put(rows)
    client = redis.Redis.from_url(url)
    names = [PREFIX + key.hex() for key in rows]
    client.mset(dict(zip(names, damage(client.mget(names)), strict=True)))
    assert store.get([b"a", b"b"]) == {b"b": rows[b"b"]}
    store.close()


@NEEDS_REDIS
def test_key_of_another_type_is_ignored(url):
    redis.Redis.from_url(url).lpush(PREFIX + b"list".hex(), "a list")
    assert RedisScores(url).get([b"list"]) == {}


@NEEDS_REDIS
def test_processes_share_cached_scores(url):
    ranking = podium.load("podium-mini", cache=url).rerank("a shared query", TEXTS)
    with ServerProcess("--cache", url) as server:
        reply = server.client.post("/v2/rerank", json={"query": "a shared query", "documents": TEXTS}).json()
        assert reply["meta"]["warnings"] == ["4 of 4 scores were remembered"]
        results = [(result["index"], result["relevance_score"]) for result in reply["results"]]
        assert results == [(result.index, result.score) for result in ranking]
        assert server.client.get("/info").json()["max_input_length"] == 512
    keys = redis.Redis.from_url(url).keys("*")
    assert keys
    assert not any(word in bytes(key) for key in keys for word in (b"shared", b"apple"))


@NEEDS_REDIS
def test_another_precision_does_not_share_scores(url):
    podium.load("podium-mini", cache=url).rerank("precision", TEXTS)
    assert podium.load("podium-mini", cache=url, precision="float32").rerank("precision", TEXTS).notes == ()


@NEEDS_REDIS
def test_threads_share_a_store(url):
    reranker = podium.load("podium-mini", cache=url)
    expected = [result.index for result in podium.load("podium-mini").rerank("threads", TEXTS)]
    with ThreadPoolExecutor(8) as pool:
        rankings = list(pool.map(lambda _: reranker.rerank("threads", TEXTS), range(32)))
    assert [[result.index for result in ranking] for ranking in rankings] == [expected] * 32


def test_unreachable_redis_is_a_note_and_a_warning(caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reranker = podium.load("podium-mini", cache=f"redis://127.0.0.1:{unused.getsockname()[1]}")
        with caplog.at_level("WARNING", "podium"):
            ranking = reranker.rerank("red", TEXTS)
    assert "the score cache failed (ConnectionError)" in caplog.text
    assert ranking.notes == ("the score cache failed (ConnectionError); scores were computed",)
    uncached = podium.load("podium-mini").rerank("red", TEXTS)
    assert [result.score for result in ranking] == [result.score for result in uncached]


def test_silent_redis_is_not_called_again_for_a_while():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisScores(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(PodiumError, match=r"the score cache failed \(TimeoutError\)"):
            store.get([b"k"])
        for _ in range(2):
            with pytest.raises(PodiumError, match="could not be reached a moment ago"):
                store.get([b"k"])


def test_cache_that_is_not_a_redis_url_is_refused():
    with pytest.raises(InvalidInput, match="the score cache must be the URL of a Redis"):
        podium.load("podium-mini", cache="http://127.0.0.1")
