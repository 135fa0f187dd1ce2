"""Where encodings are kept: the vectors that a model computes of a text, so that the text is not read again for each query.

A store maps keys to bytes. It knows neither models nor texts: a key is a hash of everything that the encoding depends on (the
model, its revision, precision and settings, and the text), so an encoding never has to be invalidated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

__all__ = ["KEY_BYTES", "Buffer", "EncodingStore", "KeyMaker"]

KEY_BYTES = 16

Buffer: TypeAlias = "bytes | memoryview"


class EncodingStore(Protocol):
    """Keeps encodings by their keys. Safe to share between threads. Never raises because of a failure: an encoding that
    cannot be read is missing, one that cannot be written is not kept."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Return the encodings of those keys that are stored and intact."""
        ...

    def put(self, encodings: Mapping[bytes, Buffer]) -> None: ...

    def close(self) -> None: ...


class KeyMaker:
    """Makes the keys of one model's encodings. `identity` must change whenever an encoding could."""

    def __init__(self, identity: str) -> None:
        prefix = identity.encode()
        self._hash = hashlib.blake2b(b"%d:%b" % (len(prefix), prefix), digest_size=KEY_BYTES)

    def key(self, text: str) -> bytes:
        text_hash = self._hash.copy()
        text_hash.update(text.encode("utf-8", "replace"))
        return text_hash.digest()
