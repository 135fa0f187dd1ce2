"""RedisEncodings with a real Redis, and with servers that fail."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from podium.encodings.keep import store_for
from podium.encodings.redis import BATCH_BYTES, PREFIX, RedisEncodings, redis_encodings
from podium.errors import InvalidInput
from redis_server import NEEDS_REDIS, running_redis

KEYS = [bytes([number]) * 16 for number in range(8)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis."""
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def client(url: str) -> redis.Redis:
    client = redis.Redis.from_url(url)
    client.flushdb()
    return client


@NEEDS_REDIS
def test_processes_share_encodings(url, client):
    redis_encodings(url).put({KEYS[0]: b"one", KEYS[1]: memoryview(b"two")})
    store = redis_encodings(url)
    assert store.get(KEYS) == {KEYS[0]: b"one", KEYS[1]: b"two"}
    store.delete(KEYS[:1])
    assert store.get(KEYS) == {KEYS[1]: b"two"}
    assert store.get([]) == {}
    store.put({})
    store.close()


class MemoryValues:
    """A ValueStore in memory. `batch_bytes` are the sizes of the batches that were written."""

    def __init__(self):
        self.values = {}
        self.batch_bytes = []

    def get(self, names):
        return [self.values.get(name) for name in names]

    def set(self, values):
        self.values.update(values)
        self.batch_bytes.append(sum(map(len, values.values())))

    def delete(self, names):
        for name in names:
            self.values.pop(name, None)

    def close(self):
        pass


def test_large_encodings_are_sent_in_parts():
    encodings = {key: key * (BATCH_BYTES // 32) for key in KEYS}  # each takes half a batch
    values = MemoryValues()
    store = RedisEncodings(values)
    store.put(encodings)
    assert store.get(KEYS) == encodings
    assert len(values.batch_bytes) > 1
    assert max(values.batch_bytes) < 2 * BATCH_BYTES


@NEEDS_REDIS
@pytest.mark.parametrize("damage", [b"", b"one", b"x" * 50], ids=["empty", "short", "foreign"])
def test_damaged_value_is_missing_and_written_again(url, client, damage):
    client.set(PREFIX + KEYS[0].hex(), damage)
    store = redis_encodings(url)
    assert store.get(KEYS) == {}
    store.put({KEYS[0]: b"one"})
    assert store.get(KEYS) == {KEYS[0]: b"one"}


@NEEDS_REDIS
def test_key_of_another_type_is_missing(url, client):
    client.lpush(PREFIX + KEYS[0].hex(), "a list")
    assert redis_encodings(url).get(KEYS) == {}


@NEEDS_REDIS
def test_store_for_a_redis_also_keeps_encodings_in_memory(url, client):
    redis_encodings(url).put({KEYS[0]: b"one"})
    store = store_for(url)
    assert store.get(KEYS[:1]) == {KEYS[0]: b"one"}
    client.flushdb()
    assert store.get(KEYS[:1]) == {KEYS[0]: b"one"}


@NEEDS_REDIS
def test_threads_share_a_store(url, client):
    store = store_for(url)

    def work(number: int) -> None:
        store.put({KEYS[number % 8]: b"%d" % (number % 8)})
        assert store.get([KEYS[number % 8]]) == {KEYS[number % 8]: b"%d" % (number % 8)}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(64)))


def test_redis_that_is_down_stores_nothing(caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = redis_encodings(f"redis://127.0.0.1:{unused.getsockname()[1]}")
        store.put({KEYS[0]: b"one"})
        assert store.get(KEYS) == {}
    assert "the store of encodings failed (ConnectionError)" in caplog.text
    assert len(caplog.records) == 1


def test_calls_wait_for_a_silent_redis_only_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = redis_encodings(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        for _ in range(20):
            assert store.get(KEYS) == {}
            store.put({KEYS[0]: b"one"})
        assert time.monotonic() - start < 5  # If each of the 40 calls waited half a second, they would take 20 seconds.


def test_other_urls_are_refused():
    with pytest.raises(InvalidInput, match="the store of encodings must be the URL of a Redis"):
        redis_encodings("http://127.0.0.1")
