"""RedisEncodings: encodings in a Redis that many processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.encodings import Buffer
from podium.errors import PodiumError
from podium.redis_values import RedisValues

__all__ = ["RedisEncodings"]

PREFIX = "podium:encoding:1:"  # 1 is the version of the encodings' layout


class RedisEncodings:
    """The store at a URL. `prefix` begins the names of its keys. If Redis is slow or down, encodings count as missing."""

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        self._values = RedisValues(url, "the store of encodings")
        self._prefix = prefix

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        try:
            values = self._values.get([self._prefix + key.hex() for key in keys])
        except PodiumError:
            return {}
        return {key: value for key, value in zip(keys, values, strict=True) if isinstance(value, bytes)}

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        try:
            self._values.set({self._prefix + key.hex(): bytes(encoding) for key, encoding in encodings.items()})
        except PodiumError:
            pass  # it was logged, and the encodings are computed again

    def close(self) -> None:
        self._values.close()
