"""Storage of documents on Redis, as hashes or as JSON: the fields to store, and the commands that write and read them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from podium.errors import InvalidInput
from podium.sources.redis.commands import Command
from podium.sources.redis.replies import decoded
from podium.sources.redis.schema import Schema
from podium.sources.serialization import json_text

__all__ = ["HashStorage", "JsonStorage", "storage_for"]

# The numbers that RediSearch accepts. Python's float accepts more, such as 1_000.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class HashStorage:
    """Stores documents as hashes. Every value is a string; lists and dicts are written as JSON.

    Methods take the fields that `encode` returns. `vector` is an array of numpy, None for a document without a vector.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def encode(self, document: Any, number: int) -> dict[str, Any]:
        """Return the fields to write, as bytes by name. Raises InvalidInput, whose message has the document's number."""
        fields = {name: self._value(value, name, number) for name, value in _record(document, self._schema, number).items()}
        if "$" in fields:
            raise InvalidInput(f"document {number} has a field named '$', which RediSearch cannot return; rename it")
        return fields

    def texts(self, fields: Mapping[str, Any]) -> list[str]:
        """Return the texts of the searched fields that a document has."""
        return [fields[name].decode("utf-8", "replace") for name in self._schema.text if name in fields]

    def document(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document as a search returns it."""
        return {name: decoded(value) for name, value in fields.items()}

    def write_commands(self, key: str, fields: Mapping[str, Any], vector: Any) -> list[Command]:
        """Return the commands that replace the document with this key. The first one is DEL."""
        names_and_values = list(chain.from_iterable(fields.items()))
        if vector is not None:
            names_and_values += [self._schema.vector, vector.astype("<f4").tobytes()]
        return [("DEL", key), ("HSET", key, *names_and_values)]

    def read_commands(self, key: str, fields: Mapping[str, Any]) -> list[Command]:
        """Return the commands whose replies `is_same` compares with the fields."""
        commands: list[Command] = [("HMGET", key, *sorted(fields)), ("HLEN", key)]
        if self._schema.vector:
            commands.append(("HEXISTS", key, self._schema.vector))
        return commands

    def is_same(self, replies: Sequence[Any], fields: Mapping[str, Any], has_vector: bool) -> bool:
        """Whether the stored document has exactly these fields, and a vector if `has_vector`.

        `replies` are those to `read_commands`.
        """
        values, stored_count, *vector_replies = replies
        if stored_count != len(fields) + has_vector:
            return False
        if vector_replies and bool(vector_replies[0]) != has_vector:
            return False
        return bool(values == [fields[name] for name in sorted(fields)])

    def _value(self, value: Any, name: str, number: int) -> bytes:
        """Return the value of a field as bytes. `number` is the document's number in messages."""
        if isinstance(value, bytes):
            return value
        if name in self._schema.tags and isinstance(value, list | tuple):
            value = self._joined_tags(list(map(str, value)), name, number)
        elif isinstance(value, list | tuple | dict):
            value = json_text(value, number, name)
        return str(value).encode("utf-8", "replace")

    def _joined_tags(self, tags: list[str], name: str, number: int) -> str:
        """Return the tags with the separator between them. Raises InvalidInput if a tag contains the separator."""
        separator = self._schema.tag_separator
        for tag in tags:
            if separator in tag:
                raise InvalidInput(
                    f"document {number} has the tag {tag[:80]!r} in {name!r}, which the tag separator {separator!r} would "
                    "split; choose another separator with --tag-separator (tag_separator=)"
                )
        return separator.join(tags)


class JsonStorage:
    """Stores documents as JSON, with the methods of HashStorage. Values keep their types, and a vector is a list of numbers."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def encode(self, document: Any, number: int) -> dict[str, Any]:
        record = _record(document, self._schema, number)
        for name in self._schema.numbers:
            if isinstance(record.get(name), str):  # as in documents from a CSV file
                record[name] = json.loads(str(float(record[name])))
        # Parse the JSON, to get the values that will be stored: a tuple becomes a list, NaN becomes None.
        return json.loads(json_text(record, number))  # type: ignore[no-any-return]

    def texts(self, fields: Mapping[str, Any]) -> list[str]:
        return [str(fields[name]) for name in self._schema.text if name in fields]

    def document(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(fields)

    def write_commands(self, key: str, fields: Mapping[str, Any], vector: Any) -> list[Command]:
        members = dict(fields) if vector is None else {**fields, str(self._schema.vector): vector.tolist()}
        return [("DEL", key), ("JSON.SET", key, "$", json.dumps(members, ensure_ascii=False))]

    def read_commands(self, key: str, fields: Mapping[str, Any]) -> list[Command]:
        return [("JSON.GET", key)]

    def is_same(self, replies: Sequence[Any], fields: Mapping[str, Any], has_vector: bool) -> bool:
        stored_fields = json.loads(replies[0]) if replies[0] else None
        if not isinstance(stored_fields, dict):
            return False
        vector = stored_fields.pop(self._schema.vector, None) if self._schema.vector else None
        return (vector is not None) == has_vector and stored_fields == fields


def storage_for(schema: Schema) -> HashStorage | JsonStorage:
    return JsonStorage(schema) if schema.storage == "json" else HashStorage(schema)


def _record(document: Any, schema: Schema, number: int) -> dict[str, Any]:
    """Return the fields of a document to store. None, NaN, and blank tags and numbers are left out.

    Raises InvalidInput if the document has none of the searched fields, if all its fields are left out, or if a field has an
    invalid name or number.
    """
    record = {next(iter(schema.text)): document} if isinstance(document, str) else document
    if not isinstance(record, Mapping) or not any(name in record for name in schema.text):
        names = ", ".join(map(str, record)) if isinstance(record, Mapping) and record else "no fields"
        raise InvalidInput(f"document {number} has no field {' or '.join(schema.text)}; it has {names}; name one that it has")
    filter_fields = {*schema.tags, *schema.numbers}
    fields = {str(name): value for name, value in record.items() if not _is_empty(value, str(name) in filter_fields)}
    if not fields:
        raise InvalidInput(f"all fields of document {number} are empty; Redis cannot store it, so leave it out")
    if schema.vector in fields:
        raise InvalidInput(f"document {number} has a field {schema.vector!r}, which is the field of the vectors; rename it")
    for name in schema.numbers:
        if name in fields and not NUMBER.fullmatch(str(fields[name]).strip()):
            raise InvalidInput(f"document {number} has a value in {name!r} that is not a number; leave it out of --number")
        if isinstance(fields.get(name), str):
            fields[name] = fields[name].strip()
    return fields


def _is_empty(value: Any, is_filter_field: bool) -> bool:
    """Whether a value is left out: None and NaN, and in a field to filter by also a blank string."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return is_filter_field and isinstance(value, str) and not value.strip()
