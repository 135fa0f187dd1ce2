"""Store the vectors of documents as rows, and find the documents whose rows are nearest to a query's vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.embedding import document_vectors, query_vector
from podium.sources.embedded.filter_queries import Selection
from podium.sources.embedded.generations import Generation
from podium.sources.embedded.snapshot import Snapshot
from podium.sources.fusion import Hit
from podium.types import Embed

__all__ = ["append_vectors", "nearest_documents"]

ALL_COMPARED = 20_000  # the largest number of filtered documents whose vectors are all compared, which takes 10 ms


def append_vectors(generation: Generation, embed: Embed, texts: Sequence[str]) -> list[int | None]:
    """Write the vectors of documents' texts to the disk. Return the row of each document, None if its text is blank."""
    non_blank = [i for i, text in enumerate(texts) if text.strip()]
    rows: list[int | None] = [None] * len(texts)
    if non_blank:
        new_rows = generation.append(document_vectors(embed, [texts[i] for i in non_blank]))
        for i, row in zip(non_blank, new_rows, strict=True):
            rows[i] = row
    return rows


def nearest_documents(
    generation: Generation, embed: Embed, snapshot: Snapshot, query: str, count: int, selection: Selection | None = None
) -> list[Hit]:
    """Return the `count` nearest documents, or fewer if there are fewer. With a selection, return its nearest documents.

    If the selection is small, all its vectors are compared. If it is large, the nearest rows of the whole index are searched
    for documents of the selection; all its vectors are compared only if that finds too few.
    """
    vector = query_vector(embed, query)
    if selection is None:
        return _nearest_of_all(generation, snapshot, vector, count, row_count=count)
    if selection.count > ALL_COMPARED:
        # If the selection is spread evenly, about this many nearest rows contain `count` of its documents.
        row_count = count * len(snapshot) // selection.count + count
        hits = _nearest_of_all(generation, snapshot, vector, count, row_count=row_count, selection=selection)
        if len(hits) == count:
            return hits
    addresses = snapshot.addresses_of_selection(selection)
    return [Hit(addresses[row], similarity) for row, similarity in generation.nearest_of(sorted(addresses), vector, count)]


def _nearest_of_all(
    generation: Generation, snapshot: Snapshot, vector: Any, count: int, *, row_count: int, selection: Selection | None = None
) -> list[Hit]:
    """Return the `count` nearest documents, by looking at the `row_count` nearest rows.

    Rows that belong to no document, or to no document of the selection, are skipped. If too few documents remain, this looks
    at four times as many rows.
    """
    while True:
        nearest = generation.nearest(vector, row_count)
        addresses = snapshot.addresses_of_rows([row for row, _ in nearest], selection)
        hits = [Hit(addresses[row], similarity) for row, similarity in nearest if row in addresses]
        # The rows are counted after the search: another process may have added some that the snapshot does not have.
        if len(hits) >= count or len(nearest) < row_count or row_count >= len(generation):
            return hits[:count]
        row_count *= 4
