"""Thread pools for blocking scorers and sources. Each has its own pool, so that one that hangs does not block the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from podium.compose.wrapped import WrappedScorer
from podium.ranking import Reranker
from podium.scorers import as_scorer
from podium.types import AsyncSource, Scorer, Scores, Source

__all__ = ["ThreadPool", "reranker_with_threads", "source_with_threads"]

THREADS_PER_POOL = 16

Result = TypeVar("Result")


class ThreadPool:
    """A thread pool. While all its threads are in use, calls wait in the event loop, where they can still be cancelled."""

    def __init__(self, count: int = THREADS_PER_POOL) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="podium-blocking")
        self._free_threads = asyncio.Semaphore(count)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function on a thread and return its result. If the caller is cancelled, the thread ends the function anyway."""
        loop = asyncio.get_running_loop()

        def release(_: Future[Result]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._free_threads.release)

        await self._free_threads.acquire()
        try:
            future = self._pool.submit(function, *arguments)
        except BaseException:
            self._free_threads.release()
            raise
        future.add_done_callback(release)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class ThreadedScorer(WrappedScorer):
    """A scorer whose blocking `score` runs in a bounded thread pool."""

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


class ThreadedSource:
    """A source whose blocking `search` runs in a bounded thread pool."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text_fields = getattr(source, "text_fields", None)  # a user's source may not have it
        self._thread_pool = ThreadPool()

    def search(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        options = {"offset": offset} if offset else {}  # a user's source may not accept this argument
        return self.source.search(query, limit, **options)

    async def asearch(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        return await self._thread_pool.run(lambda: self.search(query, limit, offset=offset))


def reranker_with_threads(reranker: Reranker) -> Reranker:
    """Return a reranker that does not block the event loop: the same one if its scorer is asynchronous."""
    return reranker if as_scorer(reranker.scorer).is_async else reranker.with_scorer(ThreadedScorer(reranker.scorer))


def source_with_threads(source: Source) -> Source:
    """Return a source that does not block the event loop: the same one if it is asynchronous."""
    return source if isinstance(source, AsyncSource) else ThreadedSource(source)
