"""IndexLookup: reads the description of an index, again after a second, and checks that a search fits the index."""

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
    from podium.embedding import Vectors

__all__ = ["IndexLookup", "RedisRequest"]

MAX_AGE_SECONDS = 1.0  # A description is read again after this, because the index may be replaced by one with other fields.


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
    """The description of a source's index. `info` is None before the first search and after a search that failed."""

    def __init__(self, server: Server, options: RedisOptions) -> None:
        self._server = server
        self._options = options
        self.info: IndexInfo | None = None
        self._read_time = 0.0
        # A warning if the embedder could not be compared with that of the index, "" if it is the same, None before comparing.
        self._embedder_note: str | None = None

    def read_info(self, request: RedisRequest) -> Steps[tuple[IndexInfo, bool]]:
        """Return the description of the index, and whether it was read just now.

        Raises SourceError if the index lacks what the search needs, or was made with another embedder.
        """
        info = self.info  # read once, because another thread may set it to None
        is_due = info is None or info.is_indexing or time.monotonic() - self._read_time > MAX_AGE_SECONDS
        if info is None or is_due:
            info = replies.index_info((yield ("FT.INFO", self._server.index)))
            self.info = info
            self._read_time = time.monotonic()
            self._embedder_note = None
        self._check_fields(request, info)
        if request.vector is not None and self._embedder_note is None:
            self._embedder_note = yield from self._compare_embedder(request, info)
        return info, is_due

    def weights(self, info: IndexInfo) -> Mapping[str, float]:
        """Return the text fields that are searched, with their weights."""
        return self._options.weights or dict.fromkeys(info.names_of_kind("TEXT"), 1.0)

    def notes(self, info: IndexInfo) -> list[str]:
        """Return warnings about the index for the user."""
        notes = []
        if info.is_indexing:
            notes.append(f"index {info.name!r} is still being built ({info.indexed_share:.0%} done): documents may be missing")
        if self._embedder_note:
            notes.append(self._embedder_note)
        return notes

    def _check_fields(self, request: RedisRequest, info: IndexInfo) -> None:
        """Raise SourceError if the index lacks a field of the search: the server would return no results and no error."""
        text_fields = None if request.mode == "vector" else list(self.weights(info))
        vector_field = None if request.mode == "text" else self._options.vector
        index_label = f"index {info.name!r} on {self._server.address}"
        if missing := missing_field(info, text_fields, vector_field, request.filter):
            raise SourceError(f"{index_label} does not have {missing}; it has {info.field_list()}")
        if request.vector is None:
            return
        dimensions = info.fields[self._options.vector].dimensions
        if dimensions != len(request.vector):
            raise SourceError(
                f"{vector_field!r} of {index_label} has {dimensions} dimensions, the embedder returns {len(request.vector)}; "
                "use the embedder that the index was made with"
            )

    def _compare_embedder(self, request: RedisRequest, info: IndexInfo) -> Steps[str]:
        """Return "", or a warning if this user may not read which embedder the index has.

        Raises SourceError if the index was made with another embedder.
        """
        key = description_key(info.key_prefix)
        try:
            description = read_description((yield ("GET", key)))
        except NotAllowed:
            return f"podium could not check that this is the embedder of the index: this user may not GET {key!r}"
        check_embedder(description, self._options.vector, request.probe, info.name)
        return ""
