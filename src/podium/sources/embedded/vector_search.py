"""Between documents and rows of vectors: store the vectors of documents, and find the documents nearest to a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from podium.errors import SourceError
from podium.sources.embedded.snapshot import Snapshot
from podium.sources.embedded.vectors import Vectors
from podium.sources.embedding import document_vectors, query_vector
from podium.sources.fusion import Hit
from podium.types import Embed

if TYPE_CHECKING:
    from podium.sources.embedded.vectors import Rows

__all__ = ["append_vectors", "nearest_documents"]


def append_vectors(vectors: Vectors, embed: Embed, texts: Sequence[str]) -> list[int | None]:
    """Write the vectors of documents' texts to the disk. Return the row of each document, None if its text is blank."""
    non_blank = [i for i, text in enumerate(texts) if text.strip()]
    rows: list[int | None] = [None] * len(texts)
    if non_blank:
        embedded = document_vectors(embed, [texts[i] for i in non_blank])
        _check_dimensions(embedded.shape[1], vectors)
        for i, row in zip(non_blank, vectors.append(embedded), strict=True):
            rows[i] = row
    return rows


def nearest_documents(vectors: Vectors, embed: Embed, snapshot: Snapshot, query: str, count: int) -> list[Hit]:
    """Return the `count` nearest documents. Rows that belong to no document are skipped, so more rows may have to be read."""
    vector: Rows = query_vector(embed, query)
    _check_dimensions(len(vector), vectors)
    total = len(vectors.rows())
    wanted = count
    while True:
        nearest = vectors.nearest(vector, wanted)
        addresses = snapshot.of_rows([row for row, _ in nearest])
        hits = [Hit(addresses[row], similarity) for row, similarity in nearest if row in addresses]
        if len(hits) >= count or len(nearest) < wanted or wanted >= total:
            return hits[:count]
        wanted *= 4


def _check_dimensions(dimensions: int, vectors: Vectors) -> None:
    if dimensions != vectors.dimensions:
        raise SourceError(
            f"the embedder returned {dimensions} dimensions; this index has {vectors.dimensions}. Use the embedder that the "
            "index was created with"
        )
