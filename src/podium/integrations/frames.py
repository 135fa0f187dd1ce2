"""pandas and Polars: a data frame in, the same rows out, best first. Needs whichever of the two the frame is of."""

from __future__ import annotations

from typing import Any, TypeVar

from podium.errors import InvalidInput
from podium.ranking import Reranker

__all__ = ["rerank_frame"]

Frame = TypeVar("Frame")
ADDED = ("score", "rank")


def rerank_frame(
    frame: Frame, query: str, reranker: Reranker, *, rank_by: str | list[str] | None = None, limit: int | None = None
) -> Frame:
    """Return a frame's rows in order of relevance to the query, with the columns `score` and `rank` (from 1) added.

    `rank_by` names the columns that are read (None: content, text, …), `limit` how many rows come back. The frame that was
    given is not changed; a pandas index goes with its rows. Raises InvalidInput where it is no frame, or has a column of
    one of these names.
    """
    kind = type(frame).__module__.partition(".")[0]
    if kind not in _TAKEN or type(frame).__name__ != "DataFrame":
        raise InvalidInput(f"rerank_frame takes a DataFrame of pandas or Polars, not a {type(frame).__name__}")
    if not isinstance(reranker, Reranker):
        raise InvalidInput(f"the reranker must be one that podium.load gives, not a {type(reranker).__name__}")
    given: Any = frame
    if len(set(given.columns)) < len(given.columns):
        raise InvalidInput("the frame has two columns of one name; rename one first")
    if clash := [name for name in ADDED if name in given.columns]:
        raise InvalidInput(f"the frame has a column {clash[0]!r} of its own, which would be lost; rename it first")
    records = given.to_dict("records") if kind == "pandas" else given.to_dicts()
    ranking = reranker.rerank(query, records, rank_by=rank_by, limit=limit)
    added: dict[str, list[Any]] = {"score": [result.score for result in ranking], "rank": [result.rank for result in ranking]}
    return _TAKEN[kind](given, [result.index for result in ranking], added)  # type: ignore[no-any-return]  # a frame of its kind


def _pandas(frame: Any, places: list[int], added: dict[str, list[Any]]) -> Any:
    return frame.iloc[places].assign(**added)


def _polars(frame: Any, places: list[int], added: dict[str, list[Any]]) -> Any:
    import polars

    return frame[places].with_columns(
        polars.Series("score", added["score"], dtype=polars.Float64), polars.Series("rank", added["rank"], dtype=polars.Int64)
    )


_TAKEN = {"pandas": _pandas, "polars": _polars}
