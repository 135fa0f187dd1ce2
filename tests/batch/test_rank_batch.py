"""RankBatch, the callable class for Ray Data, without Ray. tests/ray runs it in Ray Data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from podium.errors import InvalidInput
from podium.integrations.ray import RankBatch

ROWS = [
    {"name": "a", "q": "a red fruit", "docs": [{"title": "the sea"}, {"title": "a ripe red apple"}]},
    {"name": "b", "q": "the sea", "docs": []},
    {"name": "c", "q": "the sea", "docs": [{"title": "a wave"}]},
]


def test_batch_has_a_row_per_result_with_copied_columns(mini):
    rank = RankBatch(query="q", documents="docs", copy=["name"], rank_by="title", threads=1)
    results = rank(pa.Table.from_pylist(ROWS))
    assert results.schema.names == ["name", "index", "rank", "score", "tokens", "dropped_tokens"]
    scores = [
        result.score
        for row in ROWS
        for result in mini.rerank(row["q"], row["docs"], rank_by=["title"] if row["docs"] else None)
    ]
    assert results.select(["name", "index", "rank"]).to_pylist() == [
        {"name": "a", "index": 1, "rank": 1},
        {"name": "a", "index": 0, "rank": 2},
        {"name": "c", "index": 0, "rank": 1},
    ]
    assert results["score"].to_pylist() == scores


def test_copied_column_with_the_name_of_a_result_is_refused():
    with pytest.raises(InvalidInput, match="the results already have a column score"):
        RankBatch(copy=["score"])


def test_limit_is_applied_and_a_missing_column_is_an_error():
    rank = RankBatch(query="q", documents="docs", limit=1, rank_by="title", load_options={"max_length": 64})
    assert len(rank(pa.Table.from_pylist(ROWS))) == 2
    with pytest.raises(InvalidInput, match="the batch has no column docs; it has q"):
        rank(pa.table({"q": ["a"]}))
