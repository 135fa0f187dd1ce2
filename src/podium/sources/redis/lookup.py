"""IndexLookup: the description of an index, read again when it may be out of date, and checks that a search fits it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.errors import SourceError
from podium.sources.hybrid import SearchRequest
from podium.sources.redis import replies
from podium.sources.redis.description import check_embedder, description_key, read_description
from podium.sources.redis.failures import NotAllowed
from podium.sources.redis.filters import missing_field
from podium.sources.redis.options import RedisOptions
from podium.sources.redis.replies import NO_INFO, IndexInfo
from podium.sources.redis.server import Deadline, Server, Steps

if TYPE_CHECKING:
    from podium.sources.embedding import Vectors

__all__ = ["IndexLookup", "RedisRequest"]

SECONDS = 1.0  # how long a description is used: the index may be replaced by one with other fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisRequest(SearchRequest):
    """A search of an index on Redis, which `info` describes.

    `vector` and `probe` are the embedder's vectors of the query and of PROBE, None in mode "text".
    """

    filter: str | None
    deadline: Deadline
    vector: Vectors | None = None
    probe: Vectors | None = None
    info: IndexInfo = NO_INFO


class IndexLookup:
    """What a source knows about its index. `info` is None before the first search and after a failed one."""

    def __init__(self, server: Server, options: RedisOptions) -> None:
        self._server, self._options = server, options
        self.info: IndexInfo | None = None
        self._read_at = 0.0
        self._embedder_note: str | None = None  # None until the embedder was compared with the index's

    def read_info(self, request: RedisRequest) -> Steps[tuple[IndexInfo, bool]]:
        """Return the description of the index, and whether it was read just now.

        Raises SourceError if the index lacks what the search needs, or was made with another embedder.
        """
        info = self.info  # another thread may set it to None
        is_new = info is None or info.indexing or time.monotonic() - self._read_at > SECONDS
        if info is None or is_new:
            info = replies.index_info((yield ("FT.INFO", self._server.index)))
            self.info, self._read_at, self._embedder_note = info, time.monotonic(), None
        self._check_fields(request, info)
        if request.vector is not None and self._embedder_note is None:
            self._embedder_note = yield from self._compare_embedder(request, info)
        return info, is_new

    def weights(self, info: IndexInfo) -> Mapping[str, float]:
        """Return the text fields that are searched, with their weights."""
        return self._options.weights or dict.fromkeys(info.of_kind("TEXT"), 1.0)

    def notes(self, info: IndexInfo) -> list[str]:
        """Return warnings about the index for the user."""
        building = f"index {info.name!r} is still being built ({info.indexed_share:.0%} done): documents may be missing"
        return [note for note in (building if info.indexing else "", self._embedder_note or "") if note]

    def _check_fields(self, request: RedisRequest, info: IndexInfo) -> None:
        """Raise SourceError if the index lacks a field of the search: the server would find nothing."""
        text = None if request.mode == "vector" else list(self.weights(info))
        vector = None if request.mode == "text" else self._options.vector
        name = f"index {info.name!r} on {self._server.address}"
        if missing := missing_field(info, text, vector, request.filter):
            raise SourceError(f"{name} does not have {missing}; it has {info.field_list()}")
        if request.vector is not None and (dimensions := info.fields[self._options.vector].dimensions) != len(request.vector):
            raise SourceError(
                f"{vector!r} of {name} has {dimensions} dimensions, the embedder returns {len(request.vector)}; use the "
                "embedder that the index was made with"
            )

    def _compare_embedder(self, request: RedisRequest, info: IndexInfo) -> Steps[str]:
        """Return a note if the embedder cannot be compared with the index's, else "". Raises SourceError if they differ."""
        key = description_key(info.key_prefix)
        try:
            description = read_description((yield ("GET", key)))
        except NotAllowed:
            return f"podium could not check that this is the embedder of the index: this user may not GET {key!r}"
        check_embedder(description, self._options.vector, request.probe, info.name)
        return ""
