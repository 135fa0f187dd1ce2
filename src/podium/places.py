"""A place, as users write it (redis://host/name, ./folder, a file) → the index there, to search or to load documents into."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from podium.errors import InvalidInput
from podium.inputs import comma_list, refuse
from podium.sources.embedded.place import FILE, FOLDER
from podium.sources.hybrid import HybridSource
from podium.sources.loading import Target
from podium.sources.place import IndexOptions, IndexSummary, Management, PlaceKind, SourceOptions
from podium.sources.redis.place import REDIS

if TYPE_CHECKING:
    from podium.local.embedder import Embedder

__all__ = [
    "KINDS",
    "IndexOptions",
    "SourceOptions",
    "delete_documents",
    "drop_index",
    "embedder",
    "index_summaries",
    "index_target",
    "load_source",
    "weights",
]

KINDS: tuple[PlaceKind, ...] = (REDIS, FOLDER, FILE)


def load_source(place: str | os.PathLike[str], options: SourceOptions | None = None, **named: Any) -> HybridSource[Any]:
    """Return the source at a place: an index on Redis by its URL, the index in a folder, or a file's documents in memory.

    Takes SourceOptions, or its fields as keyword arguments. Raises InvalidInput, SourceError and ModelError.
    """
    options = options or _source_options(named)
    path = os.fspath(place)
    kind = _kind_of(path)
    for other in KINDS:
        refused = set(other.source_options) - set(kind.source_options)
        refuse(options.only(*refused), f"only an index {other.location} takes")
    return kind.source(path, options, embedder)


def index_target(place: str, options: IndexOptions) -> Target:
    """Return the index at a place to load documents into, which may have to be created."""
    kind = _kind_of(place)
    for other in KINDS:
        refused = set(other.index_options) - set(kind.index_options)
        refuse(options.only(*refused), f"only an index {other.location} takes")
    return _management(place).target(place, options, embedder)


def index_summaries(place: str) -> Sequence[IndexSummary]:
    """Return the name, number of documents and fields of the index at a place, or of all indexes of a server or folder."""
    return _management(place).summaries(place)


def delete_documents(place: str, ids: Sequence[str]) -> int:
    """Delete documents of an index by their ids; return how many existed."""
    return _management(place).delete(place, ids)


def drop_index(place: str) -> int | None:
    """Delete an index and its documents; return how many it had, None if it is damaged."""
    return _management(place).drop(place)


def embedder(name: str | None) -> Embedder | None:
    """Return the embedder of this name, None for None."""
    if name is None:
        return None
    from podium.local.embedder import Embedder

    return Embedder(name)


def weights(names: str | None) -> dict[str, float] | None:
    """Return fields and weights as they are written on the command line; None if there are none.

    >>> weights("title^2,text")
    {'title': 2.0, 'text': 1.0}
    """
    return dict(_field_and_weight(name) for name in comma_list(names)) or None


def _field_and_weight(name: str) -> tuple[str, float]:
    field, mark, weight = name.rpartition("^")
    try:
        return (field, float(weight)) if mark and field else (name, 1.0)
    except ValueError:  # a field whose name has a ^ in it
        return name, 1.0


def _source_options(named: dict[str, Any]) -> SourceOptions:
    names = [field.name for field in fields(SourceOptions)]
    if unknown := sorted(set(named) - set(names)):
        raise InvalidInput(f"a source has no option {', '.join(unknown)}; it has {', '.join(names)}")
    return SourceOptions(**named)


def _kind_of(place: str) -> PlaceKind:
    for kind in KINDS:
        if kind.matches(place):
            return kind
    examples = ", ".join(kind.example for kind in KINDS)
    raise InvalidInput(f"this URL is not of a known kind; use {examples}, with the part before :// in lower case")


def _management(place: str) -> Management:
    kind = _kind_of(place)
    if kind.management is None:
        examples = " or ".join(other.example for other in KINDS if other.management)
        raise InvalidInput(f"an index cannot be {kind.location}, {place}; name {examples}")
    return kind.management
