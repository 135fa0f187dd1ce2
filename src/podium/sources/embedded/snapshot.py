"""Snapshot: one commit of the full-text index. Later commits do not change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.sources.embedded.filter_queries import Selection
from podium.sources.embedded.filter_terms import KINDS, NAMES, NUMBERS, TERMS, name_of
from podium.sources.embedded.tantivy_calls import tantivy, tantivy_calls
from podium.sources.fusion import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Address", "Snapshot"]

# How many documents a batch has. Smaller batches would take longer: for each one, tantivy also visits all batches before it.
READ_AT_ONCE = 20_000
Address = tuple[int, int]
"""A document in a snapshot: the number of its segment, and its number in that segment."""


class Snapshot:
    """The documents of one commit. Hits have an Address as their key, because loading the documents of all hits is slow.

    `query_words` returns the words of a query as they are indexed. `weights` are the weights of the searched fields.
    """

    def __init__(
        self, path: Path | None, index: Any, query_words: Callable[[str], list[str]], weights: Sequence[float]
    ) -> None:
        self._path = path
        self._query_words = query_words
        self._weights = weights
        self._index = index
        self._searcher = index.searcher()
        self.schema = index.schema
        self._query = tantivy().Query

    def __len__(self) -> int:
        """Return the number of documents."""
        return int(self._searcher.num_docs)

    def search(self, text_query: Any, offset: int, count: int) -> list[Hit]:
        """Return at most `count` hits after the `offset` best by BM25. The query is one of `text_query`."""
        if text_query is None or not count:
            return []
        with tantivy_calls(self._path):
            hits = self._searcher.search(text_query, limit=count, count=False, offset=offset).hits
            return [Hit((address.segment_ord, address.doc), float(score)) for score, address in hits]

    def count(self, query: Any) -> int:
        """Return how many documents match a query object of tantivy, 0 for None.

        This takes longer than a search, which skips most matching documents.
        """
        if query is None:
            return 0
        with tantivy_calls(self._path):
            return int(self._searcher.search(query, limit=1).count)

    def number_query(self, column: str, low: int, high: int) -> Any:
        """Return the query for the documents with a number from `low` to `high` in a column.

        It is parsed, because tantivy's other functions for queries do not accept a column of a JSON field.
        """
        with tantivy_calls(self._path):
            return self._index.parse_query(f"{NUMBERS}.{column}:[{low} TO {high}]", [TERMS])

    def field_kinds(self, name: str) -> set[str]:
        """Return the kinds of a field's values, as in filter_terms.KINDS. The set is empty if no document has the field."""
        with tantivy_calls(self._path):
            queries = {kind: self._query.term_query(self.schema, NAMES, name_of(kind, name), "basic") for kind in KINDS}
            return {kind for kind, query in queries.items() if self._searcher.search(query, limit=1).count}

    def field_names(self) -> list[str]:
        """Return the names of the documents' fields, the most frequent first. If there are over 1,000, some are left out."""
        with tantivy_calls(self._path):
            terms = {"terms": {"field": NAMES, "size": len(KINDS) * 1_000}}
            buckets = self._searcher.aggregate(self._query.all_query(), {NAMES: terms})[NAMES]["buckets"]
            return list(dict.fromkeys(bucket["key"].partition(" ")[2] for bucket in buckets))

    def text_query(self, query: str, selection: Selection | None = None) -> Any:
        """Return tantivy's query for documents with a word of `query` in any field, None if `query` has no words.

        No character of the query is an operator. With a selection, only its documents match; their scores do not change. For
        a query of thousands of words this takes as long as a search.
        """
        with tantivy_calls(self._path):
            clauses = self._clauses(query)
            if not clauses:
                return None
            text_query = self._query.boolean_query(clauses)
            if selection is None:
                return text_query
            must = tantivy().Occur.Must
            return self._query.boolean_query([(must, text_query), (must, self._query.const_score_query(selection.query, 0.0))])

    def _clauses(self, query: str) -> list[tuple[Any, Any]]:
        """Return one optional clause for each field and each different word of the query."""
        should = tantivy().Occur.Should
        term_counts = Counter(self._query_words(query))
        clauses = []
        for i, weight in enumerate(self._weights):
            for term, count in term_counts.items():  # a word has one clause, even if the query repeats it
                clause = self._query.term_query(self.schema, f"text{i}", term, index_option="freq")
                boost = weight * count
                clauses.append((should, clause if boost == 1 else self._query.boost_query(clause, boost)))
        return clauses

    def stored(self, addresses: Iterable[Address]) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the JSON of each document. One document is loaded at a time, because documents may be large."""
        address_of = tantivy().DocAddress
        for address in addresses:
            with tantivy_calls(self._path):
                document = self._searcher.doc(address_of(*address))
                id_and_json = document.get_first("id"), document.get_first("document")
            yield id_and_json

    def documents(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the JSON of the documents that exist, by id."""
        with tantivy_calls(self._path):
            if not ids:
                return {}
            query = self._query.term_set_query(self.schema, "id", list(ids))
            hits = self._searcher.search(query, limit=len(ids), count=False).hits
            return dict(self.stored([(address.segment_ord, address.doc) for _, address in hits]))

    def all_documents(self) -> Iterator[list[bytes]]:
        """Yield the JSON of all documents, in batches."""
        query = self._query.all_query()
        for offset in range(0, len(self), READ_AT_ONCE):
            with tantivy_calls(self._path):
                hits = self._searcher.search(query, limit=READ_AT_ONCE, count=False, offset=offset).hits
            yield [content for _, content in self.stored([(address.segment_ord, address.doc) for _, address in hits])]

    def addresses_of_rows(self, rows: Sequence[int], selection: Selection | None = None) -> dict[int, Address]:
        """Return the documents whose vectors have these rows, by row. With a selection, return only its documents."""
        with tantivy_calls(self._path):
            if not rows:
                return {}
            query = self._query.term_set_query(self.schema, "row", list(rows))
            if selection is not None:
                must = tantivy().Occur.Must
                query = self._query.boolean_query([(must, query), (must, selection.query)])
            return self._by_row(query, len(rows))

    def addresses_of_selection(self, selection: Selection) -> dict[int, Address]:
        """Return the documents of a selection that have a vector, by the vector's row."""
        with tantivy_calls(self._path):
            return self._by_row(selection.query, selection.count) if selection.count else {}

    def _by_row(self, query: Any, limit: int) -> dict[int, Address]:
        hits = self._searcher.search(query, limit=limit, count=False, order_by_field="row").hits
        return {int(row): (address.segment_ord, address.doc) for row, address in hits if row is not None}

    def rows(self) -> NDArray[np.int64]:
        """Return all rows that documents refer to, in ascending order."""
        import numpy as np

        rows: list[int] = []
        query = self._query.all_query()
        for offset in range(0, len(self), READ_AT_ONCE):
            with tantivy_calls(self._path):
                hits = self._searcher.search(query, limit=READ_AT_ONCE, count=False, offset=offset, order_by_field="row").hits
            rows += [row for row, _ in hits if row is not None]
        return np.array(rows[::-1], np.int64)  # tantivy returns the highest row first

    def last_row(self) -> int:
        """Return the highest row that a document refers to, -1 if none does."""
        with tantivy_calls(self._path):
            hits = self._searcher.search(self._query.all_query(), limit=1, count=False, order_by_field="row").hits
            return int(hits[0][0]) if hits and hits[0][0] is not None else -1
