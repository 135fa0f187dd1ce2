"""MemoryEncodings: the most recently used encodings, in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from podium.encodings import Buffer
from podium.forks import renew_after_fork

__all__ = ["MemoryEncodings"]

ENTRY_BYTES = 200  # about how many bytes the Python objects of an entry take, besides the encoding's own bytes


class MemoryEncodings:
    """Keeps at most `max_bytes` of encodings. The least recently used ones are dropped first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._encodings: OrderedDict[bytes, Buffer] = OrderedDict()
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock in a forked process, and count again, because a thread of the parent may have been in `put`."""
        self._lock = threading.Lock()
        self._bytes = sum(map(_size, self._encodings.values()))

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        with self._lock:
            stored = {key: self._encodings[key] for key in keys if key in self._encodings}
            for key in stored:
                self._encodings.move_to_end(key)
        return stored

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        with self._lock:
            for key, encoding in encodings.items():
                if key in self._encodings:  # The new encoding can differ, if the stored one is damaged.
                    self._bytes -= _size(self._encodings[key])
                self._encodings[key] = encoding
                self._encodings.move_to_end(key)
                self._bytes += _size(encoding)
            while self._encodings and self._bytes > self._max_bytes:
                _, dropped = self._encodings.popitem(last=False)
                self._bytes -= _size(dropped)
            if not self._encodings:
                self._bytes = 0  # an interrupt between two of these lines can make the count wrong

    def close(self) -> None:
        with self._lock:
            self._encodings.clear()
            self._bytes = 0


def _size(encoding: Buffer) -> int:
    """Return about how many bytes of memory an entry takes."""
    return len(encoding) + ENTRY_BYTES
