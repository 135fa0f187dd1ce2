"""The commands of RediSearch for a search, as sequences of arguments. Nothing is sent here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from podium.sources.fusion import RRF_CONSTANT
from podium.sources.redis.replies import DISTANCE, Field

__all__ = [
    "Command",
    "CommandOptions",
    "documents_command",
    "hybrid_command",
    "keys_command",
    "text_command",
    "vector_command",
]

Command: TypeAlias = Sequence[Any]
"""The name of a command and its arguments."""
BM25 = ("SCORER", "BM25STD")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOptions:
    """The options of a command that searches an index. It returns `count` documents after the `offset` best.

    - `weights`: the text fields to search, with their weights.
    - `filter`: a condition in RediSearch's query syntax that documents must meet, None without one.
    - `return_fields`: the fields to return, never an empty list. With None, FT.SEARCH returns all fields, and
      FT.HYBRID returns none.
    - `ef_runtime`: the number of candidates that a search of an HNSW graph keeps, None for the index's own number.
    - `timeout_ms`: the milliseconds after which the server ends the command.
    """

    index: str
    weights: Mapping[str, float]
    count: int
    timeout_ms: int
    filter: str | None = None
    return_fields: Sequence[str] | None = None
    ef_runtime: int | None = None
    offset: int = 0


def text_command(options: CommandOptions, words: Sequence[str]) -> Command:
    """Return the command that finds documents with any of the words, scored by BM25."""
    return _search_command(options, _text_query(options, words), *BM25, "WITHSCORES", fields=options.return_fields)


def vector_command(options: CommandOptions, field: Field, vector: Any, depth: int) -> Command:
    """Return the command that ranks the `depth` documents whose vector in `field` is nearest. They have the field DISTANCE."""
    ef_runtime = " EF_RUNTIME $EF" if options.ef_runtime is not None else ""
    knn = f"KNN {depth} @{_escaped_name(field.name)} $vector{ef_runtime} AS {DISTANCE}"
    fields = None if options.return_fields is None else (*options.return_fields, DISTANCE)
    parameters: dict[str, Any] = {"vector": _vector_bytes(vector, field)}
    if options.ef_runtime is not None:
        parameters["EF"] = options.ef_runtime
    query = f"({options.filter})=>[{knn}]" if options.filter else f"*=>[{knn}]"
    return _search_command(options, query, fields=fields, order=("SORTBY", DISTANCE, "ASC"), parameters=parameters)


def hybrid_command(options: CommandOptions, words: Sequence[str], field: Field, vector: Any, depth: int) -> Command:
    """Return FT.HYBRID, which fuses the best `depth` documents by text and by vector, by reciprocal rank."""
    knn: list[Any] = ["K", depth]
    if options.ef_runtime is not None:
        knn += ["EF_RUNTIME", options.ef_runtime]
    rrf = ("CONSTANT", RRF_CONSTANT, "WINDOW", depth)
    # With LOAD *, the server would leave out the key and the score.
    fields = ["@__key", "@__score", *(f"@{name}" for name in options.return_fields or ())]
    return (
        *("FT.HYBRID", options.index, "SEARCH", _text_query(options, words), *BM25),
        *("VSIM", f"@{_escaped_name(field.name)}", "$vector", "KNN", len(knn), *knn),
        *(("FILTER", options.filter) if options.filter else ()),
        *("COMBINE", "RRF", len(rrf), *rrf, "LIMIT", options.offset, options.count),
        *("LOAD", len(fields), *fields),
        *("PARAMS", 2, "vector", _vector_bytes(vector, field)),
        *("TIMEOUT", options.timeout_ms),
    )


def documents_command(options: CommandOptions, keys: Sequence[str]) -> Command:
    """Return the command that reads the fields to return of the documents with these keys. It works for hashes and for JSON."""
    names = options.return_fields
    fields = () if names is None else ("RETURN", len(names), *names)
    arguments = (*fields, "LIMIT", 0, len(keys), "DIALECT", 2, "TIMEOUT", options.timeout_ms)
    return ("FT.SEARCH", options.index, "*", "INKEYS", len(keys), *map(_key_bytes, keys), *arguments)


def keys_command(index: str, keys: Sequence[str]) -> Command:
    """Return the command that finds out which of the keys belong to documents of the index. Its reply has these keys."""
    return (
        "FT.SEARCH",
        index,
        "*",
        "INKEYS",
        len(keys),
        *map(_key_bytes, keys),
        "NOCONTENT",
        "LIMIT",
        0,
        len(keys),
        "DIALECT",
        2,
    )


def _key_bytes(key: str) -> bytes:
    """Return the bytes of a key of `replies.as_key`."""
    return key.encode("utf-8", "surrogateescape")


def _search_command(
    options: CommandOptions,
    query: str,
    *scoring: str,
    fields: Sequence[str] | None,
    order: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
) -> Command:
    """Return FT.SEARCH. `scoring` are its arguments about scores. `fields` are the fields to return, None for all."""
    names_and_values = list(chain.from_iterable((parameters or {}).items()))
    return (
        *("FT.SEARCH", options.index, query, *scoring, "TIMEOUT", options.timeout_ms),
        *(("RETURN", len(fields), *fields) if fields else ()),
        *(*order, "DIALECT", 2, "LIMIT", options.offset, options.count),
        *(("PARAMS", len(names_and_values), *names_and_values) if names_and_values else ()),
    )


def _text_query(options: CommandOptions, words: Sequence[str]) -> str:
    """Return the query for documents that contain any of the words. Words of `words.words` need no escaping."""
    any_word = " | ".join(words).lower()
    clauses = [
        f"@{fields}:({any_word})" + ("" if weight == 1 else f" => {{ $weight: {weight} }}")
        for fields, weight in _weights_by_fields(options.weights).items()
    ]
    query = clauses[0] if len(clauses) == 1 else f"({' | '.join(clauses)})"
    return f"{query} ({options.filter})" if options.filter else query


def _weights_by_fields(weights: Mapping[str, float]) -> dict[str, float]:
    """Return {"title|subtitle": 2.0, …}: the fields that share a weight as one key, for one clause per weight.

    A clause per field would score worse. RediSearch counts a word in all fields of a document, not only in the field of the
    clause, so a word in several fields would count too often.
    """
    names_by_weight: dict[float, list[str]] = {}
    for name, weight in weights.items():
        names_by_weight.setdefault(weight, []).append(_escaped_name(name))
    return {"|".join(names): weight for weight, names in names_by_weight.items()}


def _vector_bytes(vector: Any, field: Field) -> bytes:
    """Return a vector in the data type of a field."""
    from redisvl.redis.utils import array_to_buffer  # imported here, because podium works without redisvl

    content: bytes = array_to_buffer(vector.tolist(), field.data_type.lower())
    return content


def _escaped_name(name: str) -> str:
    """Return the name of a field for a query, with a backslash before each special character."""
    return re.sub(r"([^\w])", r"\\\1", name)
