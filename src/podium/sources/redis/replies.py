"""Functions that read the replies of Redis and its search module, in both protocols, RESP2 and RESP3.

Strings in replies are bytes, because the value of a field may be a vector.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

from podium.errors import SourceError
from podium.sources.redis.description import with_separator

__all__ = [
    "DISTANCE",
    "NO_INFO",
    "Field",
    "IndexInfo",
    "RawDocument",
    "as_key",
    "as_string",
    "decoded",
    "document_fields",
    "hybrid_documents",
    "index_info",
    "index_names",
    "nearest_documents",
    "readable_key",
    "search_documents",
    "search_keys",
    "similarity",
    "total",
]

DISTANCE = "vector_distance"  # the field with the distance in the results of a vector search, named as in redisvl
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an index.

    `name` is its name in queries, `path` its path in a document, and `kind` its type as in FT.INFO, such as TEXT. The other
    attributes apply only to vectors.
    """

    name: str
    path: str
    kind: str
    dimensions: int = 0
    data_type: str = "FLOAT32"
    metric: str = "COSINE"

    @property
    def member(self) -> str:
        """The name of the field in a document. In a hash the path is the name, in JSON the path is $.name or $["name"]."""
        if self.path.startswith('$["') and self.path.endswith('"]'):
            return str(json.loads(self.path[2:-1]))
        return self.path.removeprefix("$.")


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index as FT.INFO describes it.

    `indexed_share`, from 0 to 1, is how much of the first scan of all keys is done. `failure_count` is the number of documents
    that the server could not index, and `filter` the condition that documents must meet to be indexed, "" without one.
    """

    name: str
    storage: str
    prefixes: tuple[str, ...]
    fields: Mapping[str, Field]
    document_count: int
    is_indexing: bool = False
    indexed_share: float = 1.0
    failure_count: int = 0
    last_failure: str = ""
    filter: str = ""

    @property
    def key_prefix(self) -> str:
        """The prefix of the keys of documents that podium writes."""
        return with_separator(self.prefixes[0] if self.prefixes else "")

    def names_of_kind(self, kind: str) -> list[str]:
        return [name for name, field in self.fields.items() if field.kind == kind]

    def field_list(self) -> str:
        return ", ".join(f"{field.name} ({field.kind})" for field in self.fields.values()) or "no fields"


NO_INFO = IndexInfo(name="", storage="HASH", prefixes=(), fields={}, document_count=0)
"""Stands in for the description of an index until FT.INFO is called."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document in a reply: its key, its score if the reply has one, and its fields, whose values are bytes."""

    key: str
    score: float | None
    fields: dict[str, Any] = field(default_factory=dict)


