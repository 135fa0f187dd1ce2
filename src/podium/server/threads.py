"""Thread pools for blocking scorers and sources. Each has its own pool, so that one that hangs does not block the others."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from podium.compose.wrapped import WrappedScorer
from podium.local.cpu import cores
from podium.ranking import Reranker
from podium.scorers import as_scorer
from podium.sources.embedded.index import EmbeddedIndex
from podium.threads import convert_stop_iteration
from podium.types import AsyncSource, Candidates, Scorer, Scores, Source

__all__ = ["ThreadPool", "close_source", "reranker_with_threads", "source_with_threads"]

THREADS_PER_POOL = 16

Result = TypeVar("Result")


class ThreadPool:
    """A thread pool. While all its threads are in use, calls wait in the event loop, where they can still be cancelled."""

    def __init__(self, count: int = THREADS_PER_POOL) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="podium-blocking")
        self._free_threads = asyncio.Semaphore(count)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function on a thread, in the caller's context (see contextvars), and return its result.

        If the caller is cancelled, the function still runs to its end on the thread. A StopIteration becomes a RuntimeError.
        """
        loop = asyncio.get_running_loop()

        def release(_: Future[Result]) -> None:  # It is called on the function's thread, and the semaphore is the event loop's.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._free_threads.release)

        await self._free_threads.acquire()
        try:
            future = self._pool.submit(contextvars.copy_context().run, convert_stop_iteration(function), *arguments)
        except BaseException:
            self._free_threads.release()
            raise
        future.add_done_callback(release)
        try:
            return await asyncio.wrap_future(future)
        finally:
            # A failed future refers to its exception, whose traceback refers to this frame. Without this line, the frame would
            # refer to the future, and the documents of a failed search would stay in memory until garbage is collected.
            del future

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class ThreadedScorer(WrappedScorer):
    """A scorer whose blocking `score` runs in a ThreadPool."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer)
        self._thread_pool = ThreadPool()

    @property
    def is_async(self) -> bool:
        return True

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.scorer.score(query, texts)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        return await self._thread_pool.run(self.scorer.score, query, texts)

    def close(self) -> None:
        self._thread_pool.close()
        super().close()

    async def aclose(self) -> None:
        self._thread_pool.close()
        await super().aclose()


class ThreadedSource:
    """A source whose blocking `search` runs in a ThreadPool."""

    def __init__(self, source: Source, thread_count: int = THREADS_PER_POOL) -> None:
        self.source = source
        self.text_fields = getattr(source, "text_fields", None)  # a user's source may not have this attribute
        self._thread_pool = ThreadPool(thread_count)

    def search(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        options = {"offset": offset} if offset else {}  # a user's source may not accept this argument
        documents = self.source.search(query, limit, **options)
        # Without `counted`, the source would be searched again, in the event loop, when the number of all hits is read.
        return documents.counted() if isinstance(documents, Candidates) else documents

    async def asearch(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        return await self._thread_pool.run(lambda: self.search(query, limit, offset=offset))

    def close(self) -> None:
        """Close the source. The threads end after their current searches, which may fail because of that."""
        self._thread_pool.close()
        close_source(self.source)


def reranker_with_threads(reranker: Reranker) -> Reranker:
    """Return a reranker that does not block the event loop. It is the same reranker if its scorer is asynchronous."""
    return reranker if as_scorer(reranker.scorer).is_async else reranker.with_scorer(ThreadedScorer(reranker.scorer))


def close_source(source: Source) -> None:
    """Close a source if it has a method for that. A user's source may not have one."""
    if callable(close := getattr(source, "close", None)):
        close()


def source_with_threads(source: Source) -> Source:
    """Return a source that does not block the event loop.

    A blocking source gets its own threads, and an asynchronous one is returned. An embedded index is asynchronous, but it uses
    the threads that all of the event loop's blocking calls share. So it gets its own ones, too, at most one per processor.
    """
    if isinstance(source, EmbeddedIndex):
        return ThreadedSource(source, cores())
    return source if isinstance(source, AsyncSource) else ThreadedSource(source)
