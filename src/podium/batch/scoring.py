"""Scoring the queries of a part in windows, so that the model sorts many pairs by length and memory stays constant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from podium.batch.layouts import Query
from podium.ranking import Reranker
from podium.types import Ranking

__all__ = ["ranked", "windows"]

# A window ends with the query that brings it to one of these numbers, so it can be larger by one query.
WINDOW_PAIRS = 4096
WINDOW_QUERIES = 4096
WINDOW_CHARACTERS = 1 << 24


def windows(queries: Iterable[Query]) -> Iterator[list[Query]]:
    """Yield the queries in lists that are scored together."""
    window: list[Query] = []
    pairs = characters = 0
    for query in queries:
        window.append(query)
        pairs += len(query.documents)
        characters += sum(len(document.text) for document in query.documents)
        if pairs >= WINDOW_PAIRS or len(window) >= WINDOW_QUERIES or characters >= WINDOW_CHARACTERS:
            yield window
            window = []
            pairs = characters = 0
    if window:
        yield window


def ranked(window: Sequence[Query], reranker: Reranker) -> list[Ranking]:
    """Return the ranking of each query, with all of its documents. The documents of the results are texts."""
    most_documents = max((len(query.documents) for query in window), default=0)
    return reranker.rerank_many(
        [query.text for query in window],
        [[document.text for document in query.documents] for query in window],
        limit=max(1, most_documents),  # None would mean the reranker's own limit
    )
