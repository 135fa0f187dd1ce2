"""The rerankers of a server, by the names that clients use, and the index that its page can search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.load import load
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

    If there are no `rerankers`, `load` loads the models of the settings. Until then `is_loaded` is False. `source` is the index
    that the page searches, None if there is none.
    """

    def __init__(self, rerankers: Mapping[str, Reranker], source: Source | None = None) -> None:
        self.rerankers = {name: reranker_with_threads(reranker) for name, reranker in rerankers.items()}
        self.source = None if source is None else source_with_threads(source)
        self.is_loaded = bool(rerankers)
        self._owns_rerankers = not rerankers
        self._owns_source = False

    @property
    def names(self) -> list[str]:
        return list(self.rerankers)

    @property
    def distinct_rerankers(self) -> list[Reranker]:
        """The rerankers, without repeats if one has several names."""
        return list({id(reranker): reranker for reranker in self.rerankers.values()}.values())

    def served_name(self, requested: str | None) -> str:
        """Return the name of the model that answers a request: the requested one, else the wildcard; the first for None.

        The result is one of `names`, so it can be a label of metrics. Raises Refusal if there is neither the requested model
        nor a wildcard, or if the models are still loading.
        """
        if not self.is_loaded:
            raise Refusal(503, "the models are still loading; try again when /ready answers 200", retry_after=1)
        if requested is None:
            return next(iter(self.rerankers))
        if requested in self.rerankers:
            return requested
        if WILDCARD in self.rerankers:
            return WILDCARD
        raise Refusal(
            404, f"there is no model {requested[:100]!r} on this server; name one of these: {', '.join(self.rerankers)}"
        )

    async def load(self, settings: Settings) -> None:
        """Load the models and the index of the settings. Names with the same arguments share a model. Raises PodiumError.

        Nothing is loaded if there were `rerankers`.
        """
        if self.is_loaded:
            return
        rerankers: dict[str, Reranker] = {}
        for name, arguments in settings.models.items():
            same = next((other for other in rerankers if settings.models[other] == arguments), None)
            if same is None:
                rerankers[name] = reranker_with_threads(await to_thread(_load_reranker, arguments, settings.cache))
            else:
                rerankers[name] = rerankers[same]
        if settings.index is not None:
            self.source = source_with_threads(await to_thread(load_source, settings.index, settings.source))
            self._owns_source = True
        self.rerankers = rerankers
        self.is_loaded = True

    async def close(self) -> None:
        """Close the rerankers and the index that `load` loaded."""
        if self._owns_rerankers:
            for reranker in self.distinct_rerankers:
                await reranker.aclose()
        if self._owns_source and self.source is not None:
            close_source(self.source)


def _load_reranker(arguments: Mapping[str, Any], cache: str | None) -> Reranker:
    """Load a reranker. Its own arguments may have a `cache`, which replaces the server's."""
    defaults: dict[str, Any] = {"cache": cache}
    return load(**(defaults | dict(arguments)))
