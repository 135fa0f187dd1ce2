"""RedisEncodings: encodings in a Redis that many processes share."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from podium.encodings import Buffer
from podium.errors import PodiumError
from podium.redis_values import RedisValues

__all__ = ["PREFIX", "RedisEncodings", "ValueStore", "redis_encodings"]

PREFIX = "podium:encoding:1:"  # 1 is the version of the encodings' layout
CHECKSUM_BYTES = 4
BATCH_BYTES = 8_000_000  # about how many bytes of encodings one call writes
BATCH_KEYS = 512  # how many encodings one call reads: about 5 MB, for which RedisValues waits long enough


class ValueStore(Protocol):
    """What RedisEncodings needs of a store of strings on a Redis; RedisValues is one.

    Methods raise PodiumError if Redis is slow or down.
    """

    def get(self, names: Sequence[str]) -> Sequence[object]:
        """Return one value for each name, in their order: bytes, or None if the name has no string."""
        ...

    def set(self, values: Mapping[str, bytes]) -> None: ...
    def delete(self, names: Iterable[str]) -> None: ...
    def close(self) -> None: ...


class RedisEncodings:
    """Stores encodings as strings on a Redis. A string is an encoding followed by its checksum.

    The name of a string is `prefix` and the key in hexadecimal. If Redis is slow or down, encodings are treated as missing.
    """

    def __init__(self, values: ValueStore, prefix: str = PREFIX) -> None:
        self._values = values
        self._prefix = prefix

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        encodings: dict[bytes, Buffer] = {}
        with contextlib.suppress(PodiumError):  # The caller computes the encodings that could not be read.
            for begin in range(0, len(keys), BATCH_KEYS):
                batch = keys[begin : begin + BATCH_KEYS]
                for key, value in zip(batch, self._values.get(self._names(batch)), strict=True):
                    encoding = _encoding(value)
                    if encoding is not None:
                        encodings[key] = encoding
        return encodings

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        batch: dict[str, bytes] = {}
        batch_bytes = 0
        with contextlib.suppress(PodiumError):  # Encodings that were not stored are computed again when they are needed.
            for key, encoding in encodings.items():
                batch[self._name(key)] = bytes(encoding) + _checksum(encoding)
                batch_bytes += len(encoding)
                if batch_bytes > BATCH_BYTES:
                    self._values.set(batch)
                    batch = {}
                    batch_bytes = 0
            if batch:
                self._values.set(batch)

    def delete(self, keys: Iterable[bytes]) -> None:
        """Delete encodings. Raises PodiumError if Redis is slow or down."""
        self._values.delete(self._names(keys))

    def close(self) -> None:
        self._values.close()

    def _name(self, key: bytes) -> str:
        return self._prefix + key.hex()

    def _names(self, keys: Iterable[bytes]) -> list[str]:
        return [self._name(key) for key in keys]


def redis_encodings(url: str) -> RedisEncodings:
    """Return a store on the Redis at a URL. Raises InvalidInput if it is not a URL of Redis, and MissingPackage."""
    return RedisEncodings(RedisValues(url, purpose="the store of encodings"))


def _checksum(encoding: Buffer) -> bytes:
    return zlib.crc32(encoding).to_bytes(CHECKSUM_BYTES, "little")


def _encoding(value: object) -> bytes | None:
    """Return the encoding in a value of `ValueStore.get`, None if the value is missing, damaged, or not an encoding."""
    if not isinstance(value, bytes) or len(value) <= CHECKSUM_BYTES:
        return None
    encoding = value[:-CHECKSUM_BYTES]
    return encoding if _checksum(encoding) == value[-CHECKSUM_BYTES:] else None
