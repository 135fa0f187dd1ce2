"""RedisScores: scores cached in a Redis that many processes share. Only hashes and numbers are stored, never text."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from podium.compose.stores import Row
from podium.redis_values import RedisValues, without_login

__all__ = ["RedisScores"]

PREFIX = "podium:score:2:"  # 2 is the version of the layout below
# A stored value has the fields of a Row in their order: value and raw, the numbers of tokens, and then, only if the row has a
# passage, its start, end and score. A `raw` that is None is stored as NaN, and a number of tokens that is None as UNKNOWN.
# At its end is a checksum of the key and these fields.
LAYOUT = struct.Struct("<ddiiii")
LAYOUT_WITH_PASSAGE = struct.Struct("<ddiiiiiid")
CHECKSUM = struct.Struct("<I")
UNKNOWN = -1
LAYOUTS = {layout.size + CHECKSUM.size: layout for layout in (LAYOUT, LAYOUT_WITH_PASSAGE)}  # number of bytes → layout
EXPIRY_SECONDS = 7 * 86_400  # scores expire, because a hosted model may change under the same name


class RedisScores:
    """A store for CachedScorer at a URL: redis://, rediss:// or unix://. Safe to share between threads.

    If Redis fails, the call raises PodiumError. For the next five seconds, all calls raise it without calling Redis.
    """

    def __init__(self, url: str) -> None:
        self.location = without_login(url)
        self._values = RedisValues(url, "the score cache")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        values = self._values.get([PREFIX + key.hex() for key in keys])
        return {key: row for key, value in zip(keys, values, strict=True) if (row := _decoded(key, value)) is not None}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        values = {PREFIX + key.hex(): _encoded(key, row) for key, row in rows.items() if _fits_layout(row)}
        self._values.set(values, expiry_seconds=EXPIRY_SECONDS)

    def close(self) -> None:
        self._values.close()


def _fits_layout(row: Row) -> bool:
    """Whether the integers of a row fit into the layout. The scorer of a user may return any."""
    integers = (*_counts(row), row.passage_start, row.passage_end)
    return all(integer is None or 0 <= integer < 2**31 for integer in integers)


def _counts(row: Row) -> tuple[int | None, ...]:
    return (row.tokens, row.dropped_tokens, row.query_tokens, row.query_dropped_tokens)


def _encoded(key: bytes, row: Row) -> bytes:
    raw = math.nan if row.raw is None else row.raw
    counts = [UNKNOWN if count is None else count for count in _counts(row)]
    if row.passage_start is None:
        fields = LAYOUT.pack(row.value, raw, *counts)
    else:
        fields = LAYOUT_WITH_PASSAGE.pack(row.value, raw, *counts, row.passage_start, row.passage_end, row.passage_score)
    return fields + _checksum(key, fields)


def _decoded(key: bytes, content: Any) -> Row | None:
    """Return the row that was stored as `content`, None if nothing was stored, or if it is damaged or of another program."""
    layout = LAYOUTS.get(len(content)) if isinstance(content, bytes) else None
    if layout is None or content[layout.size :] != _checksum(key, content[: layout.size]):
        return None
    value, raw, *others = layout.unpack_from(content)
    counts, passage = others[:4], others[4:]
    known_raw = None if math.isnan(raw) else raw
    return Row(value, known_raw, *(None if count < 0 else count for count in counts), *passage)


def _checksum(key: bytes, fields: bytes) -> bytes:
    return CHECKSUM.pack(zlib.crc32(key + fields))
