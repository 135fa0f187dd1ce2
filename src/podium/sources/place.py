"""PlaceKind: a kind of place where indexes are, such as Redis servers or folders, and the options of these indexes.

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
"""A description of an index for users: its name, its number of documents, and its fields."""


class _Options:
    __slots__ = ()

    def only(self, *names: str) -> dict[str, Any]:
        """Return the named options, without those that are None."""
        return without_none({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class SourceOptions(_Options):
    """Options of a search. RedisSource and EmbeddedIndex describe them. None means the default of the kind of place.

    `text`: the fields to search. `embed`: the name of an embedder, whose default is the one stored with an index in a folder.
    The options after the blank line exist for some kinds of place only.
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
    """Options of a new index. RedisIndex and EmbeddedIndex describe them. None means the default of the kind of place.

    `sample`: the first document, from which the default of `text` is derived on Redis. `ids_from`: the field that ids are taken
    from, "" if ids are digests of documents. The options after the blank line exist for some kinds of place only.
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

    - `location`: a phrase to put after "an index", such as "on Redis".
    - `example`: how users write such a place, as in "redis://host:port/name".
    - `matches`: whether a place is of this kind.
    - `source_options`, `index_options`: the names of the options after the blank line that this kind has.
    - `source`: return the index to search it. `target`: return the index to load documents into it.
    - `summaries`: describe the index at a place, or all indexes of a server or folder.
    - `delete`: delete documents by their ids, and return how many existed.
    - `compact`: free space that is no longer used. Return how many bytes the index had before and has now.
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
