"""How documents are kept on Redis, as hashes or as JSON: the commands that write and compare them. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from podium.errors import InvalidInput
from podium.sources.redis.schema import Schema

__all__ = ["HashStorage", "JsonStorage", "Stored", "storage_for"]

Command = tuple[Any, ...]
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # what the server takes; Python's float takes more


class Stored(Protocol):
    """One way to keep documents."""

    def encoded(self, document: Any, number: int) -> Any:
        """Return the fields to write. Raises InvalidInput, which calls the document by its number."""
        ...

    def texts(self, fields: Any) -> list[str]:
        """Return the document's text fields."""
        ...

    def writing(self, key: str, fields: Any, vector: Any) -> list[Command]:
        """Return the commands that put the document in place of what has its key; the first one is DEL."""
        ...

    def reading(self, key: str, fields: Any) -> list[Command]: ...

    def is_same(self, replies: Sequence[Any], fields: Any, with_vector: bool) -> bool:
        """Compare the replies to `reading` with what would be written."""
        ...


def storage_for(schema: Schema) -> Stored:
    return JsonStorage(schema) if schema.storage == "json" else HashStorage(schema)


class HashStorage:
    """Documents as hashes: every value is a string, lists and dicts are JSON."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def encoded(self, document: Any, number: int) -> dict[str, bytes]:
        fields = {name: self._bytes(value, name, number) for name, value in _record(document, self._schema, number).items()}
        if "$" in fields:
            raise InvalidInput(f"document {number} has a field named '$', which RediSearch cannot return; rename it")
        return fields

    def texts(self, fields: Mapping[str, bytes]) -> list[str]:
        return [fields[name].decode() for name in self._schema.text if name in fields]

    def writing(self, key: str, fields: Mapping[str, bytes], vector: Any) -> list[Command]:
        pairs: list[Any] = [part for pair in fields.items() for part in pair]
        pairs += [] if vector is None else [self._schema.vector, vector.astype("<f4").tobytes()]
        return [("DEL", key), ("HSET", key, *pairs)]

    def reading(self, key: str, fields: Mapping[str, bytes]) -> list[Command]:
        has_vector = [("HEXISTS", key, self._schema.vector)] if self._schema.vector else []
        return [("HMGET", key, *sorted(fields)), ("HLEN", key), *has_vector]

    def is_same(self, replies: Sequence[Any], fields: Mapping[str, bytes], with_vector: bool) -> bool:
        values, length, *has_vector = replies
        is_whole = length == len(fields) + with_vector and all(bool(each) == with_vector for each in has_vector)
        return is_whole and values == [fields[name] for name in sorted(fields)]

    def _bytes(self, value: Any, name: str, number: int) -> bytes:
        if isinstance(value, bytes):
            return value
        if name in self._schema.tags and isinstance(value, list | tuple):
            tags, separator = list(map(str, value)), self._schema.tag_separator
            if split := next((tag for tag in tags if separator in tag), None):
                raise InvalidInput(
                    f"document {number} has the tag {split[:80]!r} in {name!r}, which the tag separator {separator!r} would "
                    "split; choose another with --tag-separator (tag_separator=)"
                )
            return separator.join(tags).encode("utf-8", "replace")
        if isinstance(value, list | tuple | dict):
            value = _json(value, name, number)
        return str(value).encode("utf-8", "replace")


class JsonStorage:
    """Documents as JSON of RedisJSON: values keep their types, and a vector is a list of numbers."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def encoded(self, document: Any, number: int) -> dict[str, Any]:
        record = _record(document, self._schema, number)
        for name in self._schema.numbers:
            if isinstance(record.get(name), str):  # of a CSV file
                record[name] = json.loads(str(float(record[name])))
        return json.loads(_json(record, "", number))  # type: ignore[no-any-return]  # a dict again

    def texts(self, fields: Mapping[str, Any]) -> list[str]:
        return [str(fields[name]) for name in self._schema.text if name in fields]

    def writing(self, key: str, fields: Mapping[str, Any], vector: Any) -> list[Command]:
        whole = dict(fields) if vector is None else {**fields, str(self._schema.vector): vector.tolist()}
        return [("DEL", key), ("JSON.SET", key, "$", json.dumps(whole, ensure_ascii=False))]

    def reading(self, key: str, fields: Mapping[str, Any]) -> list[Command]:
        return [("JSON.GET", key)]

    def is_same(self, replies: Sequence[Any], fields: Mapping[str, Any], with_vector: bool) -> bool:
        there = json.loads(replies[0]) if replies[0] else None
        if not isinstance(there, dict):
            return False
        has_vector = self._schema.vector is not None and there.pop(self._schema.vector, None) is not None
        return has_vector == with_vector and there == fields


def _record(document: Any, schema: Schema, number: int) -> dict[str, Any]:
    """Return a document's fields without empty ones. A blank cell of a tag or a number is empty, too."""
    record = {next(iter(schema.text)): document} if isinstance(document, str) else document
    if not isinstance(record, Mapping) or not any(name in record for name in schema.text):
        has = ", ".join(map(str, record)) if isinstance(record, Mapping) and record else "no fields"
        raise InvalidInput(f"document {number} has no field {', '.join(schema.text)}; it has {has}")
    conditions = {*schema.tags, *schema.numbers}
    fields = {str(name): value for name, value in record.items() if not _is_empty(value, str(name) in conditions)}
    if not fields:
        raise InvalidInput(f"document {number} has nothing in any field; Redis keeps no empty document, so leave it out")
    if schema.vector in fields:
        raise InvalidInput(f"document {number} has a field {schema.vector!r} of its own, where the vector goes; rename it")
    for name in schema.numbers:
        if name in fields and not NUMBER.fullmatch(str(fields[name]).strip()):
            raise InvalidInput(f"document {number} has something in {name!r} that is not a number; leave it out of --number")
        if isinstance(fields.get(name), str):
            fields[name] = fields[name].strip()
    return fields


def _is_empty(value: Any, is_condition: bool) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return is_condition and isinstance(value, str) and not value.strip()


def _json(value: Any, name: str, number: int) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        what = f"{name!r} cannot" if name else "it cannot"
        raise InvalidInput(f"document {number}: {what} be written as JSON ({error})") from None
