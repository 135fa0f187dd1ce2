"""Between documents and rows of vectors: store the vectors of documents, and find the documents nearest to a vector."""

from __future__ import annotations

from collections.abc import Sequence

from podium.sources.embedded.snapshot import Snapshot
from podium.sources.embedded.vectors import Vectors
from podium.sources.embedding import document_vectors, query_vector
from podium.sources.fusion import Hit
from podium.types import Embed

__all__ = ["append_vectors", "nearest_documents"]


def append_vectors(vectors: Vectors, embed: Embed, texts: Sequence[str]) -> list[int | None]:
    """Write the vectors of documents' texts to the disk. Return the row of each document, None if its text is blank."""
    non_blank = [i for i, text in enumerate(texts) if text.strip()]
    rows: list[int | None] = [None] * len(texts)
    if non_blank:
        new_rows = vectors.append(document_vectors(embed, [texts[i] for i in non_blank]))
        for i, row in zip(non_blank, new_rows, strict=True):
            rows[i] = row
    return rows


def nearest_documents(vectors: Vectors, embed: Embed, snapshot: Snapshot, query: str, count: int) -> list[Hit]:
    """Return the `count` nearest documents. Rows that belong to no document are skipped, so more rows may have to be read."""
    vector = query_vector(embed, query)
    total = len(vectors.rows())
    row_count = count
    while True:
        nearest = vectors.nearest(vector, row_count)
        addresses = snapshot.of_rows([row for row, _ in nearest])
        hits = [Hit(addresses[row], similarity) for row, similarity in nearest if row in addresses]
        if len(hits) >= count or len(nearest) < row_count or row_count >= total:
            return hits[:count]
        row_count *= 4
