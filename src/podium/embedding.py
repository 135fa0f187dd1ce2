"""Calls of an embedder, blocking or asynchronous, and checks of its vectors.

An embedder is podium's Embedder, a vectorizer of redisvl, or any function from texts to vectors, also an async one.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any

from podium.errors import Argument, InvalidInput, PodiumError, SourceError
from podium.forks import renew_after_fork
from podium.threads import to_thread
from podium.types import Embed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = [
    "PROBE",
    "adocument_vectors",
    "aquery_vector",
    "check_embedder",
    "document_vectors",
    "dot_products",
    "embedder_name",
    "is_same_embedder",
    "probe_vector",
    "query_vector",
]

PROBE = "podium puts search results in order of relevance"
"""A text whose vector identifies an embedder."""
MIN_SAME_COSINE = 0.95
"""Two vectors of PROBE with at least this cosine are by the same model.

It is 0.98 between int8 and float32 weights of one model, and near 0 between two models.
"""


def check_embedder(embed: Any) -> None:
    """Raise InvalidInput unless an object can embed texts."""
    if not callable(_document_method(embed)):
        problem = " must be an embedder, such as podium.Embedder('org/model'), or a function from texts to vectors, not "
        raise InvalidInput(Argument("embed"), f"{problem}{embed!r:.40}")


def document_vectors(embed: Embed, texts: list[str]) -> Vectors:
    """Return one vector per text, float32 of shape (texts, dimensions). Raises SourceError if the embedder fails."""
    return _checked_vectors(_call(_document_method(embed), texts), len(texts))


async def adocument_vectors(embed: Embed, texts: list[str]) -> Vectors:
    """Do what `document_vectors` does without blocking the event loop."""
    return _checked_vectors(await _acall(_document_method(embed), texts), len(texts))


def query_vector(embed: Embed, query: str) -> Vectors:
    """Return the query's vector, float32 of shape (dimensions,). Raises SourceError if the embedder fails."""
    embed_query = getattr(embed, "embed_query", None)
    vectors = [_call(embed_query, query)] if embed_query else _call(_document_method(embed), [query])
    vector: Vectors = _checked_vectors(vectors, 1)[0]
    return vector


async def aquery_vector(embed: Embed, query: str) -> Vectors:
    """Do what `query_vector` does without blocking the event loop."""
    embed_query = getattr(embed, "embed_query", None)
    vectors = [await _acall(embed_query, query)] if embed_query else await _acall(_document_method(embed), [query])
    vector: Vectors = _checked_vectors(vectors, 1)[0]
    return vector


def embedder_name(embed: Any) -> str | None:
    """Return the name of an embedder's model, None if it does not have one."""
    name = getattr(embed, "model", None)
    return name if isinstance(name, str) else None


def probe_vector(embed: Embed) -> tuple[float, ...]:
    """Return an embedder's vector of PROBE, by which an index recognizes its embedder."""
    return tuple(float(value) for value in document_vectors(embed, [PROBE])[0])


def is_same_embedder(probe: Any, other: Any) -> bool:
    """Whether two vectors of PROBE were computed by the same embedder.

    Both may be zero, by an embedder with a vocabulary that has no word of PROBE.
    """
    import numpy as np

    probe = np.asarray(probe, np.float64)
    other = np.asarray(other, np.float64)
    if probe.shape != other.shape or not (probe.any() and other.any()):
        return probe.shape == other.shape and not probe.any() and not other.any()
    return bool(probe @ other / (np.linalg.norm(probe) * np.linalg.norm(other)) >= MIN_SAME_COSINE)


def dot_products(rows: Vectors, vector: Vectors) -> Vectors:
    """Return the dot product of each row with a vector, shape (rows,). Equal rows have equal products.

    With `rows @ vector` they would not: on some processors, BLAS adds the numbers of the last rows in another order.
    """
    import numpy as np

    products: Vectors = np.einsum("ij,j->i", rows, vector)
    return products


def _document_method(embed: Any) -> Any:
    """Return the function for texts: `embed_documents`, the callable itself, or redisvl's `embed_many`.

    An object that has none of them is returned unchanged, so that calling it raises SourceError.
    """
    method = getattr(embed, "embed_documents", None)
    if method:
        return method
    return embed if callable(embed) else getattr(embed, "embed_many", embed)


def _call(function: Any, texts: Any) -> Any:
    """Return what a function of an embedder, blocking or async, returns for a list of texts or a query. Raises SourceError."""
    try:
        vectors = function(texts)
        if inspect.isawaitable(vectors):
            return _background_loop.result(vectors)
        return vectors
    except PodiumError:
        raise
    except Exception as error:
        raise _embedder_error(error) from error


async def _acall(function: Any, texts: Any) -> Any:
    """Do what `_call` does without blocking the event loop."""
    if not inspect.iscoroutinefunction(function):
        return await to_thread(_call, function, texts)
    try:
        return await function(texts)
    except PodiumError:
        raise
    except Exception as error:
        raise _embedder_error(error) from error


class _BackgroundLoop:
    """The event loop that blocking calls run async embedders on.

    All calls use the same loop, because an HTTP client of an embedder belongs to the loop in which it was first used.
    """

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Start without a loop in a forked process, which does not have the thread that runs its parent's loop."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def result(self, awaitable: Any) -> Any:
        """Return the result of any awaitable. Raises the exceptions that it raises."""
        result, interrupt = asyncio.run_coroutine_threadsafe(_result_or_interrupt(awaitable), self._running_loop()).result()
        if interrupt:
            raise interrupt
        return result

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="podium-embed").start()
            return self._loop


_background_loop = _BackgroundLoop()


async def _result_or_interrupt(awaitable: Any) -> tuple[Any, BaseException | None]:
    """Return the result of an awaitable, or the SystemExit or KeyboardInterrupt that it raised, which would end the loop."""
    try:
        return await awaitable, None
    except (SystemExit, KeyboardInterrupt) as interrupt:
        return None, interrupt


def _embedder_error(error: Exception) -> SourceError:
    return SourceError(f"the embedder failed with {type(error).__name__}; call it with a list of one string to see why")


def _checked_vectors(vectors: Any, count: int) -> Vectors:
    """Return `count` vectors as float32. Raises SourceError for another number or shape, NaN, or infinity."""
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # numbers that are too large for float32 become infinite and are refused below
            array = np.asarray(vectors, np.float32)
    except (TypeError, ValueError, RuntimeError):
        array = np.zeros(0, np.float32)
    if array.ndim != 2 or len(array) != count or not array.shape[1]:
        raise SourceError(
            f"the embedder returned an array of shape {array.shape} for {count} texts instead of one vector for each; "
            "an embedder takes a list of strings and returns as many vectors"
        )
    if not np.isfinite(array).all():
        raise SourceError("the embedder returned a vector with NaN or infinity; check the embedder with the same texts")
    return array
