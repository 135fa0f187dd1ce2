"""RedisValues with servers that are slow or send malformed replies."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from podium.errors import PodiumError
from podium.redis_values import RedisValues
from resp import FakeRedis, SlowReplies, encode_reply

NAMES = ["a", "b"]


def test_call_ends_while_a_server_sends_its_reply_slowly():
    with SlowReplies(encode_reply([b"x" * 50, None], 3)) as server:
        values = RedisValues(server.url, "the cache")
        with pytest.raises(PodiumError, match=r"the cache failed \(TimeoutError\)"):
            values.get(NAMES)
        assert server.is_cut_off.wait(30), "the connection is still open"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encode_reply([None], 3), id="too few values"),
        pytest.param(encode_reply([None] * 3, 3), id="too many values"),
        pytest.param(encode_reply(5, 3), id="integer"),
        pytest.param(encode_reply(b"text", 3), id="string"),
        pytest.param(b"*-1\r\n", id="no list"),
        pytest.param(b"*1\r\n" * 100_000 + b":1\r\n", id="nested lists"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="another protocol"),
    ],
)
def test_malformed_reply_is_an_error(content):
    with FakeRedis(lambda words: content) as server, pytest.raises(PodiumError, match="the cache failed"):
        RedisValues(server.url, "the cache").get(NAMES)


def test_reply_with_a_value_for_each_name_is_returned():
    with FakeRedis(lambda words: encode_reply([b"x", None], 3)) as server:
        assert RedisValues(server.url, "the cache").get(NAMES) == [b"x", None]


def test_only_one_call_tries_again_after_a_failure():
    second_command = threading.Event()
    test_is_done = threading.Event()

    def close_connection(words):
        """Close the connection at once after the first command, and when the test is done after the second."""
        if len(server.commands) == 2:
            second_command.set()
            test_is_done.wait(30)

    def call_until_redis_is_tried_again() -> None:
        while not second_command.is_set():
            with pytest.raises(PodiumError):
                values.get(NAMES)

    with FakeRedis(close_connection) as server, ThreadPoolExecutor(1) as pool:
        values = RedisValues(server.url, "the cache", retry_seconds=3)
        with pytest.raises(PodiumError, match="failed"):
            values.get(NAMES)
        future = pool.submit(call_until_redis_is_tried_again)
        assert second_command.wait(30)
        with pytest.raises(PodiumError, match="could not be reached a moment ago"):
            values.get(NAMES)
        test_is_done.set()
        future.result()


def test_calls_reach_redis_again_after_it_recovers():
    replies = iter([None])
    with FakeRedis(lambda words: next(replies, encode_reply([None, None], 3))) as server:
        values = RedisValues(server.url, "the cache", retry_seconds=0.01)
        with pytest.raises(PodiumError, match="failed"):
            values.get(NAMES)
        while True:  # until the pause has ended
            try:
                assert values.get(NAMES) == [None, None]
                break
            except PodiumError:
                continue
        assert values.get(NAMES) == [None, None]
