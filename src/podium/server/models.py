"""The rerankers of a server, by the names that clients use, and the index that its page can search."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from podium.load import load
from podium.ranking import Reranker
from podium.server.dialects.call import Refusal
from podium.server.settings import Settings
from podium.server.threads import with_own_threads
from podium.types import Source

__all__ = ["Models"]

WILDCARD = "*"
"""The name of a model that answers requests for any name that is not served."""


class Models:
    """Rerankers by name, loaded or still to be: `loaded` says which. The first answers whoever names none."""

    def __init__(self, rerankers: Mapping[str, Reranker], source: Source | None = None) -> None:
        self.rerankers = {name: with_own_threads(reranker) for name, reranker in rerankers.items()}
        self.source = with_own_threads(source)
        self.loaded, self._own = bool(rerankers), not rerankers

    @property
    def names(self) -> list[str]:
        return list(self.rerankers)

    def served_name(self, requested: str | None) -> str:
        """Return the name of the model that answers a request: the requested one, else the wildcard, if it is served.

        The result is one of `names`, so it is safe as a label of metrics. Raises Refusal.
        """
        if not self.loaded:
            raise Refusal(503, "the models are still loading; /ready says when they are there", retry_after=1)
        if requested is None:
            return next(iter(self.rerankers))
        if requested in self.rerankers:
            return requested
        if WILDCARD in self.rerankers:
            return WILDCARD
        raise Refusal(404, f"there is no model {requested[:100]!r} here; there are {', '.join(self.rerankers)}")

    async def load(self, settings: Settings) -> None:
        """Load what a server was started with. Raises PodiumError."""
        if self.loaded:
            return
        rerankers = {
            name: await asyncio.to_thread(_loaded, options, settings.cache) for name, options in settings.models.items()
        }
        if settings.index is not None:
            self.source = with_own_threads(await asyncio.to_thread(_source, settings.index, settings))
        self.rerankers = {name: with_own_threads(reranker) for name, reranker in rerankers.items()}
        self.loaded = True

    async def close(self) -> None:
        """Close what was loaded here; what was given is its giver's."""
        if self._own:
            for reranker in self.rerankers.values():
                await reranker.aclose()


def _loaded(options: Mapping[str, Any], cache: str | None) -> Reranker:
    wanted: dict[str, Any] = {"cache": cache, **options}
    return load(**wanted)


def _source(index: str, settings: Settings) -> Source:
    from podium.places import load_source

    return load_source(index, text=settings.index_text or None, embed=settings.index_embed)
