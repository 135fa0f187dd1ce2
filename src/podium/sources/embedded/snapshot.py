"""Snapshot: one commit of the full-text index, which stays as it is while it is searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from podium.sources.embedded.tantivy_calls import tantivy, tantivy_calls
from podium.sources.fusion import Hit

__all__ = ["Address", "Snapshot"]

READ_AT_ONCE = 20_000  # documents: finding a batch takes as long as finding all before it
Address = tuple[int, int]
"""A document in a snapshot: the number of its segment, and its number there."""


class Snapshot:
    """The documents of one commit. Hits have an Address as their key; only `stored` and `documents` load documents."""

    def __init__(self, path: Path | None, index: Any, analyzer: Any, weights: Sequence[float]) -> None:
        self._path, self._analyzer, self._weights = path, analyzer, weights
        self._searcher, self._schema = index.searcher(), index.schema
        self._query = tantivy().Query

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def search(self, query: str, offset: int, count: int) -> list[Hit]:
        """Return `count` hits after the `offset` best by BM25, over any word of the query in any field.

        No character of the query is an operator.
        """
        with tantivy_calls(self._path):
            clauses = self._clauses(query)
            if not clauses or not count:
                return []
            hits = self._searcher.search(self._query.boolean_query(clauses), limit=count, count=False, offset=offset).hits
            return [Hit((address.segment_ord, address.doc), float(score)) for score, address in hits]

    def count(self, query: str) -> int:
        """Return how many documents have a word of the query. This takes longer than a search: it visits all of them."""
        with tantivy_calls(self._path):
            clauses = self._clauses(query)
            return int(self._searcher.search(self._query.boolean_query(clauses), limit=1).count) if clauses else 0

    def _clauses(self, query: str) -> list[tuple[Any, Any]]:
        should = tantivy().Occur.Should
        term_counts = Counter(self._analyzer.analyze(query))
        clauses = []
        for field, weight in enumerate(self._weights):
            for term, count in term_counts.items():  # one clause for a word however often it is repeated
                clause = self._query.term_query(self._schema, f"text{field}", term, index_option="freq")
                boost = weight * count
                clauses.append((should, clause if boost == 1 else self._query.boost_query(clause, boost)))
        return clauses

    def stored(self, addresses: Sequence[Any]) -> list[tuple[str, bytes]]:
        """Return the id and the JSON of each document."""
        address_of = tantivy().DocAddress
        with tantivy_calls(self._path):
            documents = [self._searcher.doc(address_of(*address)) for address in addresses]
            return [(document.get_first("id"), document.get_first("document")) for document in documents]

    def documents(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the JSON of the documents that exist, by id."""
        with tantivy_calls(self._path):
            if not ids:
                return {}
            query = self._query.term_set_query(self._schema, "id", list(ids))
            hits = self._searcher.search(query, limit=len(ids), count=False).hits
            return dict(self.stored([(address.segment_ord, address.doc) for _, address in hits]))

    def all_documents(self) -> Iterator[list[bytes]]:
        """Yield the JSON of all documents, in batches."""
        query = self._query.all_query()
        for offset in range(0, len(self), READ_AT_ONCE):
            with tantivy_calls(self._path):
                hits = self._searcher.search(query, limit=READ_AT_ONCE, count=False, offset=offset).hits
            yield [content for _, content in self.stored([(address.segment_ord, address.doc) for _, address in hits])]

    def of_rows(self, rows: Sequence[int]) -> dict[int, Address]:
        """Return the documents that refer to these rows of vectors, by row."""
        with tantivy_calls(self._path):
            if not rows:
                return {}
            query = self._query.term_set_query(self._schema, "row", list(rows))
            hits = self._searcher.search(query, limit=len(rows), count=False, order_by_field="row").hits
            return {int(row): (address.segment_ord, address.doc) for row, address in hits}

    def last_row(self) -> int:
        """Return the highest row that a document refers to, -1 if none does."""
        with tantivy_calls(self._path):
            hits = self._searcher.search(self._query.all_query(), limit=1, count=False, order_by_field="row").hits
            return int(hits[0][0]) if hits and hits[0][0] is not None else -1
