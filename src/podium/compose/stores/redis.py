"""RedisScores: scores cached in a Redis that many processes share. Only hashes and numbers are stored, never text."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from podium.compose.stores import Row
from podium.redis_values import RedisValues, without_login

__all__ = ["RedisScores"]

PREFIX = "podium:score:1:"  # 1 is the version of the layout below
# A value has the fields of a Row. None is stored as NaN in `raw`, and as -1 in the numbers of tokens.
LAYOUT = struct.Struct("<ddiiii")
LAYOUT_WITH_PASSAGE = struct.Struct("<ddiiiiiid")  # only for rows with a passage
LAYOUT_WITHOUT_QUERY = struct.Struct("<ddii")  # earlier versions of podium stored no query tokens
LAYOUTS = {layout.size: layout for layout in (LAYOUT, LAYOUT_WITH_PASSAGE, LAYOUT_WITHOUT_QUERY)}  # number of bytes → layout
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
        return {key: row for key, value in zip(keys, values, strict=True) if (row := _decoded(value)) is not None}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        values = {PREFIX + key.hex(): _encoded(row) for key, row in rows.items() if _fits_layout(row)}
        self._values.set(values, expiry_seconds=EXPIRY_SECONDS)

    def close(self) -> None:
        self._values.close()


def _fits_layout(row: Row) -> bool:
    """Whether the numbers of tokens fit into the layout. The scorer of a user may return any number."""
    counts = (row.tokens, row.dropped_tokens, row.query_tokens, row.query_dropped_tokens)
    return all(count is None or 0 <= count < 2**31 for count in counts)


def _encoded(row: Row) -> bytes:
    numbers = (math.nan if row.raw is None else row.raw, *(-1 if count is None else count for count in row[2:6]))
    if row.passage_start is None:
        return LAYOUT.pack(row.value, *numbers)
    return LAYOUT_WITH_PASSAGE.pack(row.value, *numbers, row.passage_start, row.passage_end, row.passage_score)


def _decoded(content: Any) -> Row | None:
    """Return the row that was stored as `content`, None if nothing was stored or podium did not write it."""
    layout = LAYOUTS.get(len(content)) if isinstance(content, bytes) else None
    if layout is None:
        return None
    value, raw, *numbers = layout.unpack(content)
    if layout is LAYOUT_WITHOUT_QUERY:
        numbers += [-1, -1]
    counts, passage = numbers[:4], numbers[4:]
    if not math.isfinite(value) or math.isinf(raw) or not all(map(math.isfinite, passage)):
        return None
    return Row(value, None if math.isnan(raw) else raw, *(None if count < 0 else count for count in counts), *passage)
