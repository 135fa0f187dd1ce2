"""Calling an embedder, sync or async, and checking what it returns.

An embedder is podium's Embedder, a vectorizer of redisvl, or any function from texts to vectors, async functions included.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any

from podium.errors import PodiumError, SourceError
from podium.types import Embed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = ["PROBE", "adocument_vectors", "aquery_vector", "document_vectors", "is_same_embedder", "query_vector"]

# How alike the vectors of one sentence must be for two embedders to count as the same: int8 weights stay above 0.98 of
# float32's, other models are near 0.
PROBE, SAME_EMBEDDER = "podium puts search results in order of relevance", 0.95


def document_vectors(embed: Embed, texts: list[str]) -> Vectors:
    """Return a vector per text, float32 of shape (texts, dimensions). Raises SourceError where they are not that."""
    return _checked(_called(_for_documents(embed), texts), len(texts))


async def adocument_vectors(embed: Embed, texts: list[str]) -> Vectors:
    """Do what `document_vectors` does without blocking the event loop."""
    return _checked(await _acalled(_for_documents(embed), texts), len(texts))


def query_vector(embed: Embed, query: str) -> Vectors:
    """Return the query's vector, float32 of shape (dimensions,)."""
    embed_query = getattr(embed, "embed_query", None)
    vectors = [_called(embed_query, query)] if embed_query else _called(_for_documents(embed), [query])
    row: Vectors = _checked(vectors, 1)[0]
    return row


async def aquery_vector(embed: Embed, query: str) -> Vectors:
    """Do what `query_vector` does without blocking the event loop."""
    embed_query = getattr(embed, "embed_query", None)
    vectors = [await _acalled(embed_query, query)] if embed_query else await _acalled(_for_documents(embed), [query])
    row: Vectors = _checked(vectors, 1)[0]
    return row


def is_same_embedder(probe: Any, other: Any) -> bool:
    """Compare two embedders by their vectors of PROBE."""
    import numpy as np

    one, two = np.asarray(probe, np.float64), np.asarray(other, np.float64)
    lengths = np.linalg.norm(one) * np.linalg.norm(two)
    return bool(one.shape == two.shape and lengths and one @ two / lengths >= SAME_EMBEDDER)


def _for_documents(embed: Any) -> Any:
    """Return the method for texts: `embed_documents`, the callable itself, or redisvl's `embed_many`."""
    method = getattr(embed, "embed_documents", None)
    return method or (embed if callable(embed) else getattr(embed, "embed_many", embed))


def _called(embed: Any, texts: Any) -> Any:
    try:
        vectors = embed(texts)
        if inspect.isawaitable(vectors):
            return asyncio.run_coroutine_threadsafe(_result(vectors), _background_loop()).result()
        return vectors
    except PodiumError:
        raise
    except Exception as error:
        raise _failed(error) from error


async def _acalled(embed: Any, texts: Any) -> Any:
    if not inspect.iscoroutinefunction(embed):
        return await asyncio.to_thread(_called, embed, texts)
    try:
        return await embed(texts)
    except PodiumError:
        raise
    except Exception as error:
        raise _failed(error) from error


async def _result(awaitable: Any) -> Any:
    return await awaitable


@functools.cache
def _background_loop() -> asyncio.AbstractEventLoop:
    """Return one event loop for async embedders in blocking calls: an async HTTP client is bound to its first loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="podium-embed").start()
    return loop


def _failed(error: Exception) -> SourceError:
    return SourceError(f"the embedder failed with {type(error).__name__}; call it with a list of one string to see why")


def _checked(vectors: Any, count: int) -> Vectors:
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # numbers that do not fit become infinite, and are refused below
            array = np.asarray(vectors, np.float32)
    except (TypeError, ValueError, RuntimeError):
        array = np.zeros(0, np.float32)
    if array.ndim != 2 or len(array) != count or not array.shape[1]:
        raise SourceError(
            f"the embedder returned something of shape {array.shape} for {count} texts, not one vector of numbers for each; "
            "embed= takes a list of strings and returns as many vectors"
        )
    if not np.isfinite(array).all():
        raise SourceError("the embedder returned a vector with a number that is not finite")
    return array
