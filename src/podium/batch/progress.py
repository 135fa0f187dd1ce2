"""JobProgress, the progress bar of a batch job: the share of the input that was read, pairs per second, remaining time."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from podium.batch.files import InputFile
from podium.batch.manifest import Manifest
from podium.batch.parts import Part
from podium.batch.tables import table_format
from podium.progress import bar

__all__ = ["JobProgress", "part_bytes", "share_before"]


class JobProgress(contextlib.ExitStack):
    """Counts the `pairs` of the parts that are computed now, and shows a bar on stderr if `is_shown`. A context manager."""

    def __init__(self, manifest: Manifest, missing: Iterable[Part], is_shown: bool) -> None:
        super().__init__()
        self.pairs = 0
        self._began = time.monotonic()
        self._format_name = manifest.options.format_name
        self._bytes = part_bytes(manifest.parts)
        self._done_bytes: Counter[Part] = Counter()
        total = sum(self._bytes[part] for part in missing)
        self._advance_bar = self.enter_context(bar(total, is_shown, "scoring", detail=self._speed))

    def advance(self, part: Part, pairs: int, position: int) -> None:
        """Count the pairs of a window of a part. `position` is that of a row near the end of the window."""
        self.pairs += pairs
        self._set_done(part, int(share_before(part, position, self._format_name) * self._bytes[part]))

    def finish(self, part: Part, pairs: int = 0) -> None:
        """Count a part that is complete, and those of its pairs that were not counted yet."""
        self.pairs += pairs
        self._set_done(part, self._bytes[part])

    def _set_done(self, part: Part, byte_count: int) -> None:
        self._advance_bar(byte_count - self._done_bytes[part])
        self._done_bytes[part] = byte_count

    def _speed(self) -> str:
        return f"{self.pairs / max(1e-9, time.monotonic() - self._began):,.0f} pairs/s"


def share_before(part: Part, position: int, format_name: str | None) -> float:
    """Return approximately which share of a part is before a position, a number of rows or bytes as in `Part`."""
    end = _estimated_end(part.file, format_name) if part.stop is None else part.stop
    return min(1.0, (position - part.start) / max(1, end - part.start))


@functools.lru_cache(maxsize=64)  # the beginning of the file is read, and this is called after every window
def _estimated_end(file: InputFile, format_name: str | None) -> int:
    return table_format(file.path, format_name).estimated_end(file)


def part_bytes(parts: Sequence[Part]) -> dict[Part, int]:
    """Return approximately how many bytes each part has: its share of its file. A part without a stop is a whole file."""
    ends: dict[str, int] = {}
    for part in parts:
        ends[part.file.path] = max(ends.get(part.file.path, 0), part.stop or 0)
    shares = {part: 1.0 if part.stop is None else (part.stop - part.start) / max(1, ends[part.file.path]) for part in parts}
    return {part: int(share * part.file.size) for part, share in shares.items()}
