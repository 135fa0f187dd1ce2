"""What is said to Redis search and what it answers, in both of its protocols. Pure: no connection, no client.

Replies are read as bytes, whatever the client's own settings decode: a field may hold a vector.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from podium.errors import SourceError
from podium.sources.redis.description import separated

__all__ = [
    "DISTANCE",
    "Field",
    "IndexInfo",
    "Row",
    "document",
    "hybrid_rows",
    "index_info",
    "names",
    "nearest_rows",
    "search_keys",
    "search_rows",
    "similarity",
    "total",
]

DISTANCE = "vector_distance"  # what redisvl has the server call it
Parameters = ParamSpec("Parameters")
Read = TypeVar("Read")
Parts = tuple[str, float | None, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an index. `name` is what queries call it, `path` where it is in a document; the rest is a vector's."""

    name: str
    path: str
    kind: str
    dimensions: int = 0
    data_type: str = "FLOAT32"
    metric: str = "COSINE"


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index as FT.INFO describes it. `indexed_share` is how much of what it scans at its creation is done, from 0 to 1."""

    name: str
    storage: str
    prefixes: tuple[str, ...]
    fields: Mapping[str, Field]
    documents: int
    indexing: bool
    indexed_share: float
    failures: int
    last_failure: str
    filter: str

    @property
    def key_prefix(self) -> str:
        """The prefix of the keys of documents that podium loads."""
        return separated(self.prefixes[0] if self.prefixes else "")

    def field_list(self) -> str:
        return ", ".join(f"{field.name} ({field.kind})" for field in self.fields.values())

    def of_kind(self, kind: str) -> list[str]:
        return [name for name, field in self.fields.items() if field.kind == kind]


@dataclass(frozen=True, slots=True)
class Row:
    """One document of a reply: its key, its score where the server gave one, and its fields as bytes."""

    key: str
    score: float | None
    fields: dict[str, Any] = field(default_factory=dict)


def _of(command: str) -> Callable[[Callable[Parameters, Read]], Callable[Parameters, Read]]:
    """Make what goes wrong while a command's reply is read a SourceError: it is not the reply that is documented."""

    def reading(read: Callable[Parameters, Read]) -> Callable[Parameters, Read]:
        @functools.wraps(read)
        def checked(*given: Parameters.args, **options: Parameters.kwargs) -> Read:
            try:
                return read(*given, **options)
            except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
                said = f"{type(error).__name__}: {str(error)[:80]}"
                raise SourceError(
                    f"the server's answer to {command} is not a known one ({said}); podium needs RediSearch 2.8 or later"
                ) from error

        return checked

    return reading


@_of("FT.INFO")
def index_info(reply: Any) -> IndexInfo:
    """Read FT.INFO."""
    info = _mapping(reply)
    definition = _mapping(info.get("index_definition", []))
    errors = _mapping(info.get("Index Errors", []))
    fields = [_field(_mapping(each)) for each in info["attributes"]]
    return IndexInfo(
        name=_text(info["index_name"]),
        storage=_text(definition["key_type"]),
        prefixes=tuple(_text(prefix) for prefix in definition["prefixes"]),
        fields={each.name: each for each in fields},
        documents=int(info["num_docs"]),
        indexing=_number(info.get("indexing", 0)) > 0,
        indexed_share=_number(info.get("percent_indexed", 1)),
        failures=int(_number(info.get("hash_indexing_failures", 0))),
        last_failure=_text(errors.get("last indexing error", "")),
        filter=_text(definition.get("filter", "")),
    )


@_of("FT.SEARCH")
def search_rows(reply: Any, *, scored: bool) -> list[Row]:
    """Read FT.SEARCH's rows, best first. A document that was deleted meanwhile comes without fields and is left out.

    Raises SourceError where the server says that it ran out of time, since what it gives then is only a part, and where
    no document comes with fields.
    """
    rows = _rows_of_map(_mapping(reply), scored) if isinstance(reply, Mapping) else _rows_of_list(reply, scored)
    whole = [Row(key, score, _mapping(fields)) for key, score, fields in rows if fields is not None]
    if rows and not whole:
        raise SourceError(
            f"the server found {len(rows)} documents, but gives the fields of none; can this user and this node read them?"
        )
    return whole


@_of("FT.SEARCH")
def search_keys(reply: Any) -> list[str]:
    """Return the keys in a reply without fields."""
    if isinstance(reply, Mapping):
        return [_text(_mapping(row)["id"]) for row in _mapping(reply)["results"]]
    return [_text(key) for key in reply[1:]]


@_of("FT._LIST")
def names(reply: Any) -> list[str]:
    """Return the names of indexes, sorted."""
    return sorted(map(_text, reply))


def _rows_of_map(answer: Mapping[str, Any], scored: bool) -> list[Parts]:
    _refuse_warnings(answer.get("warning", ()))
    rows = [_mapping(each) for each in answer.get("results", ())]
    return [(_text(row["id"]), _number(row["score"]) if scored else None, row.get("extra_attributes")) for row in rows]


