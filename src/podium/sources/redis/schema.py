"""Schema: the fields of an index that documents are loaded into, and the command that creates the index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

from podium.errors import Argument, InvalidInput, SourceError
from podium.inputs import check_positive, without_none
from podium.sources.fields import checked_weights
from podium.sources.redis.commands import Command
from podium.sources.redis.replies import IndexInfo

__all__ = ["HNSW_FROM", "Schema", "Storage", "check_compatible", "checked_schema", "create_command"]

Storage: TypeAlias = Literal["hash", "json"]
# The vectors of fewer documents than this are searched exactly (FLAT), which takes milliseconds.
HNSW_FROM = 100_000


@dataclass(frozen=True, slots=True)
class Schema:
    """The names of fields by kind, and how they are indexed.

    `text` has weights by name. `vector` is None without an embedder. `m` and `ef_construction` are parameters of HNSW. If one
    of them is set, vectors are searched by HNSW even if there are few.
    """

    text: Mapping[str, float]
    vector: str | None
    tags: tuple[str, ...]
    numbers: tuple[str, ...]
    storage: Storage
    tag_separator: str
    m: int | None
    ef_construction: int | None

    def kinds(self) -> list[tuple[str, str]]:
        """Return the name and kind of every field. Kinds are named as in FT.INFO."""
        kinds = [(name, "TEXT") for name in self.text]
        kinds += [(name, "TAG") for name in self.tags]
        kinds += [(name, "NUMERIC") for name in self.numbers]
        if self.vector:
            kinds.append((self.vector, "VECTOR"))
        return kinds


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
    """Return the schema with these options. Raises InvalidInput if a field is named twice, or an option is not valid."""
    weights = checked_weights(text) or {}
    for option, value in (("tags", tags), ("numbers", numbers)):
        if isinstance(value, str):
            raise InvalidInput(Argument(option), f" must be a list of names, not {value!r:.40}")
    names = [*weights, *tags, *numbers, *([vector] if vector else [])]
    if repeated := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise InvalidInput(f"the field {repeated!r} is named twice; name it once, as text, tag, number or vector")
    if storage not in ("hash", "json"):
        raise InvalidInput(f"storage must be hash or json, not {storage!r:.40}")
    if storage == "hash" and "$" in names:
        raise InvalidInput("RediSearch cannot index a field named '$' in a hash; rename it, or use storage json")
    if not isinstance(tag_separator, str) or len(tag_separator) != 1 or not tag_separator.isascii():
        raise InvalidInput(f"tag_separator must be one ASCII character, not {tag_separator!r:.40}")
    if not vector and (m is not None or ef_construction is not None):
        raise InvalidInput("m and ef_construction are for vectors; name an embedder, too (embed=, --embed)")
    for option, number in (("m", m), ("ef_construction", ef_construction)):
        if number is not None:
            check_positive(option, number)
    return Schema(weights, vector, tuple(tags), tuple(numbers), storage, tag_separator, m, ef_construction)


def check_compatible(info: IndexInfo, schema: Schema, dimensions: int, address: str) -> None:
    """Raise SourceError if documents with this schema cannot be loaded into an index.

    That is the case if the index has another storage, lacks a field, has vectors of other dimensions, or has vectors and the
    schema has none. `dimensions` is the number of the embedder's dimensions, 0 without an embedder.
    """
    name = f"index {info.name!r} on {address}"
    if info.storage != schema.storage.upper():
        raise SourceError(
            f"{name} stores documents as {info.storage}; load with --storage {info.storage.lower()} (storage=), or into "
            "another index"
        )
    kinds = {field_name: field.kind for field_name, field in info.fields.items()}
    if missing := [f"{field} ({kind})" for field, kind in schema.kinds() if kinds.get(field) != kind]:
        raise SourceError(
            f"{name} exists without {', '.join(missing)}; it has {info.field_list()}. Load into another index, or drop this "
            "one first (--drop)"
        )
    if not dimensions and (vectors := info.names_of_kind("VECTOR")):
        raise SourceError(
            f"{name} has vectors in {vectors[0]!r}; load with its embedder (--embed), so that every document has a vector"
        )
    if schema.vector and (stored_dimensions := info.fields[schema.vector].dimensions) != dimensions:
        raise SourceError(
            f"{schema.vector!r} of {name} has {stored_dimensions} dimensions, the embedder returns {dimensions}; use the "
            "embedder that the index was made with"
        )


def create_command(index: str, prefix: str, schema: Schema, *, dimensions: int, document_count: int) -> Command:
    """Return FT.CREATE for an index of about `document_count` documents.

    The caller has checked that no key has the prefix, so the server need not scan its keys for documents (SKIPINITIALSCAN).
    """
    options = ("ON", schema.storage.upper(), "PREFIX", 1, prefix, "SKIPINITIALSCAN")
    return ("FT.CREATE", index, *options, "SCHEMA", *_field_arguments(schema, dimensions, document_count))


def _field_arguments(schema: Schema, dimensions: int, document_count: int) -> Iterator[Any]:
    """Yield the arguments of FT.CREATE that describe the fields."""
    for name, weight in schema.text.items():
        yield from (*_name(schema, name), "TEXT", *(() if weight == 1 else ("WEIGHT", weight)))
    for name in schema.tags:
        # Tags in JSON are a list. With the default separator, its items are not split, so they may contain commas.
        separator = () if schema.storage == "json" and schema.tag_separator == "," else ("SEPARATOR", schema.tag_separator)
        yield from (*_name(schema, name), "TAG", *separator)
    for name in schema.numbers:
        yield from (*_name(schema, name), "NUMERIC")
    if schema.vector:
        attributes: list[Any] = ["TYPE", "FLOAT32", "DIM", dimensions, "DISTANCE_METRIC", "COSINE"]
        hnsw_options = without_none({"M": schema.m, "EF_CONSTRUCTION": schema.ef_construction})
        algorithm = "HNSW" if hnsw_options or document_count >= HNSW_FROM else "FLAT"
        attributes += chain.from_iterable(hnsw_options.items())
        yield from (*_name(schema, schema.vector), "VECTOR", algorithm, len(attributes), *attributes)


def _name(schema: Schema, name: str) -> tuple[str, ...]:
    """Return the arguments of FT.CREATE that name a field: for JSON the path in documents and the name in queries."""
    return (name,) if schema.storage == "hash" else (f"$[{json.dumps(name, ensure_ascii=False)}]", "AS", name)
