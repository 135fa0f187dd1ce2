"""Indexes on a Redis, from outside: list them, delete documents of one, drop one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from podium.errors import SourceError
from podium.sources.redis import replies as wire
from podium.sources.redis.description import RESERVED, description_key, lease_key, separated
from podium.sources.redis.failures import NoSuchIndex
from podium.sources.redis.lease import Lease
from podium.sources.redis.server import Server

__all__ = ["delete", "drop", "indexes"]

SECONDS = 30.0


def indexes(url: str, name: str = "") -> list[tuple[str, str, str]]:
    """Return name, number of documents and fields of an index, or of every index of the server where `name` is ""."""
    with _server(url, name) as server:
        names = [name] if name else sorted(_decoded(each) for each in server.execute("FT._LIST"))
        return [_row(wire.index_info(server.execute("FT.INFO", each))) for each in names]


def delete(url: str, name: str, ids: Sequence[str]) -> int:
    """Delete documents by their ids; return how many were there."""
    with _server(url, name) as server:
        prefix = _prefix(_existing(server))
        return sum(bool(server.execute("DEL", prefix + each)) for each in ids if each not in RESERVED)


def drop(url: str, name: str) -> int:
    """Delete an index, its documents, and what podium keeps of it; return how many documents there were.

    Raises SourceError where `name` is an alias, and while documents are being loaded: those written later would remain.
    """
    with _server(url, name) as server:
        info = _existing(server)
        if info.name != server.index:
            raise SourceError(f"{server.index!r} is an alias of the index {info.name!r}; name that one to drop it")
        lease = Lease(server, lease_key(_prefix(info)))
        lease.acquire()
        try:
            lease.write([("FT.DROPINDEX", info.name, "DD"), ("DEL", description_key(_prefix(info)))])
        finally:
            lease.release()
        return info.documents


@contextlib.contextmanager
def _server(url: str, name: str) -> Iterator[Server]:
    server = Server.at(url, name or "*", SECONDS, {})
    try:
        yield server
    finally:
        server.close()


def _existing(server: Server) -> wire.IndexInfo:
    try:
        return wire.index_info(server.execute("FT.INFO", server.index))
    except NoSuchIndex as error:
        raise SourceError(
            f"there is no index {server.index!r} on {server.where}; podium index --list --to redis://… lists those there are"
        ) from error


def _prefix(info: wire.IndexInfo) -> str:
    return separated(info.prefixes[0] if info.prefixes else "")


def _row(info: wire.IndexInfo) -> tuple[str, str, str]:
    fields = ", ".join(f"{field.name} ({field.kind})" for field in info.fields.values())
    return (info.name, str(info.documents), fields)


def _decoded(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
