"""pandas and Polars: rerank the rows of a data frame."""

from __future__ import annotations

from typing import Any, TypeVar

from podium.errors import InvalidInput
from podium.ranking import Reranker

__all__ = ["rerank_frame"]

Frame = TypeVar("Frame")
NEW_COLUMNS = ("score", "rank")


def rerank_frame(
    frame: Frame, query: str, reranker: Reranker, *, rank_by: str | list[str] | None = None, limit: int | None = None
) -> Frame:
    """Return a frame's rows in order of relevance to the query, with two new columns: `score` and `rank` (from 1).

    `rank_by` names the columns that are read. If both this and the reranker's own `rank_by` are None, the first of the
    columns `content`, `text`, `page_content` and `passage` that is not empty in a row is read. `limit` is the maximum number
    of returned rows, None for the reranker's default. The frame itself is not changed. Rows of a pandas frame keep their index
    labels.

    Raises InvalidInput if `frame` is not a data frame, has two columns of the same name or already has one of the new columns,
    or if `reranker` is not a Reranker, and the errors of `rerank`.
    """
    package = type(frame).__module__.partition(".")[0]
    if package not in _REORDER or type(frame).__name__ != "DataFrame":
        name = type(frame).__name__
        kind = f"{package}.{name}" if name == "DataFrame" else name  # dask and Spark have a DataFrame, too
        raise InvalidInput(f"rerank_frame takes a DataFrame of pandas or Polars, not a {kind}")
    if not isinstance(reranker, Reranker):
        raise InvalidInput(f"rerank_frame takes the Reranker that podium.load returns, not a {type(reranker).__name__}")
    data: Any = frame  # mypy knows neither package's DataFrame
    if len(set(data.columns)) < len(data.columns):
        raise InvalidInput("the frame has two columns of the same name; rename one first")
    if clashes := [name for name in NEW_COLUMNS if name in data.columns]:
        raise InvalidInput(f"the frame already has a column {clashes[0]!r}, which would be overwritten; rename it first")
    records = data.to_dict("records") if package == "pandas" else data.to_dicts()
    ranking = reranker.rerank(query, records, rank_by=rank_by, limit=limit)
    indices = [result.index for result in ranking]
    scores = [result.score for result in ranking]
    return _REORDER[package](data, indices, scores, range(1, len(ranking) + 1))  # type: ignore[no-any-return]  # a Frame


def _reorder_pandas(frame: Any, indices: list[int], scores: list[float], ranks: range) -> Any:
    import numpy as np

    return frame.iloc[indices].assign(score=np.array(scores, np.float64), rank=np.array(ranks, np.int64))


def _reorder_polars(frame: Any, indices: list[int], scores: list[float], ranks: range) -> Any:
    import polars

    score = polars.Series("score", scores, polars.Float64)
    rank = polars.Series("rank", ranks, polars.Int64)
    return frame[indices].with_columns(score, rank)


_REORDER = {"pandas": _reorder_pandas, "polars": _reorder_polars}
