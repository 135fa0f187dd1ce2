"""Config, the settings in one of a model's JSON files, read with types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from podium.errors import ModelError, ModelNotFound, UnsupportedModel

__all__ = ["Config", "read_json"]


class Config:
    """A JSON object. Raises UnsupportedModel for a value of another type, and for a missing value without a default."""

    def __init__(self, values: Mapping[str, object], source: str = "config.json") -> None:
        self._values = values
        self._source = source

    @classmethod
    def read(cls, path: Path, *, required: bool = False) -> Config:
        """Return the settings in a file, none if it is missing and not required. Raises ModelError if it is damaged."""
        values = read_json(path, required=required)
        if not isinstance(values, dict):
            raise ModelError(f"{path} is not a JSON object; download it again")
        return cls(values, str(path))

    def get(self, key: str) -> object:
        """Return a value of any type, None if it is missing."""
        return self._values.get(key)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong_type(key, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong_type(key, "a number")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._wrong_type(key, "a string")
        return value

    def strings(self, key: str) -> list[str]:
        """Return a list of strings, [] if it is missing or null."""
        value = self.get(key) or []
        if not isinstance(value, list):
            raise self._wrong_type(key, "a list")
        return [str(item) for item in value]

    def flag(self, key: str, default: bool = False) -> bool:
        return bool(self._values.get(key, default))

    def section(self, key: str) -> Config:
        """Return the settings in an object inside this one, none if it is missing or null."""
        value = self.get(key) or {}
        if not isinstance(value, dict):
            raise self._wrong_type(key, "an object")
        return Config(value, f"{self._source}, {key}")

    def items(self) -> list[tuple[str, object]]:
        return list(self._values.items())

    def _value(self, key: str, default: object) -> object:
        if key not in self._values and default is None:
            raise UnsupportedModel(f"{self._source} has no {key!r}; download the model again")
        return self._values.get(key, default)

    def _wrong_type(self, key: str, expected: str) -> UnsupportedModel:
        value = f"{self._values[key]!r:.40}"
        return UnsupportedModel(f"{self._source}: {key} must be {expected}, not {value}; download the model again")


def read_json(path: Path, *, required: bool = False) -> object:
    """Return the value in a JSON file, {} if the file is missing and not required."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise ModelNotFound(f"{path} is missing; this folder is not a complete Hugging Face model") from None
        return {}
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON; download it again") from error
