"""RedisOptions: how a RedisSource searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.errors import InvalidInput
from podium.inputs import checked_limit
from podium.sources.fields import checked_weights
from podium.sources.filters import Filter
from podium.sources.fusion import Fusion, Mode
from podium.sources.redis.filters import checked_filter
from podium.types import Embed

__all__ = ["RedisOptions"]


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """The arguments of RedisSource, which describes them, in the same order. Raises InvalidInput if one is not valid."""

    text: str | Sequence[str] | Mapping[str, float] | None
    vector: str
    embed: Embed | None
    mode: Mode | None
    return_fields: Sequence[str] | None
    filter: Filter
    fusion: Fusion
    text_weight: float
    ef_runtime: int | None
    timeout: float

    def __post_init__(self) -> None:
        checked_weights(self.text)
        checked_filter(self.filter)
        checked_limit(self.ef_runtime)
        if self.return_fields is not None and not _is_name_list(self.return_fields):
            raise InvalidInput("return_fields must be a list of field names, or None for all but vectors")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float) or not 0 < self.timeout < 1e6:
            raise InvalidInput(f"timeout must be a positive number of seconds, not {self.timeout!r:.40}")

    @property
    def weights(self) -> dict[str, float] | None:
        """The text fields to search, with their weights; None for all text fields of the index."""
        return checked_weights(self.text)


def _is_name_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(name, str) and name for name in value)
