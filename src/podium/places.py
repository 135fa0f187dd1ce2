"""Open the index at a place (redis://host/name, ./folder, or a file), to search it or to load documents into it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
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

__all__ = [
    "EXAMPLES", "KINDS", "IndexOptions", "SourceOptions", "embedder", "index_target", "kind_of", "load_source", "weights",
]  # fmt: skip

KINDS: tuple[PlaceKind, ...] = (REDIS, LOCAL)
EXAMPLES = ", ".join(kind.example for kind in KINDS)
"""How users write places, for help texts."""


def load_source(
    place: str | os.PathLike[str], options: SourceOptions | None = None, *, kinds: Sequence[PlaceKind] = KINDS, **keywords: Any
) -> HybridSource[Any]:
    """Return the source at a place: an index on Redis, the index in a folder, or a new index in memory of a file's documents.

    The fields of SourceOptions are also keyword arguments, which replace those of `options`. Raises InvalidInput, SourceError
    and ModelError.
    """
    option_names = [field.name for field in fields(SourceOptions)]
    if unknown_names := sorted(set(keywords) - set(option_names)):
        raise InvalidInput(f"a source has no option {', '.join(unknown_names)}; it has {', '.join(option_names)}")
    options = replace(options or SourceOptions(), **keywords)
    kind = kind_of(os.fspath(place), kinds)
    _refuse_foreign_options(options, kind.source_options, {other.location: other.source_options for other in kinds})
    return kind.source(os.fspath(place), options, embedder)


def index_target(place: str, options: IndexOptions, kinds: Sequence[PlaceKind] = KINDS) -> Target:
    """Return the index at a place to load documents into. If it does not exist, `prepare` creates it. Raises InvalidInput."""
    kind = kind_of(place, kinds)
    _refuse_foreign_options(options, kind.index_options, {other.location: other.index_options for other in kinds})
    return kind.target(place, options, embedder)


def _refuse_foreign_options(
    options: SourceOptions | IndexOptions, own_names: Iterable[str], names_by_location: Mapping[str, Iterable[str]]
) -> None:
    """Raise InvalidInput if an option is set that only other kinds of places have. The message says where those places are."""
    for name in sorted({name for names in names_by_location.values() for name in names} - set(own_names)):
        locations = [location for location, names in names_by_location.items() if name in names]
        refuse(options.only(name), f"only an index {' or '.join(locations)} takes")


def kind_of(place: str, kinds: Sequence[PlaceKind] = KINDS) -> PlaceKind:
    """Return the kind of a place. Raises InvalidInput with a message that omits the place: it may contain a password."""
    for kind in kinds:
        if kind.matches(place):
            return kind
    examples = " or ".join(kind.example for kind in kinds)
    raise InvalidInput(f"podium cannot search at a URL of this kind; use {examples}, with the part before :// in lower case")


def embedder(name: str | None) -> Embedder | None:
    """Return the embedder of this name, None for None."""
    if name is None:
        return None
    from podium.local.embedder import Embedder

    return Embedder(name)


def weights(names: str | None) -> dict[str, float] | None:
    """Return the weights of fields by name, None if there are none. `names` is a list in the notation of the command line.

    >>> weights("title^2,text")
    {'title': 2.0, 'text': 1.0}
    """
    weights_by_name = dict(_field_and_weight(name) for name in comma_list(names))
    return weights_by_name or None


def _field_and_weight(name: str) -> tuple[str, float]:
    field, mark, weight = name.rpartition("^")
    try:
        return (field, float(weight)) if mark and field else (name, 1.0)
    except ValueError:  # the ^ is part of the name
        return name, 1.0
