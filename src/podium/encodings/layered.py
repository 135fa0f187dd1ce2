"""LayeredEncodings: a fast store in front of a larger or shared one, and stores that are only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.encodings import Buffer, EncodingStore

__all__ = ["LayeredEncodings", "ReadOnlyEncodings"]


class LayeredEncodings:
    """Reads from `front`, then the rest from `back`, and writes to both.

    What was copied from `back`, from a server for example, is put into `front`. Memory-mapped encodings are not: they would
    only take up memory twice.
    """

    def __init__(self, front: EncodingStore, back: EncodingStore) -> None:
        self._front, self._back = front, back

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        encodings = self._front.get(keys)
        if missing := [key for key in keys if key not in encodings]:
            others = self._back.get(missing)
            copied = {key: encoding for key, encoding in others.items() if isinstance(encoding, bytes)}
            if copied:
                self._front.put(copied)
            encodings.update(others)
        return encodings

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        self._front.put(encodings)
        self._back.put(encodings)

    def close(self) -> None:
        self._front.close()
        self._back.close()


class ReadOnlyEncodings:
    """A store that others write and close."""

    def __init__(self, store: EncodingStore) -> None:
        self._store = store

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        return self._store.get(keys)

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
