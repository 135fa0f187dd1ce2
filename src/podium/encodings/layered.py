"""LayeredEncodings: one store in front of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.encodings import Buffer, EncodingStore

__all__ = ["LayeredEncodings"]


class LayeredEncodings:
    """Reads from `first`, and what that does not have from `second`. Writes to both."""

    def __init__(self, first: EncodingStore, second: EncodingStore) -> None:
        self._first, self._second = first, second

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        stored = self._first.get(keys)
        missing = [key for key in keys if key not in stored]
        return stored | self._second.get(missing) if missing else stored

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        self._first.put(encodings)
        self._second.put(encodings)

    def close(self) -> None:
        self._first.close()
        self._second.close()
