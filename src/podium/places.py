"""A place, as users write it (redis://host/name, ./folder, a file) → the index there, to search or to load documents into."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from podium.errors import InvalidInput
from podium.inputs import comma_list, refuse
from podium.sources.embedded.place import LOCAL
from podium.sources.hybrid import HybridSource
from podium.sources.loading import Target
from podium.sources.place import IndexOptions, PlaceKind, SourceOptions
from podium.sources.redis.place import REDIS

if TYPE_CHECKING:
    from podium.local.embedder import Embedder

__all__ = ["KINDS", "IndexOptions", "SourceOptions", "embedder", "index_target", "kind_of", "load_source", "weights"]

KINDS: tuple[PlaceKind, ...] = (REDIS, LOCAL)


def load_source(place: str | os.PathLike[str], options: SourceOptions | None = None, **keywords: Any) -> HybridSource[Any]:
    """Return the source at a place: an index on Redis by its URL, the index in a folder, or a file's documents in memory.

    Takes SourceOptions, or its fields as keyword arguments. Raises InvalidInput, SourceError and ModelError.
    """
    names = [field.name for field in fields(SourceOptions)]
    if unknown := sorted(set(keywords) - set(names)):
        raise InvalidInput(f"a source has no option {', '.join(unknown)}; it has {', '.join(names)}")
    options = options or SourceOptions(**keywords)
    kind = kind_of(os.fspath(place))
    for other in KINDS:
        refuse(options.only(*{*other.source_options} - {*kind.source_options}), f"only an index {other.location} takes")
    return kind.source(os.fspath(place), options, embedder)


def index_target(place: str, options: IndexOptions) -> Target:
    """Return the index at a place to load documents into. If it does not exist, `prepare` creates it."""
    kind = kind_of(place)
    for other in KINDS:
        refuse(options.only(*{*other.index_options} - {*kind.index_options}), f"only an index {other.location} takes")
    return kind.target(place, options, embedder)


def kind_of(place: str) -> PlaceKind:
    """Return the kind of a place. Raises InvalidInput, without the place, which may contain a password."""
    for kind in KINDS:
        if kind.matches(place):
            return kind
    examples = ", ".join(kind.example for kind in KINDS)
    raise InvalidInput(f"this URL is not of a known kind; use {examples}, with the part before :// in lower case")


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
