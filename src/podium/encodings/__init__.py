"""Stores of encodings. An encoding has the vectors that a model computed for a text. A stored one is not computed again.

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
    """Stores encodings by their keys. Safe to share between threads.

    `get` and `put` do not raise if the storage fails. Encodings that cannot be read are treated as missing, and encodings that
    cannot be written are not stored.
    """

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Return the encodings that are stored and intact, by key. The other keys are left out."""
        ...

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        """Store encodings. A stored one that is damaged is replaced; an intact one may be kept, because it is the same."""
        ...

    def close(self) -> None: ...


class TextEncoder(Protocol):
    """Encodes texts for a scorer and stores the encodings, which do not depend on the query."""

    @property
    def encoding_identity(self) -> str:
        """The identity from which KeyMaker makes the keys. It changes whenever an encoding could change."""
        ...

    @property
    def store(self) -> EncodingStore: ...

    def encoding_key(self, text: str) -> bytes:
        """Return the key of a text's encoding in the store."""
        ...

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> int:
        """Compute the encodings that the store does not have and store them. Return how many were computed."""
        ...

    def with_store(self, store: EncodingStore) -> TextEncoder:
        """Return an encoder that has another store and shares everything else with this one. Only this one may be closed."""
        ...


@runtime_checkable
class EncodingSource(Protocol):
    """A source that may have encodings of its documents."""

    @property
    def encodings(self) -> EncodingStore | None:
        """The encodings of the source's documents, to be read only; None if it cannot have any."""
        ...


class KeyMaker:
    """Makes the keys of one model's encodings. `identity` must change whenever an encoding could change."""

    def __init__(self, identity: str) -> None:
        identity_bytes = identity.encode()
        # Without the length, ("ab", "c") and ("a", "bc") would have the same key.
        self._hash = hashlib.blake2b(b"%d:%b" % (len(identity_bytes), identity_bytes), digest_size=KEY_BYTES)

    def key(self, text: str) -> bytes:
        text_hash = self._hash.copy()
        text_hash.update(text.encode("utf-8", "surrogatepass"))  # texts that differ only in surrogates need different keys
        return text_hash.digest()

    def keys(self, texts: Iterable[str]) -> list[bytes]:
        return [self.key(text) for text in texts]