def _reply_to(command: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Return a decorator for functions that read replies to a command: an unexpected structure raises SourceError."""

    def decorate(read: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(read)
        def checked(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
            try:
                return read(*arguments, **options)
            except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
                raise SourceError(
                    f"the server's reply to {command} cannot be read ({type(error).__name__}: {str(error)[:80]}); podium needs "
                    "RediSearch 2.8 or later"
                ) from error

        return checked

    return decorate


@_reply_to("FT._LIST")
def index_names(reply: Any) -> list[str]:
    return sorted(map(as_string, reply))


@_reply_to("FT.INFO")
def index_info(reply: Any) -> IndexInfo:
    info = _mapping(reply)
    definition = _mapping(info.get("index_definition", []))
    errors = _mapping(info.get("Index Errors", []))
    fields = [_field(_mapping(attribute)) for attribute in info["attributes"]]
    return IndexInfo(
        name=as_string(info["index_name"]),
        storage=as_string(definition["key_type"]),
        prefixes=tuple(as_string(prefix) for prefix in definition["prefixes"]),
        fields={field.name: field for field in fields},
        document_count=int(info["num_docs"]),
        is_indexing=_number(info.get("indexing", 0)) > 0,
        indexed_share=_number(info.get("percent_indexed", 1)),
        failure_count=int(_number(info.get("hash_indexing_failures", 0))),
        last_failure=as_string(errors.get("last indexing error", "")),
        filter=as_string(definition.get("filter", "")),
    )


@_reply_to("FT.SEARCH")
def search_documents(reply: Any, *, scored: bool) -> list[RawDocument]:
    """Return the documents in a reply to FT.SEARCH, best first. `scored` says whether the reply has scores.

    Documents without fields are left out: they were deleted during the search. Raises SourceError if the server ran out of
    time, because then documents are missing, or if it found documents but returned the fields of none.
    """
    if isinstance(reply, Mapping):
        _refuse_warnings(_mapping(reply).get("warning", ()))
        results = [_mapping(result) for result in _mapping(reply).get("results", ())]
        rows = [(result["id"], result["score"] if scored else None, result.get("extra_attributes")) for result in results]
    else:
        # The total comes first, then the key, the score and the fields of each document.
        _, *values = reply
        values_per_document = 3 if scored else 2
        if len(values) % values_per_document:
            raise ValueError(f"{len(reply)} parts")
        keys = values[::values_per_document]
        scores = values[1::values_per_document] if scored else [None] * len(keys)
        rows = list(zip(keys, scores, values[values_per_document - 1 :: values_per_document], strict=True))
    documents = [
        RawDocument(as_key(key), None if score is None else _number(score), _mapping(fields))
        for key, score, fields in rows
        if fields is not None
    ]
    if rows and not documents:
        raise SourceError(
            f"the server found {len(rows)} documents, but returned the fields of none; check that this user, and this node of "
            "a cluster, can read them"
        )
    return documents


@_reply_to("FT.SEARCH")
def search_keys(reply: Any) -> list[str]:
    """Return the keys of documents in a reply to FT.SEARCH with NOCONTENT."""
    if isinstance(reply, Mapping):
        _refuse_warnings(_mapping(reply).get("warning", ()))
        return [as_key(_mapping(result)["id"]) for result in _mapping(reply)["results"]]
    return [as_key(key) for key in reply[1:]]


@_reply_to("FT.SEARCH")
def total(reply: Any) -> int:
    """Return how many documents match. The reply may contain fewer."""
    return int(_mapping(reply)["total_results"] if isinstance(reply, Mapping) else reply[0])


@_reply_to("FT.SEARCH")
def nearest_documents(reply: Any, metric: str) -> list[RawDocument]:
    """Return the documents in a reply to a KNN search, most similar first. Their scores are similarities."""
    documents = []
    for raw in search_documents(reply, scored=False):
        distance = float(as_string(raw.fields.pop(DISTANCE)))  # NaN if a vector has only zeros
        documents.append(replace(raw, score=similarity(distance, metric)))
    return sorted(documents, key=lambda raw: -(raw.score or 0.0))


@_reply_to("FT.HYBRID")
def hybrid_documents(reply: Any) -> list[RawDocument]:
    """Return the documents in a reply to FT.HYBRID, best first. Raises SourceError if the server ran out of time."""
    values = _mapping(reply)
    _refuse_warnings(values.get("warnings", ()))
    documents = []
    for result in values.get("results", ()):
        fields = _mapping(result)
        documents.append(RawDocument(as_key(fields.pop("__key")), _number(fields.pop("__score")), fields))
    return documents


def similarity(distance: float, metric: str) -> float:
    """Return the similarity for a distance of the server: the cosine, the inner product, or 1 / (1 + d²) for the metric L2.

    The server's COSINE and IP distances are 1 minus the similarity. Its L2 distance is already squared. A vector of zeros has
    no direction; its distance is NaN, and its similarity 0.
    """
    if math.isnan(distance):
        return 0.0
    return 1 / (1 + distance) if metric == "L2" else 1 - distance


@_reply_to("FT.SEARCH")
def document_fields(raw_fields: Mapping[str, Any], info: IndexInfo, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the decoded fields of a document, with vectors as lists of numbers. Vectors are left out unless `names` has them.

    `names` are the fields that were requested, None if all were.
    """
    vectors = {field.member: field for field in info.fields.values() if field.kind == "VECTOR"}
    if info.storage == "JSON" and "$" in raw_fields and names is None:  # a JSON index returns the document as one value
        document = json.loads(raw_fields["$"])
        members = document if isinstance(document, dict) else {"$": document}
        return {name: value for name, value in members.items() if name not in vectors}
    return {
        name: _vector(value, vectors[name], info.storage) if name in vectors else decoded(value)
        for name, value in raw_fields.items()
        if name not in vectors or name in (names or ())
    }


def decoded(value: Any) -> Any:
    """Return bytes as a string, or unchanged if they are not UTF-8. Other values are returned unchanged."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _vector(value: Any, field: Field, storage: str) -> Any:
    """Return a vector as a list of numbers."""
    if storage == "JSON":
        return json.loads(value)
    import numpy as np

    return np.frombuffer(value, field.data_type.lower()).tolist()


def _field(attributes: Mapping[str, Any]) -> Field:
    """Return a field from its attributes in a reply to FT.INFO."""
    name = as_string(attributes.get("attribute", attributes.get("identifier")))
    kind = as_string(attributes["type"])
    field = Field(name, as_string(attributes.get("identifier", name)), kind)
    if kind != "VECTOR":
        return field
    return replace(
        field,
        dimensions=int(attributes["dim"]),
        data_type=as_string(attributes.get("data_type", "FLOAT32")),
        metric=as_string(attributes.get("distance_metric", "COSINE")),
    )


def _refuse_warnings(warnings: Sequence[Any]) -> None:
    """Raise SourceError if a reply has warnings: it is then only a part of the results."""
    if message := "; ".join(map(as_string, warnings)):
        raise SourceError(f"the server returned only a part of the results: {message}; allow more time with timeout=")


def _mapping(reply: Any) -> dict[str, Any]:
    """Return a reply as a dict. In RESP2 it is a flat list of names and values, which may end with a flag that has no value."""
    if isinstance(reply, Mapping):
        return {as_string(name): value for name, value in reply.items()}
    items = list(reply)
    return {as_string(name): value for name, value in zip(items[::2], items[1::2], strict=False)}


def as_string(value: Any) -> str:
    """Return a value of a reply as a string. It is bytes unless the client decoded it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_key(value: Any) -> str:
    """Return a document's key in a reply as a string. Bytes that are not UTF-8 become surrogates, so no two keys are equal."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def readable_key(key: str) -> str:
    r"""Return a key of `as_key` as a string that UTF-8 can encode. A byte that is not UTF-8 is written as in Python: \xff."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _number(value: Any) -> float:
    """Return a value of a reply as a number. Raises ValueError for NaN, which cannot be sorted."""
    number = float(as_string(value))
    if math.isnan(number):
        raise ValueError("a score that is not a number")
    return number
