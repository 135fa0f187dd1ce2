"""A small index on Redis for tests: documents, an embedder, the replies of a search module, and functions for these.

PODIUM_TEST_REDIS_URL is the URL of a real server. Its indexes and keys whose names begin with podium-test are deleted.
If PODIUM_RECORD is also set, the recordings are written again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import redis

import podium
from podium.sources.redis.index import RedisIndex
from resp import Answer, Keyspace, encode_reply

RECORDINGS = Path(__file__).parents[1] / "sources" / "redis" / "recordings"
REAL = os.environ.get("PODIUM_TEST_REDIS_URL", "")
IS_RECORDING = bool(os.environ.get("PODIUM_RECORD"))

NAME = "podium-test"
LEASE = f"{NAME}:.podium-lease"
DOCUMENTS = [
    {"title": "Nevada", "content": "Carson City is the capital city of Nevada.", "year": 1864, "kind": "wiki"},
    {"title": "Saipan", "content": "The capital of the Northern Mariana Islands is Saipan.", "year": 1986, "kind": "book"},
    {"title": "Capital", "content": "Punishment has existed in the United States for centuries.", "year": 1608, "kind": "wiki"},
    {"title": "Washington", "content": "D.C. is the capital of the United States. Don’t forget!", "year": 1790, "kind": "book"},
    {"title": "Bread", "content": "Flour, water, salt and time.", "year": 1000, "kind": "wiki"},
]
IDS = [f"d{i}" for i in range(len(DOCUMENTS))]
WITH_CAPITAL = {"d0", "d1", "d2", "d3"}

TEXT_FIELD = {"identifier": "content", "attribute": "content", "type": "TEXT"}
VECTOR_FIELD = {
    "identifier": "embedding",
    "attribute": "embedding",
    "type": "VECTOR",
    "algorithm": "FLAT",
    "data_type": "FLOAT32",
    "dim": 4,
    "distance_metric": "COSINE",
}
INFO = {
    "index_name": NAME,
    "index_definition": {"key_type": "HASH", "prefixes": [f"{NAME}:"]},
    "attributes": [TEXT_FIELD, VECTOR_FIELD],
    "num_docs": 2,
    "indexing": 0,
}
TEXT_INFO = INFO | {"attributes": [TEXT_FIELD]}
"""INFO and TEXT_INFO are replies to FT.INFO."""
ONE_HIT = [1, "k:1", "2.5", ["content", "red"]]
"""The reply to an FT.SEARCH that returns one document."""

REDISVL_SCHEMA = {
    "index": {"name": NAME, "prefix": NAME, "storage_type": "hash"},
    "fields": [
        {"name": "content", "type": "text"},
        {"name": "embedding", "type": "vector", "attrs": {"dims": 4, "algorithm": "flat", "distance_metric": "cosine"}},
    ],
}


def embed(texts: list[str]) -> Any:
    """Return vectors of four letter counts. They are whole numbers, so that every machine sends the same bytes."""
    return np.array([[text.count(letter) + 1 for letter in "acsi"] for text in texts], np.float32)


def other_embed(texts: list[str]) -> Any:
    """Return vectors that have as many dimensions as those of `embed`, and are far from them."""
    return np.array([[-1 - text.count("e"), 1, -3, 1] for text in texts], np.float32)


def ids_of(documents: Any) -> list[str]:
    return [document["source_key"].removeprefix(f"{NAME}:") for document in documents]


class RedisUnderTest:
    """A server for one test, real or replayed, and the version of its protocol. `close` closes all clients created here."""

    def __init__(self, url: str, protocol: int) -> None:
        self.url, self.protocol = url, protocol
        self._stack = contextlib.ExitStack()

    def index(self, name: str = NAME, **options: Any) -> RedisIndex:
        defaults = {"text": ["content", "title"], "embed": embed, "tags": ["kind"], "numbers": ["year"]}
        index = RedisIndex(self.url, name, **defaults | options, connection={"protocol": self.protocol})
        return self._stack.enter_context(contextlib.closing(index))

    def load(self, documents: Any = DOCUMENTS, ids: Any = IDS, name: str = NAME, **options: Any) -> RedisIndex:
        """Load documents into an index, and return the index, closed, so that another process can load it."""
        index = self.index(name, **options)
        index.prepare(len(documents))
        index.add(documents, ids)
        index.finish()
        index.close()
        return index

    def source(self, name: str = NAME, **options: Any) -> podium.RedisSource:
        options = {"embed": embed, "connection": {"protocol": self.protocol}} | options
        return self._stack.enter_context(contextlib.closing(podium.RedisSource.from_url(self.url, index=name, **options)))

    def client(self, **options: Any) -> redis.Redis:
        client = redis.Redis.from_url(self.url, **{"protocol": self.protocol} | options)
        return self._stack.enter_context(contextlib.closing(client))

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def exclusive_server() -> Iterator[str]:
    """Yield the URL of the real server, without data of other tests. Other test processes wait until it is released."""
    with open(Path(tempfile.gettempdir()) / "podium-test-redis.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _delete_test_data(REAL)
        yield REAL
        _delete_test_data(REAL)


def _delete_test_data(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        for name in client.execute_command("FT._LIST"):
            if name.decode().startswith(NAME):
                client.execute_command("FT.DROPINDEX", name)
        for key in client.scan_iter(f"{NAME}*"):
            client.delete(key)


class Turns(list[Any]):
    """Replies that are sent one after the other. The last one is repeated."""


def answering(replies: dict[str, Any], protocol: int = 3) -> Answer:
    """Return an `answer` for FakeRedis. `replies`: first word of a command → its reply, or several replies as Turns.

    None closes the connection, except for GET: then it is the reply.
    """
    defaults = {"GET": None, "SET": b"+OK\r\n", "PTTL": -2, "DEL": 1, "INFO": "maxmemory_policy:noeviction"}
    turns = {name: value if isinstance(value, Turns) else Turns([value]) for name, value in (defaults | replies).items()}

    def answer(words: tuple[str, ...]) -> bytes | None:
        values = turns[words[0]]
        value = values.pop(0) if len(values) > 1 else values[0]
        if value is None and words[0] != "GET":
            return None
        return value if isinstance(value, bytes) else encode_reply(value, protocol)

    return answer


class LoadingServer(Keyspace):
    """A Keyspace with an index of its hashes. `info` replaces parts of the reply to FT.INFO."""

    def __init__(self, **info: Any) -> None:
        super().__init__()
        self._info = info

    def _value(self, words: tuple[str, ...]) -> Any:
        if words[0] != "FT.INFO":
            return super()._value(words)
        return TEXT_INFO | {"num_docs": sum(isinstance(value, dict) for value in self.values.values())} | self._info


@contextlib.contextmanager
def source_at(url: str, **options: Any) -> Iterator[podium.RedisSource]:
    with contextlib.closing(podium.RedisSource.from_url(url, **{"index": NAME} | options)) as source:
        yield source


@contextlib.contextmanager
def index_at(url: str, **options: Any) -> Iterator[RedisIndex]:
    with contextlib.closing(RedisIndex(url, NAME, **options)) as index:
        yield index
