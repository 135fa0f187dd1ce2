"""PlaceKind: a kind of place for indexes, such as a Redis server or a folder, and the options of indexes there.

To add a kind, write its row in the package that implements it, and add the row to KINDS in podium.places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.inputs import without_none
from podium.sources.fusion import Fusion, Mode
from podium.sources.hybrid import HybridSource
from podium.sources.loading import Target
from podium.types import Embed

__all__ = ["EmbedderLoader", "IndexOptions", "PlaceKind", "SourceOptions", "Summary"]

EmbedderLoader = Callable[[str | None], Embed | None]
"""Loads an embedder by its name. Returns None for None."""
Summary = tuple[str, str, str]
"""An index in words: its name, its number of documents, and its fields."""


class _Options:
    __slots__ = ()

    def only(self, *names: str) -> dict[str, Any]:
        """Return the named options, without those that are None."""
        return without_none({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class SourceOptions(_Options):
    """Options of a search, which RedisSource and EmbeddedIndex describe. None is the default of the kind of place.

    `text`: the fields to search. `embed`: the name of an embedder; an index in a folder has stored it. The options of the
    second group exist for some kinds of place only.
    """

    text: Sequence[str] | Mapping[str, float] | None = None
    embed: str | None = None
    mode: Mode | None = None
    fusion: Fusion | None = None
    text_weight: float | None = None

    vector: str | None = None
    filter: str | None = None
    return_fields: Sequence[str] | None = None
    ef_runtime: int | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions(_Options):
    """Options of a new index, which RedisIndex and EmbeddedIndex describe. None is the default of the kind of place.

    `sample`: the first document. `ids_from`: the field that ids are taken from, "" for digests of documents. The options of
    the second group exist for some kinds of place only.
    """

    sample: Any
    text: Mapping[str, float] | None = None
    embed: str | None = None
    ids_from: str = ""

    language: str | None = None
    tags: Sequence[str] | None = None
    numbers: Sequence[str] | None = None
    vector: str | None = None
    storage: str | None = None
    prefix: str | None = None
    tag_separator: str | None = None
    m: int | None = None
    ef_construction: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceKind:
    """A kind of place. Its functions take a place as the user wrote it, and raise InvalidInput and SourceError.

    - `location`: such as "on Redis", after "an index". `example`: a place, such as "redis://host:port/name".
    - `matches`: whether a place is of this kind.
    - `source_options`, `index_options`: the names of the options of the second group that this kind has.
    - `source`: return the index, to search it. `target`: return the index, to load documents into it.
    - `summaries`: describe the index at a place, or all indexes of a server or folder.
    - `delete`: delete documents by their ids, and return how many existed.
    - `compact`: reclaim the space of what is not used any more. Return how many bytes the index had before and has now.
    - `drop`: delete the index, and return its number of documents, None if unknown.
    """

    location: str
    example: str
    matches: Callable[[str], bool]
    source_options: tuple[str, ...] = ()
    index_options: tuple[str, ...] = ()
    source: Callable[[str, SourceOptions, EmbedderLoader], HybridSource[Any]]
    target: Callable[[str, IndexOptions, EmbedderLoader], Target]
    summaries: Callable[[str], Sequence[Summary]]
    delete: Callable[[str, Sequence[str]], int]
    compact: Callable[[str], tuple[int, int]]
    drop: Callable[[str], int | None]
