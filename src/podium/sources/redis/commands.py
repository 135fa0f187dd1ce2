"""The commands of RediSearch for a search, as lists of arguments. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from podium.sources.filters import Filter
from podium.sources.fusion import RRF_CONSTANT
from podium.sources.redis.replies import DISTANCE, Field

__all__ = [
    "Command",
    "Filter",
    "Page",
    "documents_command",
    "hybrid_command",
    "keys_command",
    "text_command",
    "vector_command",
]

Command: TypeAlias = Sequence[Any]
BM25 = ("SCORER", "BM25STD")


@dataclass(frozen=True, slots=True)
class Page:
    """The options of a search's commands, which return `count` documents after the `offset` best.

    `weights`: weight of each text field. `return_fields`: None for all fields. `timeout_ms`: of the server, in milliseconds.
    """

    index: str
    weights: Mapping[str, float]
    count: int
    filter: str | None
    return_fields: Sequence[str] | None
    ef_runtime: int | None
    timeout_ms: int
    offset: int = 0


def text_command(page: Page, words: Sequence[str]) -> Command:
    return _search_command(page, _text_query(page, words), *BM25, "WITHSCORES", fields=page.return_fields)


def vector_command(page: Page, field: Field, vector: Any) -> Command:
    ef_runtime = " EF_RUNTIME $EF" if page.ef_runtime is not None else ""
    knn = f"KNN {page.offset + page.count} @{_escaped_name(field.name)} $vector{ef_runtime} AS {DISTANCE}"
    fields = None if page.return_fields is None else (*page.return_fields, DISTANCE)
    parameters: dict[str, Any] = {"vector": _vector_bytes(vector, field)}
    if page.ef_runtime is not None:
        parameters["EF"] = page.ef_runtime
    query = f"({page.filter})=>[{knn}]" if page.filter else f"*=>[{knn}]"
    return _search_command(page, query, fields=fields, order=("SORTBY", DISTANCE, "ASC"), parameters=parameters)


def hybrid_command(page: Page, words: Sequence[str], field: Field, vector: Any, depth: int) -> Command:
    """Return FT.HYBRID, which fuses a text and a vector search, each `depth` documents deep, by reciprocal rank."""
    knn: list[Any] = ["K", depth]
    if page.ef_runtime is not None:
        knn += ["EF_RUNTIME", page.ef_runtime]
    # Not LOAD *, with which the server leaves out the key and the score.
    fields = ["@__key", "@__score", *(f"@{name}" for name in page.return_fields or ())]
    return (
        *("FT.HYBRID", page.index, "SEARCH", _text_query(page, words), *BM25),
        *("VSIM", f"@{_escaped_name(field.name)}", "$vector", "KNN", len(knn), *knn),
        *(("FILTER", page.filter) if page.filter else ()),
        *("COMBINE", "RRF", 4, "CONSTANT", RRF_CONSTANT, "WINDOW", depth, "LIMIT", page.offset, page.count),  # 4 arguments
        *("LOAD", len(fields), *fields),
        *("PARAMS", 2, "vector", _vector_bytes(vector, field)),
        *("TIMEOUT", page.timeout_ms),
    )


def documents_command(page: Page, keys: Sequence[str]) -> Command:
    """Return the command that reads all fields of documents by their keys, in hashes as in JSON."""
    limits = ("LIMIT", 0, len(keys), "DIALECT", 2, "TIMEOUT", page.timeout_ms)
    return ("FT.SEARCH", page.index, "*", "INKEYS", len(keys), *keys, *limits)


def keys_command(index: str, keys: Sequence[str]) -> Command:
    """Return the command whose reply has those of the keys that are documents of the index."""
    return ("FT.SEARCH", index, "*", "INKEYS", len(keys), *keys, "NOCONTENT", "LIMIT", 0, len(keys), "DIALECT", 2)


def _search_command(
    page: Page,
    query: str,
    *scoring: str,
    fields: Sequence[str] | None,
    order: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
) -> Command:
    pairs = [part for pair in (parameters or {}).items() for part in pair]
    return (
        *("FT.SEARCH", page.index, query, *scoring, "TIMEOUT", page.timeout_ms),
        *(("RETURN", len(fields), *fields) if fields else ()),
        *(*order, "DIALECT", 2, "LIMIT", page.offset, page.count),
        *(("PARAMS", len(pairs), *pairs) if pairs else ()),
    )


def _text_query(page: Page, words: Sequence[str]) -> str:
    """Return the query for documents that contain any of the words. Those of `words.words` need no escaping."""
    any_word = " | ".join(words).lower()
    clauses = [
        f"@{fields}:({any_word})" + ("" if weight == 1 else f" => {{ $weight: {weight} }}")
        for fields, weight in _weights_by_fields(page.weights).items()
    ]
    query = clauses[0] if len(clauses) == 1 else f"({' | '.join(clauses)})"
    return f"{query} ({page.filter})" if page.filter else query


def _weights_by_fields(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights by the fields that have them, such as {"title|subtitle": 2.0}, for one clause per weight.

    If each field had a clause, RediSearch would use a word's frequency in all fields of a document for every one of them.
    """
    names: dict[float, list[str]] = {}
    for name, weight in weights.items():
        names.setdefault(weight, []).append(_escaped_name(name))
    return {"|".join(fields): weight for weight, fields in names.items()}


def _vector_bytes(vector: Any, field: Field) -> bytes:
    from redisvl.redis.utils import array_to_buffer

    content: bytes = array_to_buffer(vector.tolist(), field.data_type.lower())
    return content


def _escaped_name(field: str) -> str:
    """Return a field's name with backslashes, as queries need it."""
    return re.sub(r"([^\w])", r"\\\1", field)
