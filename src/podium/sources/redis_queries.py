"""What is asked, as the words of a Redis search command. Pure; the queries themselves are built by redisvl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from podium.sources.fusion import RRF_CONSTANT
from podium.sources.redis_wire import DISTANCE, Field, words

if TYPE_CHECKING:
    from redisvl.query.filter import FilterExpression

__all__ = ["Asked", "Command", "Filter", "documents_command", "hybrid_command", "text_command", "vector_command"]

Command = Sequence[Any]
Filter: TypeAlias = "FilterExpression | str | None"


@dataclass(frozen=True, slots=True)
class Asked:
    """What every command of one search has in common. `return_fields` None: all of them."""

    index: str
    weights: Mapping[str, float]
    vector: Field | None
    count: int
    filter: Filter
    return_fields: tuple[str, ...] | None
    ef_runtime: int | None
    milliseconds: int


def text_command(asked: Asked, query: str) -> Command:
    return _command(asked, _text_query(asked, query))


def vector_command(asked: Asked, vector: Any) -> Command:
    from redisvl.query import VectorQuery

    assert asked.vector is not None  # noqa: S101  for the type checker: the field was checked
    wanted = None if asked.return_fields is None else [*asked.return_fields, DISTANCE]
    built = VectorQuery(
        vector.tolist(),
        _escaped(asked.vector.name),
        return_fields=wanted,
        filter_expression=asked.filter,
        dtype=asked.vector.data_type.lower(),
        num_results=asked.count,
        return_score=False,  # it would have only the distance come back; without it, that comes with everything
        ef_runtime=asked.ef_runtime,
    )
    return _command(asked, built)


def hybrid_command(asked: Asked, query: str, vector: Any, depth: int) -> Command:
    """Return FT.HYBRID by hand: redisvl's builder makes a filtered text optional, and warns that it may change."""
    from redisvl.query.filter import render_filter
    from redisvl.redis.utils import array_to_buffer

    assert asked.vector is not None  # noqa: S101  as above
    near: list[Any] = [
        "VSIM",
        f"@{_escaped(asked.vector.name)}",
        "$vector",
        "KNN",
        2 if asked.ef_runtime is None else 4,
        "K",
        depth,
    ]
    near += [] if asked.ef_runtime is None else ["EF_RUNTIME", asked.ef_runtime]
    rendered = render_filter(asked.filter)
    near += ["FILTER", rendered] if rendered else []
    # Not LOAD *: with that the server leaves key and score out.
    names = ["@__key", "@__score", *(f"@{name}" for name in asked.return_fields or ())]
    return (
        *("FT.HYBRID", asked.index, "SEARCH", _text_query(asked, query).query_string(), "SCORER", "BM25STD", *near),
        *("COMBINE", "RRF", 4, "CONSTANT", RRF_CONSTANT, "WINDOW", depth, "LIMIT", 0, asked.count),
        *("LOAD", len(names), *names),
        *("PARAMS", 2, "vector", array_to_buffer(vector.tolist(), asked.vector.data_type.lower())),
        *("TIMEOUT", asked.milliseconds),
    )


def documents_command(asked: Asked, keys: Sequence[str]) -> Command:
    """Ask for whole documents by their keys, in one command whatever keeps them."""
    limits = ("LIMIT", 0, len(keys), "DIALECT", 2, "TIMEOUT", asked.milliseconds)
    return ("FT.SEARCH", asked.index, "*", "INKEYS", len(keys), *keys, *limits)


def _text_query(asked: Asked, query: str) -> Any:
    from redisvl.query import TextQuery

    return TextQuery(
        " ".join(words(query)),
        {_escaped(name): weight for name, weight in asked.weights.items()},
        filter_expression=asked.filter,
        return_fields=list(asked.return_fields) if asked.return_fields else None,
        num_results=asked.count,
        stopwords=None,  # the index has its own, on the server
    )


def _command(asked: Asked, built: Any) -> Command:
    """Return a redisvl query as the words of a command."""
    built.timeout(asked.milliseconds)
    params = [part for pair in built.params.items() for part in pair]
    return ("FT.SEARCH", asked.index, *built.get_args(), *(("PARAMS", len(params), *params) if params else ()))


def _escaped(field: str) -> str:
    """Return a field's name as queries have it, whatever letters are in it."""
    return re.sub(r"([^\w])", r"\\\1", field)
