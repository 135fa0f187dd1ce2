"""Search requests → Redis commands. Pure; the queries themselves are built by redisvl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from podium.sources.fusion import RRF_CONSTANT
from podium.sources.redis.replies import DISTANCE, Field, words

if TYPE_CHECKING:
    from redisvl.query.filter import FilterExpression

__all__ = [
    "Command",
    "Filter",
    "Request",
    "documents_command",
    "hybrid_command",
    "keys_command",
    "text_command",
    "vector_command",
]

Command = Sequence[Any]
Filter: TypeAlias = "FilterExpression | str | None"


@dataclass(frozen=True, slots=True)
class Request:
    """What the commands of one search have in common. `return_fields` None: all of them."""

    index: str
    weights: Mapping[str, float]
    vector: Field | None
    count: int
    filter: Filter
    return_fields: tuple[str, ...] | None
    ef_runtime: int | None
    milliseconds: int
    offset: int = 0


def text_command(request: Request, query: str) -> Command:
    return _command(request, _text_query(request, query))


def vector_command(request: Request, vector: Any) -> Command:
    from redisvl.query import VectorQuery

    assert request.vector is not None  # noqa: S101  for the type checker: the field was checked
    wanted = None if request.return_fields is None else [*request.return_fields, DISTANCE]
    built = VectorQuery(
        vector.tolist(),
        _escaped(request.vector.name),
        return_fields=wanted,
        filter_expression=request.filter,
        dtype=request.vector.data_type.lower(),
        num_results=request.offset + request.count,
        return_score=False,  # it would have only the distance come back; without it, that comes with everything
        ef_runtime=request.ef_runtime,
    )
    return _command(request, built)


def hybrid_command(request: Request, query: str, vector: Any, depth: int) -> Command:
    """Return FT.HYBRID by hand: redisvl's builder makes a filtered text optional, and warns that it may change."""
    from redisvl.query.filter import render_filter
    from redisvl.redis.utils import array_to_buffer

    assert request.vector is not None  # noqa: S101  as above
    near: list[Any] = [
        "VSIM",
        f"@{_escaped(request.vector.name)}",
        "$vector",
        "KNN",
        2 if request.ef_runtime is None else 4,
        "K",
        depth,
    ]
    near += [] if request.ef_runtime is None else ["EF_RUNTIME", request.ef_runtime]
    rendered = render_filter(request.filter)
    near += ["FILTER", rendered] if rendered else []
    # Not LOAD *: with that the server leaves key and score out.
    names = ["@__key", "@__score", *(f"@{name}" for name in request.return_fields or ())]
    return (
        *("FT.HYBRID", request.index, "SEARCH", _text_query(request, query).query_string(), "SCORER", "BM25STD", *near),
        *("COMBINE", "RRF", 4, "CONSTANT", RRF_CONSTANT, "WINDOW", depth, "LIMIT", request.offset, request.count),
        *("LOAD", len(names), *names),
        *("PARAMS", 2, "vector", array_to_buffer(vector.tolist(), request.vector.data_type.lower())),
        *("TIMEOUT", request.milliseconds),
    )


def documents_command(request: Request, keys: Sequence[str]) -> Command:
    """Return the command for whole documents by their keys; it is the same for hashes and for JSON."""
    limits = ("LIMIT", 0, len(keys), "DIALECT", 2, "TIMEOUT", request.milliseconds)
    return ("FT.SEARCH", request.index, "*", "INKEYS", len(keys), *keys, *limits)


def keys_command(index: str, keys: Sequence[str]) -> Command:
    """Return the command that finds those of the keys that are documents of the index."""
    return ("FT.SEARCH", index, "*", "INKEYS", len(keys), *keys, "NOCONTENT", "LIMIT", 0, len(keys), "DIALECT", 2)


def _text_query(request: Request, query: str) -> Any:
    from redisvl.query import TextQuery

    return TextQuery(
        " ".join(words(query)),
        _unions(request.weights),
        filter_expression=request.filter,
        return_fields=list(request.return_fields) if request.return_fields else None,
        num_results=request.count,
        stopwords=None,  # the index has its own, on the server
    )


def _unions(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the fields of each weight as one clause: a word counts once in it, whatever fields it is in.

    In clauses of their own, RediSearch takes a word's frequency in the whole document for each of the fields.
    """
    names: dict[float, list[str]] = {}
    for name, weight in weights.items():
        names.setdefault(weight, []).append(_escaped(name))
    return {"|".join(union): weight for weight, union in names.items()}


def _command(request: Request, built: Any) -> Command:
    """Return the command for a redisvl query."""
    built.timeout(request.milliseconds).paging(request.offset, request.count)
    params = [part for pair in built.params.items() for part in pair]
    return ("FT.SEARCH", request.index, *built.get_args(), *(("PARAMS", len(params), *params) if params else ()))


def _escaped(field: str) -> str:
    """Return a field's name as it is written in a query, whatever letters are in it."""
    return re.sub(r"([^\w])", r"\\\1", field)
