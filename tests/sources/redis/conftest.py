"""A Redis server for each test, in both protocols: a replayed recording, and the server at PODIUM_TEST_REDIS_URL if set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from redisearch import IS_RECORDING, REAL, RECORDINGS, RedisUnderTest, exclusive_server
from resp import Recorder, Replay


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "recording(name): the recording of a Redis server that a test replays")


@pytest.fixture(params=["replayed-2", "replayed-3", "real-2", "real-3"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisUnderTest]:
    kind, _, protocol = request.param.partition("-")
    name = request.node.get_closest_marker("recording").args[0]
    recording = RECORDINGS / f"{name}-resp{protocol}.json"
    with contextlib.ExitStack() as stack:
        if kind == "replayed":
            if IS_RECORDING:
                pytest.skip("recording, not replaying")
            url = stack.enter_context(Replay(recording)).url
        else:
            url = stack.enter_context(_real_url())
            if IS_RECORDING:
                parts = urlsplit(url)
                url = stack.enter_context(Recorder(parts.hostname or "", parts.port or 6379, recording)).url
        server = RedisUnderTest(url, int(protocol))
        stack.callback(server.close)
        yield server


@pytest.fixture
def real_url() -> Iterator[str]:
    """The URL of a real server, for tests that cannot be replayed."""
    if IS_RECORDING:
        pytest.skip("recording, and this test is not replayed")
    with _real_url() as url:
        yield url


@contextlib.contextmanager
def _real_url() -> Iterator[str]:
    if not REAL:
        pytest.skip("PODIUM_TEST_REDIS_URL names no Redis with the search module")
    with exclusive_server() as url:
        yield url
