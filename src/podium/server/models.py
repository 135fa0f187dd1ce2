"""The rerankers of a server, by the names that clients use, and the index that its page can search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.load import load as load_reranker
from podium.places import load_source
from podium.ranking import Reranker
from podium.server.dialects.call import Refusal
from podium.server.settings import Settings
from podium.server.threads import close_source, reranker_with_threads, source_with_threads
from podium.threads import to_thread
from podium.types import Source

__all__ = ["Models"]

WILDCARD = "*"
"""The name of a model that answers requests for any name that is not served."""


class Models:
    """Rerankers by name. The first one answers requests that name no model.

    If `rerankers` is empty, `load` loads the models and the index of the settings. Until then, `is_loaded` is False.
    `source` is the index that the page searches, None if there is none.
    """

    def __init__(self, rerankers: Mapping[str, Reranker], source: Source | None = None) -> None:
        by_identity = {id(reranker): reranker_with_threads(reranker) for reranker in rerankers.values()}
        self.rerankers = {name: by_identity[id(reranker)] for name, reranker in rerankers.items()}
        self.source = None if source is None else source_with_threads(source)
        self.is_loaded = bool(rerankers)
        self._owns_rerankers = not rerankers  # Rerankers and a source that were passed are closed by the caller.
        self._owns_source = False

    @property
    def names(self) -> list[str]:
        return list(self.rerankers)

    @property
    def distinct_rerankers(self) -> list[Reranker]:
        """The rerankers. A reranker with several names is in the list once."""
        by_identity = {id(reranker): reranker for reranker in self.rerankers.values()}
        return list(by_identity.values())

    def served_name(self, requested: str | None) -> str:
        """Return which of `names` answers a request: `requested` if it is one, the first if it is None, or else the wildcard.

        Names from requests are never returned, so the result can be a label of metrics. Raises Refusal if no model can answer,
        or if the models are still loading.
        """
        self._check_loaded()
        if requested is None:
            return next(iter(self.rerankers))
        if requested in self.rerankers:
            return requested
        if WILDCARD in self.rerankers:
            return WILDCARD
        raise Refusal(
            404, f"there is no model {requested[:100]!r} on this server; name one of these: {', '.join(self.rerankers)}"
        )

    def searched_source(self) -> Source:
        """Return the index. Raises Refusal if there is none, or if the models and the index are still loading."""
        self._check_loaded()
        if self.source is None:
            raise Refusal(404, "this server has no index; start it with podium serve --index PLACE")
        return self.source

    def _check_loaded(self) -> None:
        if not self.is_loaded:
            raise Refusal(503, "the models are still loading; try again when /ready answers 200", retry_after=1)

    async def load(self, settings: Settings) -> None:
        """Load the models and the index of the settings, unless the constructor got rerankers.

        Names with the same arguments share a reranker. Raises PodiumError if a model or the index cannot be loaded.
        """
        if self.is_loaded:
            return
        rerankers: dict[str, Reranker] = {}
        for name, arguments in settings.models.items():
            earlier_name = next((other for other in rerankers if settings.models[other] == arguments), None)
            if earlier_name is None:
                rerankers[name] = reranker_with_threads(await to_thread(_load, arguments, settings.cache))
            else:
                rerankers[name] = rerankers[earlier_name]
        if settings.index is not None:
            self.source = source_with_threads(await to_thread(load_source, settings.index, settings.source))
            self._owns_source = True
        self.rerankers = rerankers
        self.is_loaded = True

    async def close(self) -> None:
        """Close the rerankers and the index if `load` loaded them."""
        if self._owns_rerankers:
            for reranker in self.distinct_rerankers:
                await reranker.aclose()
        if self._owns_source and self.source is not None:
            close_source(self.source)


def _load(arguments: Mapping[str, Any], cache: str | None) -> Reranker:
    """Load a reranker. `cache` is used if its arguments have no `cache`."""
    defaults: dict[str, Any] = {"cache": cache}
    return load_reranker(**(defaults | dict(arguments)))
