"""Stores of encodings: the vectors that a model computes of a text, so that the text is not read again for each query.

A store maps keys to bytes. It knows neither models nor texts: a key is a hash of everything that the encoding depends on (the
model, its revision, precision and settings, and the text), so an encoding never has to be invalidated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from podium.types import Progress

__all__ = ["KEY_BYTES", "Buffer", "EncodingSource", "EncodingStore", "KeyMaker", "TextEncoder"]

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


class TextEncoder(Protocol):
    """A scorer whose encodings of texts can be stored, because they do not depend on the query."""

    @property
    def encoding_identity(self) -> str:
        """The identity that KeyMaker gets. It changes whenever an encoding could."""
        ...

    @property
    def store(self) -> EncodingStore: ...

    def encoding_key(self, text: str) -> bytes: ...

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> int:
        """Put the encodings of those texts into the store that it does not have. Return how many were computed."""
        ...

    def with_store(self, store: EncodingStore) -> TextEncoder:
        """Return the same scorer with another store. It shares everything else, and does not have to be closed."""
        ...


@runtime_checkable
class EncodingSource(Protocol):
    """A source that may have encodings of its documents."""

    @property
    def encodings(self) -> EncodingStore | None:
        """The encodings of the source's documents, to be read only; None if it cannot have any."""
        ...


class KeyMaker:
    """Makes the keys of one model's encodings. `identity` must change whenever an encoding could."""

    def __init__(self, identity: str) -> None:
        prefix = identity.encode()
        self._hash = hashlib.blake2b(b"%d:%b" % (len(prefix), prefix), digest_size=KEY_BYTES)

    def key(self, text: str) -> bytes:
        text_hash = self._hash.copy()
        text_hash.update(text.encode("utf-8", "replace"))
        return text_hash.digest()

    def keys(self, texts: Iterable[str]) -> list[bytes]:
        return [self.key(text) for text in texts]
