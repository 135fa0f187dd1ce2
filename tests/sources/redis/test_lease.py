"""Lease: one process at a time loads documents, and a process that lost its lease writes nothing."""

from __future__ import annotations

import contextlib

import pytest

from loopback import wait_until
from podium.errors import SourceError
from podium.sources.redis.lease import Lease
from podium.sources.redis.server import Server
from redisearch import LEASE, NAME, LoadingServer, Turns, answering, index_at
from resp import FakeRedis

NEVER = 600.0  # seconds between renewals, for tests without a renewal


class AdvancingClock(LoadingServer):
    """A server whose clock advances by a second with every PTTL command."""

    def pttl(self, key):
        self.now += 1000
        return super().pttl(key)


@contextlib.contextmanager
def lease_at(url, renewal_seconds=NEVER):
    """Yield a Lease on the server at a URL. It is not acquired yet."""
    with contextlib.closing(Server.from_url(url, NAME, 10.0)) as server:
        yield Lease(server, LEASE, renewal_seconds=renewal_seconds)


def test_lease_that_a_live_process_holds_is_refused():
    """The remaining milliseconds of the lease increase, so a live process has renewed it."""
    with (
        FakeRedis(answering({"SET": b"_\r\n", "PTTL": Turns([9000, 8800, 15000])})) as fake,
        lease_at(fake.url) as lease,
        pytest.raises(SourceError, match="another process is loading documents into index 'podium-test'"),
    ):
        lease.acquire()


def test_lease_is_renewed_and_released():
    redis_server = LoadingServer()
    with FakeRedis(redis_server) as fake, lease_at(fake.url, renewal_seconds=0.01) as lease:
        lease.acquire()
        wait_until(lambda: "PEXPIRE" in fake.command_names())
        assert lease.write([("SET", "a", "1")]) == [True]
        lease.release()
        assert redis_server.values == {"a": "1"}


def test_lease_of_a_killed_process_is_taken_when_it_expires():
    redis_server = AdvancingClock()
    with FakeRedis(redis_server) as fake, lease_at(fake.url) as lease:
        redis_server.set(LEASE, "the killed process", "NX", "PX", "3000")
        lease.acquire()
        assert redis_server.now >= 3000
        lease.release()


def test_suspended_process_does_not_overwrite_what_another_one_loaded():
    """The lease of the suspended process expires, another process loads documents, and then the first one continues."""
    redis_server = LoadingServer()
    with FakeRedis(redis_server) as fake, index_at(fake.url) as suspended, index_at(fake.url) as other:
        for index, text in ((suspended, "first"), (other, "second")):
            redis_server.now += 20_000  # more than the 15 seconds after which a lease expires
            index.prepare(1)
            index.add([{"content": text}], ["a"])
        other.finish()
        other.close()
        with pytest.raises(SourceError, match=r"lost the right .* suspended or disconnected for more than 15 seconds"):
            suspended.add([{"content": "stale"}, {"content": "stale"}], ["a", "b"])
        assert redis_server.values[f"{NAME}:a"] == {"content": "second"}
        assert f"{NAME}:b" not in redis_server.values


def test_expired_lease_stays_lost():
    """No other process holds the lease, but one could have held it in the meantime and loaded documents."""
    redis_server = LoadingServer()
    with FakeRedis(redis_server) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        redis_server.now += 20_000
        for _ in range(2):
            with pytest.raises(SourceError, match="lost the right to load documents"):
                lease.write([("SET", "a", "1")])
        lease.release()
        assert redis_server.values == {}


def test_lease_that_is_lost_while_a_batch_is_sent_aborts_the_batch():
    redis_server = LoadingServer()

    def answer(words):
        if words[0] == "EXEC" and LEASE in redis_server.values:
            redis_server.delete(LEASE)
        return redis_server(words)

    with FakeRedis(answer) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        with pytest.raises(SourceError, match="lost the right to load documents"):
            lease.write([("SET", "a", "1")])
        lease.release()
        assert redis_server.values == {}


def test_lease_of_another_process_is_not_released():
    redis_server = LoadingServer()
    with FakeRedis(redis_server) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        redis_server.set(LEASE, "another process")
        lease.release()
        assert redis_server.values == {LEASE: "another process"}


def test_batch_whose_connection_breaks_is_sent_again():
    """redis-py's pipeline forgets its commands when it fails, and reports a broken connection as a changed key."""
    redis_server = LoadingServer()

    def answer(words):
        return None if words[0] == "MULTI" and fake.command_names().count("MULTI") == 1 else redis_server(words)

    with FakeRedis(answer) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        assert lease.write([("SET", "a", "1")]) == [True]
        lease.release()
        assert redis_server.values == {"a": "1"}


@pytest.mark.recording("lost-lease")
def test_process_whose_lease_was_taken_writes_nothing(server):
    index = server.index(embed=None)
    index.prepare(2)
    index.add([{"content": "mine"}], ["a"])
    client = server.client()
    client.set(LEASE, "another process")
    with pytest.raises(SourceError, match="lost the right to load documents"):
        index.add([{"content": "mine"}], ["b"])
    assert client.exists(f"{NAME}:b") == 0
    index.close()
    assert client.get(LEASE) == b"another process"
