"""LayeredEncodings: a fast store in front of a larger or shared one, and stores that are only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.encodings import Buffer, EncodingStore

__all__ = ["LayeredEncodings", "ReadOnlyEncodings"]


class LayeredEncodings:
    """Reads encodings from `front`, and from `back` those that `front` does not have. Writes to both.

    Encodings that `back` returns as copies, for example from a server, are put into `front`. Memory-mapped ones are not,
    because they would only take up memory twice.
    """

    def __init__(self, front: EncodingStore, back: EncodingStore) -> None:
        self._front = front
        self._back = back

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        encodings = self._front.get(keys)
        if missing_keys := [key for key in keys if key not in encodings]:
            back_encodings = self._back.get(missing_keys)
            copies = {key: encoding for key, encoding in back_encodings.items() if isinstance(encoding, bytes)}
            if copies:
                self._front.put(copies)
            encodings.update(back_encodings)
        return encodings

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        self._front.put(encodings)
        self._back.put(encodings)

    def close(self) -> None:
        self._front.close()
        self._back.close()


class ReadOnlyEncodings:
    """A view of a store, through which encodings can be read but not written. Its owner closes the store."""

    def __init__(self, store: EncodingStore) -> None:
        self._store = store

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        return self._store.get(keys)

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
