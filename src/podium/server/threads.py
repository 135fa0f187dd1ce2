"""Bounded thread pools for scorers and sources that block, one for each, so that one that hangs cannot block the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from podium.compose.wrapped import WrappedScorer
from podium.ranking import Reranker
from podium.scorers import as_scorer
from podium.types import AsyncSource, Scorer, Scores, Source

__all__ = ["Threads", "with_own_threads"]

THREADS = 16

T = TypeVar("T")


class Threads:
    """A pool of threads. A call beyond their number waits in the event loop, where it can be cancelled."""

    def __init__(self, count: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="podium-blocking")
        self._free = asyncio.Semaphore(count)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a function returns. A thread stays taken until the function ends, also where the caller gave up."""
        loop = asyncio.get_running_loop()

        def release(_: Future[T]) -> None:
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
    """A scorer whose blocking `score` runs on a bounded pool of threads."""

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
    """A source that blocks, made asynchronous."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text_fields = getattr(source, "text_fields", None)
        self._threads = Threads()

    def search(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        # Only podium's own sources take an offset.
        return self.source.search(query, limit, **({"offset": offset} if offset else {}))

    async def asearch(self, query: str, limit: int, *, offset: int = 0) -> list[Any]:
        return await self._threads.run(lambda: self.search(query, limit, offset=offset))


def with_own_threads(used: Any) -> Any:
    """Return a reranker or a source that does not block the event loop; one that never does is returned as it is."""
    if isinstance(used, Reranker):
        return used if as_scorer(used.scorer).is_async else used.with_scorer(ThreadedScorer(used.scorer))
    return used if used is None or isinstance(used, AsyncSource) else ThreadedSource(used)
