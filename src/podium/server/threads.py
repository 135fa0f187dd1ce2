"""Bounded thread pools for scorers and sources that block: one each, so that one that hangs does not block the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from podium.compose.wrapped import WrappedScorer
from podium.ranking import Reranker
from podium.scorers import as_scorer
from podium.types import AsyncSource, Scorer, Scores, Source

__all__ = ["Threads", "reranker_with_threads", "source_with_threads"]

THREADS = 16

Value = TypeVar("Value")


class Threads:
    """A thread pool. Calls that exceed its threads wait in the event loop, where they can be cancelled."""

    def __init__(self, count: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="podium-blocking")
        self._free = asyncio.Semaphore(count)

    async def run(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Return what a function returns. If the caller is cancelled, the thread stays in use until the function ends."""
        loop = asyncio.get_running_loop()

        def release(_: Future[Value]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._free.release)

        await self._free.acquire()
        try:
            future = self._pool.submit(function, *arguments)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(release)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class ThreadedScorer(WrappedScorer):
    """A scorer whose blocking `score` runs in a bounded thread pool."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer)
        self._threads = Threads()

    @property
    def is_async(self) -> bool:
        return True

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.scorer.score(query, texts)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        return await self._threads.run(self.scorer.score, query, texts)

    def close(self) -> None:
        self._threads.close()
        super().close()


class ThreadedSource:
    """A source whose blocking `search` runs in a bounded thread pool."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text_fields = getattr(source, "text_fields", None)
        self._threads = Threads()

    def search(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        # Only podium's own sources accept an offset.
        return self.source.search(query, limit, **({"offset": offset} if offset else {}))

    async def asearch(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        return await self._threads.run(lambda: self.search(query, limit, offset=offset))


def reranker_with_threads(reranker: Reranker) -> Reranker:
    """Return a reranker that does not block the event loop: the same one if its scorer is asynchronous."""
    return reranker if as_scorer(reranker.scorer).is_async else reranker.with_scorer(ThreadedScorer(reranker.scorer))


def source_with_threads(source: Source) -> Source:
    """Return a source that does not block the event loop: the same one if it is asynchronous."""
    return source if isinstance(source, AsyncSource) else ThreadedSource(source)
