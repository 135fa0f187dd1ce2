"""Administration of the indexes on a Redis: list them, delete documents from one, drop one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from podium.errors import SourceError
from podium.sources.encodings import KeptModel
from podium.sources.redis import replies
from podium.sources.redis.commands import keys_command
from podium.sources.redis.description import description_key, lease_key, prefixes_overlap, read_description
from podium.sources.redis.encodings import delete_encodings, index_encodings, possible_encoding_keys
from podium.sources.redis.failures import NoSuchIndex
from podium.sources.redis.lease import Lease
from podium.sources.redis.replies import IndexInfo
from podium.sources.redis.server import Server

__all__ = ["delete", "drop", "index_info", "index_infos", "indexes"]

TIMEOUT_SECONDS = 30.0
FOUND_AT_ONCE = 1_000  # keys of documents: the search for more of them could exceed the server's own timeout


def indexes(url: str, name: str = "") -> list[tuple[str, str, str]]:
    """Return the name, the number of documents and the fields of one index, or of all indexes if `name` is empty.

    Raises SourceError, also if there is no index of this name.
    """
    with _server(url, name) as server:
        infos = [index_info(server, name)] if name else index_infos(server)
    return [(info.name, str(info.document_count), info.field_list()) for info in infos]


def delete(url: str, name: str, ids: Sequence[str]) -> int:
    """Delete documents of an index and return how many existed. Ids without a document in the index are ignored."""
    with _server(url, name) as server:
        info = _existing_info(server)
        keys: list[str] = []
        for start in range(0, len(ids), FOUND_AT_ONCE):
            possible_keys = [info.key_prefix + document_id for document_id in ids[start : start + FOUND_AT_ONCE]]
            keys += replies.search_keys(server.execute(*keys_command(server.index, possible_keys)))
        models = _models(server, info)
        encoding_keys = possible_encoding_keys(server, info, keys, models) if models else set()
        count: int = sum(server.execute("DEL", key) for key in keys)
        if encoding_keys:
            index_encodings(server, info.key_prefix).delete(encoding_keys)
        return count


def drop(url: str, name: str) -> int:
    """Delete an index, its documents, and podium's own keys for it. Return how many documents it had.

    Raises SourceError if `name` is an alias, if another index has some of the documents, or if another process is loading
    documents into the index: the documents that it writes later would remain.
    """
    with _server(url, name) as server:
        info = _existing_info(server)
        if info.name != server.index:
            raise SourceError(f"{server.index!r} is an alias of the index {info.name!r}; name that one to drop it")
        _check_exclusive(server, info)
        has_encodings = bool(_models(server, info))
        lease = Lease(server, lease_key(info.key_prefix))
        lease.acquire()
        try:
            if has_encodings:  # deleted first, so that a process that is killed leaves an index that can be dropped again
                delete_encodings(server, info.key_prefix)
            lease.write([("FT.DROPINDEX", info.name, "DD"), ("DEL", description_key(info.key_prefix))])
        finally:
            lease.release()
        return info.document_count


def index_info(server: Server, name: str) -> IndexInfo:
    """Return the description of an index. Raises NoSuchIndex."""
    return replies.index_info(server.execute("FT.INFO", name))


def index_infos(server: Server) -> list[IndexInfo]:
    """Return the descriptions of all indexes, in the order of their names. Indexes that are dropped meanwhile are left out."""
    infos = []
    for name in replies.index_names(server.execute("FT._LIST")):
        with contextlib.suppress(NoSuchIndex):
            infos.append(index_info(server, name))
    return infos


def _server(url: str, name: str) -> contextlib.closing[Server]:
    """Return a server for the commands of one index, or for commands that name no index if `name` is empty."""
    return contextlib.closing(Server.from_url(url, name or "*", TIMEOUT_SECONDS))


def _existing_info(server: Server) -> IndexInfo:
    try:
        return index_info(server, server.index)
    except NoSuchIndex as error:
        raise SourceError(
            f"there is no index {server.index!r} on {server.address}; podium index --list --to redis://… lists the indexes"
        ) from error


def _models(server: Server, info: IndexInfo) -> tuple[KeptModel, ...]:
    """Return the models whose encodings an index has."""
    description = read_description(server.execute("GET", description_key(info.key_prefix)))
    return () if description is None else description.models


def _check_exclusive(server: Server, info: IndexInfo) -> None:
    """Raise SourceError if dropping the index would delete documents of another one."""
    for other in index_infos(server):
        if other.name == info.name or other.storage != info.storage:
            continue
        for prefix in other.prefixes:
            if any(prefixes_overlap(own_prefix, prefix) for own_prefix in info.prefixes):
                raise SourceError(
                    f"dropping {info.name!r} would delete documents of index {other.name!r} on {server.address}, whose keys "
                    f"begin with {prefix!r}; to delete the index without its documents, run FT.DROPINDEX {info.name} on the "
                    "server"
                )
