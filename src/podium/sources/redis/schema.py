"""Schema: the fields of an index that podium makes or loads into, and the command that makes it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from podium.errors import InvalidInput, SourceError
from podium.inputs import checked_limit, without_none
from podium.sources.fields import checked_weights
from podium.sources.redis.commands import Command
from podium.sources.redis.replies import IndexInfo

__all__ = ["HNSW_FROM", "Schema", "Storage", "check_compatible", "checked_schema", "create_command"]

Storage: TypeAlias = Literal["hash", "json"]
HNSW_FROM = 100_000  # documents: the server compares fewer vectors with all others in milliseconds, and exactly


@dataclass(frozen=True, slots=True)
class Schema:
    """Field names by kind. `m` and `ef_construction` are HNSW's; if one is set, the index is HNSW whatever its size."""

    text: Mapping[str, float]
    vector: str | None
    tags: tuple[str, ...]
    numbers: tuple[str, ...]
    storage: Storage
    tag_separator: str
    m: int | None
    ef_construction: int | None

    def kinds(self) -> list[tuple[str, str]]:
        """Return the name and kind of every field, as FT.INFO calls the kinds."""
        names = {"TEXT": self.text, "TAG": self.tags, "NUMERIC": self.numbers, "VECTOR": filter(None, [self.vector])}
        return [(name, kind) for kind, fields in names.items() for name in fields]


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
    """Return the schema. Raises InvalidInput if a field is named twice, or an option is not valid."""
    weights = checked_weights(text) or {}
    names = [*weights, *tags, *numbers, *([vector] if vector else [])]
    if repeated := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise InvalidInput(f"the field {repeated!r} is named twice; it can be one of text, tag, number and vector")
    if storage not in ("hash", "json"):
        raise InvalidInput(f"storage must be hash or json, not {storage!r:.40}")
    if storage == "hash" and "$" in names:
        raise InvalidInput("a field named '$' cannot be searched in a hash; rename it, or use storage json")
    if not isinstance(tag_separator, str) or len(tag_separator) != 1 or not tag_separator.isascii():
        raise InvalidInput(f"tag_separator must be one ASCII character, not {tag_separator!r:.40}")
    if vector is None and (m is not None or ef_construction is not None):
        raise InvalidInput("m and ef_construction are for vectors; name an embedder, too (embed=, --embed)")
    for value in (m, ef_construction):
        checked_limit(value)
    return Schema(weights, vector, tuple(tags), tuple(numbers), storage, tag_separator, m, ef_construction)


def check_compatible(info: IndexInfo, schema: Schema, dimensions: int, address: str) -> None:
    """Raise SourceError if the index does not have the storage and fields of the schema, or vectors of other dimensions.

    `dimensions` are those of the embedder, 0 without one.
    """
    name = f"index {info.name!r} on {address}"
    if info.storage != schema.storage.upper():
        raise SourceError(
            f"{name} stores documents as {info.storage}; load with --storage {info.storage.lower()} (storage=), or into "
            "another index"
        )
    kinds = {name: field.kind for name, field in info.fields.items()}
    if missing := [f"{field} ({kind})" for field, kind in schema.kinds() if kinds.get(field) != kind]:
        raise SourceError(
            f"{name} exists without {', '.join(missing)}; it has {info.field_list()}. Load into another index, or drop this "
            "one first (--drop)"
        )
    if not dimensions and (vectors := info.of_kind("VECTOR")):
        raise SourceError(f"{name} has vectors in {vectors[0]!r}; load with its embedder (--embed), so that documents have one")
    if schema.vector and (stored := info.fields[schema.vector].dimensions) != dimensions:
        raise SourceError(
            f"{schema.vector!r} of {name} has {stored} dimensions, the embedder returns {dimensions}; use the embedder that "
            "the index was made with"
        )


def create_command(index: str, prefix: str, schema: Schema, *, dimensions: int, documents: int) -> Command:
    """Return FT.CREATE for an index of about so many documents, whose keys have a prefix that no key has yet.

    Therefore the server does not need to scan its keys for documents, which would take long: SKIPINITIALSCAN.
    """
    options = ("ON", schema.storage.upper(), "PREFIX", 1, prefix, "SKIPINITIALSCAN")
    return ("FT.CREATE", index, *options, "SCHEMA", *_fields(schema, dimensions, documents))


def _fields(schema: Schema, dimensions: int, documents: int) -> Iterator[Any]:
    for name, weight in schema.text.items():
        yield from (*_name(schema, name), "TEXT", *(() if weight == 1 else ("WEIGHT", weight)))
    for name in schema.tags:
        # In JSON, tags are a list, and the default separator would split a tag with a comma in it.
        separator = () if schema.storage == "json" and schema.tag_separator == "," else ("SEPARATOR", schema.tag_separator)
        yield from (*_name(schema, name), "TAG", *separator)
    for name in schema.numbers:
        yield from (*_name(schema, name), "NUMERIC")
    if schema.vector:
        attributes: list[Any] = ["TYPE", "FLOAT32", "DIM", dimensions, "DISTANCE_METRIC", "COSINE"]
        graph = without_none({"M": schema.m, "EF_CONSTRUCTION": schema.ef_construction})
        algorithm = "HNSW" if graph or documents >= HNSW_FROM else "FLAT"
        attributes += [part for pair in graph.items() for part in pair]
        yield from (*_name(schema, schema.vector), "VECTOR", algorithm, len(attributes), *attributes)


def _name(schema: Schema, name: str) -> tuple[str, ...]:
    """Return a field's name as FT.CREATE takes it: in JSON, the path of the document's member and its name in queries."""
    return (name,) if schema.storage == "hash" else (f"$[{json.dumps(name, ensure_ascii=False)}]", "AS", name)
