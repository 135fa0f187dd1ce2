"""Ray Data: RankBatch, a callable class for `map_batches` that reranks the documents of each row.

    import ray
    from podium.integrations.ray import RankBatch

    dataset.map_batches(
        RankBatch,
        fn_constructor_kwargs={"threads": 4, "copy": ["query_id"]},
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=4,
    )

`num_cpus` does not limit a model's threads, so `threads` must be the same number. Ray Data does not keep the order of rows, so
copy a column by which the results can be sorted. After an error it stops, and a job that runs again computes all rows again;
`podium batch --engine ray` continues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.errors import Argument, InvalidInput
from podium.extras import import_optional
from podium.integrations import required_package
from podium.load import load

with required_package("pyarrow"):
    import_optional("pyarrow", "batch")

__all__ = ["RankBatch"]


RESULT_COLUMNS = ("index", "rank", "score", "tokens", "dropped_tokens")


class RankBatch:
    """Reranks the rows of a pyarrow Table, which have a query and a list of documents each.

    Returns a Table with a row per result: the columns `copy` of the query's row, `index`, `rank` and `score`, `tokens` and
    `dropped_tokens`. `query` and `documents` are names of columns; documents are strings or records. `model` and `threads` are
    arguments of podium.load, and `load_options` has others. `limit` and `rank_by` are as in `rerank`. Raises InvalidInput if a
    column is missing, and the errors of `rerank`.
    """

    def __init__(
        self,
        model: str = "podium-mini",
        *,
        query: str = "query",
        documents: str = "documents",
        copy: str | Sequence[str] = (),
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        threads: int | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._query = query
        self._documents = documents
        self._copy = [copy] if isinstance(copy, str) else list(copy)
        for name in self._copy:
            if name in RESULT_COLUMNS:
                raise InvalidInput(Argument("copy"), f": the results already have a column {name}; rename the column first")
        options = {**(load_options or {}), "limit": limit, "rank_by": rank_by, "threads": threads}
        self._reranker = load(model, **options)

    def __call__(self, batch: Any) -> Any:
        arrow = import_optional("pyarrow", "batch")
        if missing := {self._query, self._documents, *self._copy} - set(batch.column_names):
            names = ", ".join(sorted(missing))
            raise InvalidInput(f"the batch has no column {names}; it has {', '.join(batch.column_names)}")
        rankings = self._reranker.rerank_many(batch[self._query].to_pylist(), batch[self._documents].to_pylist())
        results = [result for ranking in rankings for result in ranking]
        rows = arrow.array([row for row, ranking in enumerate(rankings) for _ in ranking], arrow.int64())
        columns = {
            "index": arrow.array([result.index for result in results], arrow.int32()),
            "rank": arrow.array([result.rank for result in results], arrow.int32()),
            "score": arrow.array([result.score_or_none for result in results], arrow.float64()),
            "tokens": arrow.array([result.tokens for result in results], arrow.int32()),
            "dropped_tokens": arrow.array([result.dropped_tokens for result in results], arrow.int32()),
        }
        return arrow.table({**{name: batch[name].take(rows) for name in self._copy}, **columns})
