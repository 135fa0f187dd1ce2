"""Calling whatever embeds: podium's Embedder, or any callable from texts to vectors. What comes back is checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.errors import PodiumError, SourceError
from podium.types import Embed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = ["aquery_vector", "document_vectors", "query_vector"]


def document_vectors(embed: Embed, texts: list[str]) -> Vectors:
    """Return a vector per text, float32 of shape (texts, dimensions). Raises SourceError where they are not that."""
    vectors = _called(getattr(embed, "embed_documents", embed), texts)
    return _checked(vectors, len(texts))


def query_vector(embed: Embed, query: str) -> Vectors:
    """Return the query's vector, float32 of shape (dimensions,)."""
    embed_query = getattr(embed, "embed_query", None)
    given = [_called(embed_query, query)] if embed_query else _called(embed, [query])
    row: Vectors = _checked(given, 1)[0]
    return row


async def aquery_vector(embed: Embed, query: str) -> Vectors:
    """Do what `query_vector` does without blocking the event loop."""
    import asyncio

    return await asyncio.to_thread(query_vector, embed, query)


def _called(embed: Any, texts: Any) -> Any:
    try:
        return embed(texts)
    except PodiumError:
        raise
    except Exception as error:
        raise SourceError(
            f"the embedder failed with {type(error).__name__}; call it with a list of one string to see why"
        ) from error


def _checked(given: Any, count: int) -> Vectors:
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # what does not fit is found below
            vectors = np.asarray(given, np.float32)
    except (TypeError, ValueError, RuntimeError):
        vectors = np.zeros(0, np.float32)
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise SourceError(
            f"the embedder gave something of shape {vectors.shape} for {count} texts, not one vector of numbers for each; "
            "embed= takes a list of strings and returns as many vectors"
        )
    if not np.isfinite(vectors).all():
        raise SourceError("the embedder gave a vector with a number that is not finite")
    return vectors
