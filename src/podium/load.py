"""A name → Reranker: "podium-mini" · "org/model" · "./folder" · "cohere:rerank-v3.5".

The packages that a model or a provider needs are imported when one is loaded, not before.
"""

from __future__ import annotations

import difflib
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from podium.bundled import BUNDLED
from podium.errors import InvalidInput, ModelNotFound
from podium.inputs import given, refuse, refuse_other_names
from podium.ranking import Reranker
from podium.types import Scorer

if TYPE_CHECKING:
    import httpx

    from podium.hosted.scorer import HostedScorer
    from podium.local.scorer import LocalScorer

__all__ = ["hosted_scorer", "identity", "load", "local_scorer", "provider_of"]


@refuse_other_names
def load(
    name: str | os.PathLike[str],
    *,
    limit: int | None = None,
    rank_by: str | list[str] | None = None,
    return_score: bool = True,
    precision: Literal["float32", "int8", "auto"] | None = None,
    runtime: Literal["native", "onnx", "auto"] | None = None,
    threads: int | None = None,
    max_length: int | None = None,
    calibration: str | os.PathLike[str] | None = None,
    cache: str | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    max_documents: int | None = None,
    client: httpx.Client | None = None,
    async_client: httpx.AsyncClient | None = None,
) -> Reranker:
    """Return the Reranker of a name: a bundled model, a folder, a model on the hub, or "provider:model".

    `limit`, `rank_by` and `return_score` are defaults for every call; `calibration` is a file that `podium calibrate`
    wrote: it turns scores into probabilities; `cache` is the URL of a Redis that remembers scores, for all processes that
    name it.

    For models on this machine: `precision` ("float32", exact; "int8", faster; or "auto"), `runtime` ("native", podium's
    own; "onnx"; or "auto", the faster of them here), `threads`, `max_length` (tokens of query and text together), and for
    those of the hub `revision`, `cache_dir` and `token`.

    For hosted APIs: `api_key` (else the provider's environment variable), `base_url` (a server of your own that speaks the
    provider's API), `timeout` (seconds in all, retries included; 30), `retries` (3), `max_documents` per request, and your
    own `client` or `async_client` of httpx.

    The reranker can be pickled, for processes that are spawned: it is loaded again there, with keys from their environment.

        >>> load("podium-mini", limit=3)
        Reranker('podium-mini')

    Raises ModelError (ModelNotFound, UnsupportedModel), MissingKey, or InvalidInput for options that don't fit.
    """
    local = {"precision": precision, "runtime": runtime, "threads": threads, "max_length": max_length}
    hub = {"revision": revision, "cache_dir": cache_dir, "token": token}
    hosted = {
        "api_key": api_key,
        "base_url": base_url,
        "timeout": timeout,
        "retries": retries,
        "max_documents": max_documents,
        "client": client,
        "async_client": async_client,
    }
    scorer: Scorer
    if provider := provider_of(name):
        refuse(local | hub, f"{provider} is a hosted API; it takes no")
        scorer = hosted_scorer(provider, str(name).partition(":")[2], **given(hosted))
    else:
        refuse(hosted, f"{os.fspath(name)} is a model on this machine; it takes no")
        scorer = local_scorer(name, **given(local | hub))
    if cache is not None:
        scorer = _cached(scorer, cache)
    if calibration is not None:
        from podium.compose.calibrated import CalibratedScorer, read_calibration

        scorer = CalibratedScorer(scorer, read_calibration(calibration))
    reranker = Reranker(scorer, limit=limit, rank_by=rank_by, return_score=return_score)
    settings = {"limit": limit, "rank_by": rank_by, "return_score": return_score, "calibration": calibration, "cache": cache}
    reranker._load_again = functools.partial(load, name, **given(settings | local | hub | hosted))
    return reranker


def local_scorer(
    name: str | os.PathLike[str],
    *,
    precision: Literal["float32", "int8", "auto"] = "float32",
    runtime: Literal["native", "onnx", "auto"] = "auto",
    threads: int | None = None,
    max_length: int | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> LocalScorer:
    """Return the scorer of a bundled model, a folder or a hub model; folders win over hub models of the same name."""
    from podium.local.files.resolve import find
    from podium.local.scorer import LocalScorer

    found = find(name, revision=revision, cache_dir=cache_dir, token=token)
    if found is None:
        raise _unknown(os.fspath(name))
    return LocalScorer(found, precision=precision, runtime=runtime, threads=threads, max_length=max_length)


def hosted_scorer(provider: str, model: str, **options: Any) -> HostedScorer:
    """Return the scorer of a provider's model. `options` are HostedScorer's own."""
    from podium.hosted.scorer import HostedScorer

    return HostedScorer(provider, model, **options)


def check_name(name: str) -> None:
    """Raise ModelNotFound where no model can have this name. Nothing is downloaded, so a hub model may still not exist."""
    from podium.local.files.hub import is_hub_name
    from podium.local.files.resolve import find

    if provider_of(name) is None and not is_hub_name(name) and find(name) is None:
        raise _unknown(name)


def _cached(scorer: Scorer, url: str) -> Scorer:
    from podium.compose.cached import CachedScorer
    from podium.compose.stores.redis import RedisScores

    if getattr(scorer, "listwise", False):
        raise InvalidInput(f"{scorer.model} scores documents against each other; no score of it can be remembered for others")
    return CachedScorer(scorer, RedisScores(url), identity(scorer))


def identity(scorer: Scorer) -> str:
    """Return a name for a scorer that changes whenever its scores could, as far as it can tell."""
    return f"{scorer.model}@{scorer.revision}:{getattr(scorer, 'identity', '')}"


def provider_of(name: str | os.PathLike[str]) -> str | None:
    """Return the provider that a name begins with, or None. A one-letter prefix is a Windows drive."""
    from podium.hosted.providers import PROVIDERS

    if isinstance(name, Path):
        return None
    if not isinstance(name, str) or not name:
        raise InvalidInput(
            "a model is named by a string, such as 'podium-mini', 'org/model', './folder' or 'cohere:rerank-v3.5'"
        )
    prefix, colon, _ = name.partition(":")
    return prefix if colon and prefix in {row.name for row in PROVIDERS} else None


def _unknown(name: str) -> ModelNotFound:
    from podium.hosted.providers import PROVIDERS

    prefix, colon, model = name.partition(":")
    names = [row.name for row in PROVIDERS]
    if colon and len(prefix) > 1:
        near = difflib.get_close_matches(prefix, names, n=1)
        hint = f"did you mean {near[0]}:{model}? " if near else ""
        return ModelNotFound(f"there is no provider {prefix!r}; {hint}known: {', '.join(names)}")
    near = difflib.get_close_matches(name, [*BUNDLED, *names], n=1)
    meant = f"{near[0]}:<model>" if near and near[0] in names else near[0] if near else ""
    hint = f"did you mean {meant}? " if meant else ""
    return ModelNotFound(
        f"there is no model {name!r}; {hint}name a bundled one ({', '.join(BUNDLED)}), a folder (./path), "
        "one on the hub (org/model) or a hosted one (provider:model)"
    )