def _rows_of_list(answer: Sequence[Any], scored: bool) -> list[Parts]:
    step = 3 if scored else 2
    if len(answer) % step != 1:
        raise ValueError(f"{len(answer)} parts")
    rows = [answer[at : at + step] for at in range(1, len(answer), step)]
    return [(_text(row[0]), _number(row[1]) if scored else None, row[-1]) for row in rows]


@_of("FT.SEARCH")
def total(reply: Any) -> int:
    """Return how many documents match, of which the reply has some."""
    return int(_mapping(reply)["total_results"] if isinstance(reply, Mapping) else reply[0])


@_of("FT.SEARCH")
def nearest_rows(reply: Any, metric: str) -> list[Row]:
    """Read the rows of a KNN search, most similar first."""
    rows = search_rows(reply, scored=False)
    scored = [Row(row.key, similarity(_distance(row.fields.pop(DISTANCE)), metric), row.fields) for row in rows]
    return sorted(scored, key=lambda row: -(row.score or 0.0))


@_of("FT.HYBRID")
def hybrid_rows(reply: Any) -> list[Row]:
    """Read FT.HYBRID's rows, best first."""
    answer = _mapping(reply)
    _refuse_warnings(answer.get("warnings", ()))
    rows = [_mapping(each) for each in answer.get("results", ())]
    return [
        Row(
            _text(row["__key"]),
            _number(row["__score"]),
            {name: value for name, value in row.items() if name not in ("__key", "__score")},
        )
        for row in rows
    ]


def similarity(distance: float, metric: str) -> float:
    """Turn a distance into a similarity, the higher the better: cosine and inner product as they are, L2 as 1 / (1 + d²).

    The server's COSINE and IP distances are 1 minus these; its L2 is squared. A vector of zeros has no angle: 0.
    """
    if math.isnan(distance):
        return 0.0
    return 1 / (1 + distance) if metric == "L2" else 1 - distance


@_of("FT.SEARCH")
def document(row: Row, info: IndexInfo, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the named fields of a row; None: all but vectors, which come as lists of numbers."""
    vectors = {_member(field.path): field for field in info.fields.values() if field.kind == "VECTOR"}
    if info.storage == "JSON" and "$" in row.fields and names is None:  # a JSON index gives each document whole
        value = json.loads(row.fields["$"])
        whole = value if isinstance(value, dict) else {"$": value}
        return {name: value for name, value in whole.items() if name not in vectors}
    numbers = _json_numbers if info.storage == "JSON" else _hash_numbers
    return {
        name: numbers(value, vectors[name]) if name in vectors else _as_text(value)
        for name, value in row.fields.items()
        if name not in vectors or name in (names or ())
    }


def _member(path: str) -> str:
    """Return the member of a document that a path leads to: the name itself in a hash, $.name or $["name"] in JSON."""
    if path.startswith('$["') and path.endswith('"]'):
        return str(json.loads(path[2:-1]))
    return path.removeprefix("$.")


def _as_text(value: Any) -> Any:
    """Return a field as a string; one that is not UTF-8 stays as bytes, rather than lose some."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _json_numbers(value: Any, field: Field) -> Any:
    return json.loads(value)


def _hash_numbers(value: Any, field: Field) -> Any:
    """Return a vector as a list of numbers; a hash holds their bytes."""
    import numpy as np

    return np.frombuffer(value, field.data_type.lower()).tolist()


def _distance(said: Any) -> float:
    return float(said.decode() if isinstance(said, bytes) else said)  # of a vector of zeros: not a number


def _field(said: Mapping[str, Any]) -> Field:
    name, kind = _text(said.get("attribute", said.get("identifier"))), _text(said["type"])
    path = _text(said.get("identifier", name))
    if kind != "VECTOR":
        return Field(name, path, kind)
    return Field(
        name,
        path,
        kind,
        int(said["dim"]),
        _text(said.get("data_type", "FLOAT32")),
        _text(said.get("distance_metric", "COSINE")),
    )


def _refuse_warnings(warnings: Sequence[Any]) -> None:
    if told := "; ".join(_text(each) for each in warnings):
        raise SourceError(f"the server gave only a part of the answer: {told}; allow it more time with timeout=")


def _mapping(said: Any) -> dict[str, Any]:
    """Read a map, which the older protocol sends as a flat list: names and values, then perhaps flags on their own."""
    if isinstance(said, Mapping):
        return {_text(name): value for name, value in said.items()}
    return dict(_pairs(list(said)))


def _pairs(flat: list[Any]) -> Iterator[tuple[str, Any]]:
    for at in range(0, len(flat) - 1, 2):
        yield _text(flat[at]), flat[at + 1]


def _text(said: Any) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _number(said: Any) -> float:
    number = float(said.decode() if isinstance(said, bytes) else said)
    if math.isnan(number):
        raise ValueError("a score that is no number")
    return number
