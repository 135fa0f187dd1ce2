"""Server: connections that break, deadlines, threads and forked processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redisvl.index import AsyncSearchIndex, SearchIndex

import podium
from podium.errors import InvalidInput, SourceError
from podium.sources.memory import limited_by
from podium.sources.redis.commands import CommandOptions
from podium.sources.redis.server import UNCOUNTED_REPLIES
from podium.sources.redis.source import complete_reply
from redisearch import INFO, NAME, ONE_HIT, REDISVL_SCHEMA, Turns, answering, embed, ids_of, source_at
from resp import FakeRedis, Gate


@pytest.mark.recording("redisvl-index")
def test_redisvl_index_can_have_a_client_that_decodes_replies(server):
    """The source gets bytes from such a client, too. With an AsyncSearchIndex, only `asearch` works."""
    server.load()
    expected = server.source().search("capital", 3)
    index = SearchIndex.from_dict(REDISVL_SCHEMA, redis_client=server.client(decode_responses=True))
    source = podium.RedisSource(index, embed=embed)
    assert source.search("capital", 3) == expected
    assert asyncio.run(source.asearch("capital", 3)) == expected

    async def search_at_once():
        client = redis.asyncio.Redis.from_url(server.url, protocol=server.protocol, decode_responses=True)
        source = podium.RedisSource(AsyncSearchIndex.from_dict(REDISVL_SCHEMA, redis_client=client), embed=embed)
        with pytest.raises(InvalidInput, match="asearch"):
            source.search("capital", 3)
        results = await asyncio.gather(*(source.asearch("capital", 3) for _ in range(4)))
        await client.aclose()
        return results

    assert asyncio.run(search_at_once()) == [expected] * 4


def test_command_whose_connection_breaks_is_sent_once_more():
    replies = {"FT.INFO": Turns([None, INFO]), "FT.SEARCH": Turns([None, ONE_HIT])}
    with FakeRedis(answering(replies)) as fake, source_at(fake.url) as source:
        assert ids_of(source.search("red", 5)) == ["k:1"]
        assert fake.command_names() == ["FT.INFO", "FT.INFO", "FT.SEARCH", "FT.SEARCH"]


def test_command_is_not_sent_a_third_time():
    with FakeRedis(answering({"FT.INFO": None})) as fake, source_at(fake.url) as source:
        with pytest.raises(SourceError):
            source.search("red", 5)
        assert len(fake.commands) == 2


async def search_asynchronously(url, **options):
    """Search with an asynchronous client that does not retry commands."""
    client = redis.asyncio.Redis.from_url(url, protocol=2, retry=None, socket_timeout=None)
    source = podium.RedisSource(AsyncSearchIndex.from_dict(REDISVL_SCHEMA, redis_client=client), **options)
    try:
        return await source.asearch("red", 5)
    finally:
        await client.aclose()


def test_asynchronous_client_can_search():
    with FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": ONE_HIT, "FT._LIST": []}, 2)) as fake:
        assert ids_of(asyncio.run(search_asynchronously(fake.url))) == ["k:1"]


def test_broken_connection_of_an_asynchronous_client_is_an_error():
    with (
        FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": None, "FT._LIST": []}, 2)) as fake,
        pytest.raises(SourceError, match="cannot reach Redis at 127"),
    ):
        asyncio.run(search_asynchronously(fake.url))


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
def test_replies_are_counted_if_memory_is_limited(is_async):
    """A reply counts twice: as bytes, and as the string that is decoded from them."""
    counts = []
    hit = [1, "k:1", "2.5", ["content", "a" * 10_000]]
    with FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": hit}, 2)) as fake, limited_by(counts.append):
        if is_async:
            asyncio.run(search_asynchronously(fake.url))
        else:
            with source_at(fake.url, connection={"protocol": 2}) as source:
                source.search("red", 5)
    assert 20_000 <= sum(counts) < 30_000


def test_few_uncounted_replies_are_in_memory_at_the_same_time():
    """The size of a reply can be counted only when the reply is in memory."""
    answer = answering({"FT.INFO": INFO, "FT.SEARCH": ONE_HIT})
    lock = threading.Lock()
    unfinished = 0
    counts = []

    def slow_answer(words):
        nonlocal unfinished
        with lock:
            unfinished += 1
            counts.append(unfinished)
        time.sleep(0.02)
        with lock:
            unfinished -= 1
        return answer(words)

    def limited_search():
        with limited_by(lambda count: None):
            return source.search("red", 5)

    with FakeRedis(slow_answer) as fake, source_at(fake.url) as source, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(limited_search) for _ in range(8)]
        assert all(ids_of(future.result()) == ["k:1"] for future in futures)
        assert max(counts) <= UNCOUNTED_REPLIES


def test_server_that_does_not_answer_is_waited_for_until_the_timeout():
    gate = Gate()
    with FakeRedis(gate) as fake, source_at(fake.url, timeout=0.2) as source:
        with pytest.raises(SourceError, match="did not answer in time"):
            source.search("red", 5)
        assert len(fake.commands) == 1
        gate.open()


def test_timeout_applies_to_a_redisvl_index_whose_client_has_none():
    gate = Gate()
    with FakeRedis(gate) as fake, redis.Redis.from_url(fake.url, protocol=2, socket_timeout=None) as client:
        source = podium.RedisSource(SearchIndex.from_dict(REDISVL_SCHEMA, redis_client=client), timeout=0.2)
        with pytest.raises(SourceError, match="did not answer in time"):
            source.search("red", 5)
        with pytest.raises(SourceError, match="did not answer in time"):
            asyncio.run(source.asearch("red", 5))
        with pytest.raises(SourceError, match="did not answer in time"):
            asyncio.run(search_asynchronously(fake.url, timeout=0.2))
        gate.open()


def test_all_commands_of_a_search_have_one_deadline():
    """A command may take only the time that earlier commands have left."""
    answer = answering({"FT.INFO": INFO, "FT.SEARCH": Turns([ONE_HIT, [0]])})

    def slow_answer(words):
        time.sleep(0.05)
        return answer(words)

    options = {"embed": embed, "fusion": "weighted", "timeout": 600}
    with FakeRedis(slow_answer) as fake, source_at(fake.url, **options) as source:
        source.search("red", 5)
        search_commands = [words for words in fake.commands if words[0] == "FT.SEARCH"]
        first_timeout, second_timeout = (int(words[words.index("TIMEOUT") + 1]) for words in search_commands)
        assert first_timeout <= 600_000 - 50  # the server takes 50 ms for each command
        assert second_timeout <= first_timeout - 50


def test_reply_to_a_command_that_took_its_complete_timeout_is_an_error():
    """RESP2 has no other sign that the reply is only a part of the results."""
    options = CommandOptions(index=NAME, weights={"content": 1.0}, count=3, timeout_ms=1)
    steps = complete_reply(("FT.SEARCH",), options)
    next(steps)
    time.sleep(0.002)
    with pytest.raises(SourceError, match="returned only a part of the results"):
        steps.send([0])


class SlowStart(FakeRedis):
    """A server whose first connection gets no reply, not even to the handshake, until it is released."""

    def __init__(self, answer):
        super().__init__(answer)
        self.is_connected = threading.Event()
        self.may_answer = threading.Event()

    def _serve(self, rfile, wfile):
        if self.connection_count == 1:
            self.is_connected.set()
            self.may_answer.wait(60)
        super()._serve(rfile, wfile)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_process_forked_while_another_thread_connects_can_search():
    with (
        SlowStart(answering({"FT.INFO": INFO, "FT.SEARCH": ONE_HIT})) as fake,
        source_at(fake.url, timeout=60) as source,
    ):
        thread = threading.Thread(target=lambda: source.search("red", 5))
        thread.start()
        assert fake.is_connected.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # ends the process if the search hangs
            code = 1
            try:
                code = 0 if ids_of(source.search("red", 5)) == ["k:1"] else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        fake.may_answer.set()
        thread.join()


def test_threads_can_connect_at_the_same_time():
    with FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": ONE_HIT})) as fake, source_at(fake.url) as source:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: source.search("red", 5), range(16)))
        assert all(ids_of(documents) == ["k:1"] for documents in results)
