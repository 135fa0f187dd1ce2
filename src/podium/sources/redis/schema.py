"""Schema: the fields of an index that podium makes, and the command that makes it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from podium.errors import InvalidInput
from podium.inputs import checked_limit
from podium.sources.fields import checked_weights

__all__ = ["HNSW_FROM", "Schema", "Storage", "checked_schema", "create_command"]

Storage: TypeAlias = Literal["hash", "json"]
HNSW_FROM = 100_000  # documents: below that the server compares every vector in milliseconds, and finds exactly the nearest


@dataclass(frozen=True, slots=True)
class Schema:
    """Field names by kind. `m` and `ef_construction` are HNSW's; where one is set, the index is HNSW whatever its size."""

    text: Mapping[str, float]
    vector: str | None
    tags: tuple[str, ...]
    numbers: tuple[str, ...]
    storage: Storage
    tag_separator: str
    m: int | None
    ef_construction: int | None

    def kinds(self) -> list[tuple[str, str]]:
        """Return (name, kind) of every field, as FT.INFO calls the kinds."""
        vector = [(self.vector, "VECTOR")] if self.vector else []
        named = ((self.text, "TEXT"), (self.tags, "TAG"), (self.numbers, "NUMERIC"))
        return [(name, kind) for names, kind in named for name in names] + vector


def checked_schema(
    *,
    text: str | Sequence[str] | Mapping[str, float],
    vector: str | None,
    tags: Sequence[str] = (),
    numbers: Sequence[str] = (),
    storage: Storage = "hash",
    tag_separator: str = ",",
    m: int | None = None,
    ef_construction: int | None = None,
) -> Schema:
    """Return the schema. Raises InvalidInput where a field is named twice, or an option does not fit."""
    weights = checked_weights(text) or {}
    names = [*weights, *tags, *numbers, *([vector] if vector else [])]
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise InvalidInput(f"the field {twice!r} is named twice; it can be one of text, tag, number and vector")
    if storage not in ("hash", "json"):
        raise InvalidInput(f"storage must be hash or json, not {storage!r:.40}")
    if storage == "hash" and "$" in names:
        raise InvalidInput("a field named '$' cannot be searched in a hash; rename it, or use storage json")
    if not isinstance(tag_separator, str) or len(tag_separator) != 1 or not tag_separator.isascii():
        raise InvalidInput(f"tag_separator must be one ASCII character, not {tag_separator!r:.40}")
    if vector is None and (m is not None or ef_construction is not None):
        raise InvalidInput("m and ef_construction are for vectors; give an embedder (embed=, --embed), too")
    for value in (m, ef_construction):
        checked_limit(value)
    return Schema(weights, vector, tuple(tags), tuple(numbers), storage, tag_separator, m, ef_construction)


def create_command(index: str, prefix: str, schema: Schema, *, dimensions: int, documents: int) -> tuple[Any, ...]:
    """Return FT.CREATE, for an index of about so many documents under a prefix that no key has yet.

    SKIPINITIALSCAN: else the server would look through all of its keys for some to index, which takes it long.
    """
    options = ("ON", schema.storage.upper(), "PREFIX", 1, prefix, "SKIPINITIALSCAN")
    return ("FT.CREATE", index, *options, "SCHEMA", *_fields(schema, dimensions, documents))


def _fields(schema: Schema, dimensions: int, documents: int) -> Iterator[Any]:
    for name, weight in schema.text.items():
        yield from (*_name(schema, name), "TEXT", *(() if weight == 1 else ("WEIGHT", weight)))
    for name in schema.tags:
        # In JSON a list holds the tags, and a separator would split a tag that has a comma in it.
        separator = () if schema.storage == "json" and schema.tag_separator == "," else ("SEPARATOR", schema.tag_separator)
        yield from (*_name(schema, name), "TAG", *separator)
    for name in schema.numbers:
        yield from (*_name(schema, name), "NUMERIC")
    if schema.vector:
        attributes: list[Any] = ["TYPE", "FLOAT32", "DIM", dimensions, "DISTANCE_METRIC", "COSINE"]
        chosen = {"M": schema.m, "EF_CONSTRUCTION": schema.ef_construction}
        graph = [part for name, value in chosen.items() if value is not None for part in (name, value)]
        algorithm = "HNSW" if graph or documents >= HNSW_FROM else "FLAT"
        yield from (*_name(schema, schema.vector), "VECTOR", algorithm, len(attributes + graph), *attributes, *graph)


def _name(schema: Schema, name: str) -> tuple[str, ...]:
    """Return a field's name as FT.CREATE takes it: in JSON the path of the document's member, and its name in queries."""
    return (name,) if schema.storage == "hash" else (f"$[{json.dumps(name, ensure_ascii=False)}]", "AS", name)
