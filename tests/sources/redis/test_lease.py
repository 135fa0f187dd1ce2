"""Lease: one process loads at a time, and one that lost its lease writes nothing."""

from __future__ import annotations

import contextlib

import pytest

from loopback import wait_until
from podium.errors import SourceError
from podium.sources.redis.lease import Lease
from podium.sources.redis.server import Server
from redisearch import LEASE, NAME, LoadingServer, Turns, answering, index_at
from resp import Fake

NEVER = 600.0  # seconds until a renewal that a test does not want


class PassingTime(LoadingServer):
    """Keys whose time passes by a second with every PTTL."""

    def pttl(self, key):
        self.now += 1000
        return super().pttl(key)


@contextlib.contextmanager
def lease_at(url, renewal_seconds=NEVER):
    with contextlib.closing(Server.from_url(url, NAME, 10.0)) as server:
        yield Lease(server, LEASE, renewal_seconds=renewal_seconds)


def test_lease_of_a_live_process_is_refused():
    with (
        Fake(answering({"SET": b"_\r\n", "PTTL": Turns([9000, 8800, 15000])})) as fake,
        lease_at(fake.url) as lease,
        pytest.raises(SourceError, match="another process is loading documents into index 'podium-test'"),
    ):
        lease.acquire()


def test_lease_is_renewed_and_released():
    keys = LoadingServer()
    with Fake(keys) as fake, lease_at(fake.url, renewal_seconds=0.01) as lease:
        lease.acquire()
        wait_until(lambda: "PEXPIRE" in fake.names())
        assert lease.write([("SET", "a", "1")]) == [True]
        lease.release()
        assert keys.values == {"a": "1"}


def test_lease_of_a_killed_process_is_taken_when_it_expires():
    keys = PassingTime()
    with Fake(keys) as fake, lease_at(fake.url) as lease:
        keys.set(LEASE, "the killed process", "NX", "PX", "3000")
        lease.acquire()
        assert keys.now >= 3000
        lease.release()


def test_suspended_process_does_not_overwrite_what_another_one_loaded():
    """Its lease expires, another process loads and finishes, and then it continues."""
    keys = LoadingServer()
    with Fake(keys) as fake, index_at(fake.url) as suspended, index_at(fake.url) as other:
        for index, text in ((suspended, "first"), (other, "second")):
            keys.now += 20_000
            index.prepare(1)
            index.add([{"content": text}], ["a"])
        other.finish()
        other.close()
        with pytest.raises(SourceError, match=r"lost the right .* suspended or disconnected for more than 15 seconds"):
            suspended.add([{"content": "stale"}, {"content": "stale"}], ["a", "b"])
        assert keys.values[f"{NAME}:a"] == {"content": "second"}
        assert f"{NAME}:b" not in keys.values


def test_expired_lease_stays_lost():
    """No other process has it, but one may have loaded and finished."""
    keys = LoadingServer()
    with Fake(keys) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        keys.now += 20_000
        for _ in range(2):
            with pytest.raises(SourceError, match="lost the right to load documents"):
                lease.write([("SET", "a", "1")])
        lease.release()
        assert keys.values == {}


def test_lease_that_is_lost_while_a_batch_is_sent_aborts_the_batch():
    keys = LoadingServer()

    def lost_before_exec(words):
        if words[0] == "EXEC" and LEASE in keys.values:
            keys.delete(LEASE)
        return keys(words)

    with Fake(lost_before_exec) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        with pytest.raises(SourceError, match="lost the right to load documents"):
            lease.write([("SET", "a", "1")])
        lease.release()
        assert keys.values == {}


def test_lease_of_another_process_is_not_released():
    keys = LoadingServer()
    with Fake(keys) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        keys.set(LEASE, "another process")
        lease.release()
        assert keys.values == {LEASE: "another process"}


def test_batch_whose_connection_breaks_is_sent_again():
    """redis-py's pipeline forgets its commands when it fails, and reports a broken connection as a changed key."""
    keys = LoadingServer()

    def broken_once(words):
        return None if words[0] == "MULTI" and fake.names().count("MULTI") == 1 else keys(words)

    with Fake(broken_once) as fake, lease_at(fake.url) as lease:
        lease.acquire()
        assert lease.write([("SET", "a", "1")]) == [True]
        lease.release()
        assert keys.values == {"a": "1"}


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
