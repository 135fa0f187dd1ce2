"""PlaceKind: a kind of place where indexes are, such as a server, and the options that indexes there have.

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
"""Loads an embedder by its name; returns None for None."""
Summary = tuple[str, str, str]
"""An index in words: its name, its number of documents, and its fields."""


class _Options:
    __slots__ = ()

    def only(self, *names: str) -> dict[str, Any]:
        """Return those of the named options that are not None."""
        return without_none({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class SourceOptions(_Options):
    """How a source searches; None is the source's own default. See RedisSource and EmbeddedIndex.

    `text` are the fields to search, and `embed` is an embedder's name, which an index in a folder knows itself. The second
    group are options of only some kinds of place.
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
    """How an index is created; None is the default of its kind. See RedisIndex and EmbeddedIndex.

    `sample` is the first document, `ids_from` the field that ids are taken from, "" for digests of documents. The second
    group are options of only some kinds of place.
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
    """A kind of place. All functions raise InvalidInput and SourceError, and take a place as the user wrote it.

    - `location`: as in "an index LOCATION". `example`: how a user writes such a place.
    - `matches`: whether a place is of this kind.
    - `source_options`, `index_options`: the names of the options that not every kind has.
    - `source`: return the index as a source. `target`: return it to load documents into; `prepare` may create it.
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
