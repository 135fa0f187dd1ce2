"""Load a Reranker by a model's name: "podium-mini", "org/model", "./folder" or "cohere:rerank-v3.5".

The packages that a model or a provider needs are imported when it is loaded.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from podium.bundled import BUNDLED
from podium.errors import InvalidInput, ModelError, ModelNotFound
from podium.inputs import checked_instruction, refuse, refuse_unknown_names, without_none
from podium.options import Option
from podium.ranking import Reranker
from podium.scorers import BaseScorer

if TYPE_CHECKING:
    import httpx

    from podium.hosted.scorer import HostedScorer
    from podium.local.decoders.scorer import DecoderScorer
    from podium.local.late.scorer import LateInteraction
    from podium.local.scorer import LocalScorer

__all__ = [
    "HOSTED_OPTIONS",
    "LOCAL_OPTIONS",
    "SCORE_OPTIONS",
    "check_name",
    "hosted_scorer",
    "is_stack",
    "load",
    "local_scorer",
    "provider_of",
]

MAX_THREADS = 1024  # more than any machine has processors; each takes memory
MIN_SIMILARITY = 0.7  # of a name and the one that was probably meant; difflib computes it
# The options of `load` that files can have, which describe models: not the limits of a call, secrets, or clients.
LOCAL_OPTIONS = (
    Option("precision", Literal["float32", "int8", "auto"]),
    Option("runtime", Literal["native", "onnx", "auto"]),
    Option("threads", int, minimum=1, maximum=MAX_THREADS),
    Option("max_length", int, minimum=1),
    Option("encoding", Literal["int8", "float16", "float32"]),
    Option("pooling", int, minimum=1, maximum=3),
    Option("score", Literal["sum", "mean"]),
    Option("keep", int | str),
    Option("instruction", str),
    Option("revision", str),
    Option("cache_dir", str),
)
HOSTED_OPTIONS = (
    Option("base_url", str),
    Option("timeout", float, above=0),
    Option("retries", int, minimum=0),
    Option("max_documents", int, minimum=1),
)
SCORE_OPTIONS = (Option("calibration", str), Option("cache", str))


@refuse_unknown_names
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
    encoding: Literal["int8", "float16", "float32"] | None = None,
    pooling: int | None = None,
    score: Literal["sum", "mean"] | None = None,
    keep: int | str | os.PathLike[str] | None = None,
    instruction: str | None = None,
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
    """Return the Reranker for a bundled model, a folder, a model on the Hugging Face hub, "provider:model", or "stack.toml".

    "podium-multi" needs the extra `multilingual`. Other packages can add models, too (podium.local.files.distributions).

    A name that ends with .toml is that of a configuration file, which describes compositions, models and their options. Of the
    options of models, it accepts only `threads` and `instruction`.

    For every model:

    - `limit`, `rank_by`, `return_score`: defaults for every call.
    - `calibration`: a file written by `podium calibrate`, which turns scores into probabilities. It must have been fitted
      on a model of this name and revision. For a hosted model, `base_url` may differ.
    - `cache`: where scores are cached: "memory" (200,000 scores in this process), or the URL of a Redis that processes share.

    For models on this machine:

    - `precision`: "float32" (exact), "int8" (faster) or "auto"; by default int8 for podium-mini, else float32.
    - `runtime`: "native" (podium's own), "onnx" (podium's extra of this name), or "auto" (the faster one of those installed).
    - `threads`: number of threads.
    - `max_length`: maximum number of tokens of query and text together, of the text alone for late interaction, or of the
      prompt for language models (see docs/decoders.md). The default and the upper limit is what the model reads.
    - `revision`, `cache_dir`, `token`: for models on the hub.

    For models with late interaction (podium-mini, ColBERT), which encode a text as token vectors and can store these:

    - `encoding`: the number format of the stored token vectors, "int8" (default), "float16" or "float32".
    - `pooling`: how many token vectors are averaged to one: 1 (none are averaged, default), 2 or 3.
    - `score`: for ColBERT models, the "sum" (default) or the "mean" of the similarities of a query's tokens.
    - `keep`: where the token vectors of a text are stored, so that the text is not read again. A number is a number of
      bytes in memory (default 64 MB, 0 for none). A path is a folder, which processes may share. A URL is a Redis, with 64 MB
      of memory in front of it.

    For language models (Qwen3-Reranker, mxbai-rerank-v2 and others):

    - `instruction`: describes relevant documents, such as "Prefer recent medical research". A call can have another one. The
      default is that of the model. Instructions are for models that were trained with them, and best in English.

    For hosted APIs:

    - `api_key`: default is the provider's environment variable.
    - `base_url`: another server with the provider's API.
    - `timeout`: seconds until the last reply must have arrived, retries included, default 30.
    - `retries`: how often a failed request is sent again, default 3.
    - `max_documents`: maximum number of documents per request.
    - `client`, `async_client`: your own httpx clients.

    A reranker can be pickled; the other process loads it again, with keys from its own environment.

        >>> load("podium-mini", limit=3)
        Reranker('podium-mini')

    Raises ModelError (ModelNotFound, UnsupportedModel), MissingKey, or InvalidInput, also for options that the model does not
    have.
    """
    local_options: dict[str, Any] = {
        "precision": precision,
        "runtime": runtime,
        "threads": threads,
        "max_length": max_length,
        "encoding": encoding,
        "pooling": pooling,
        "score": score,
        "keep": keep,
        "instruction": instruction,
        "revision": revision,
        "cache_dir": cache_dir,
        "token": token,
    }
    hosted_options = {
        "api_key": api_key,
        "base_url": base_url,
        "timeout": timeout,
        "retries": retries,
        "max_documents": max_documents,
        "client": client,
        "async_client": async_client,
    }
    scorer: BaseScorer
    candidates: int | None = None
    provider = provider_of(name)
    if is_stack(name):
        refuse(
            local_options | hosted_options | {"threads": None, "instruction": None},
            f"{os.fspath(name)} has the options of its models in it, so a call does not take",
        )
        from podium.stacks import read_stack

        stack = read_stack(name)
        scorer = stack.scorer(threads=threads)
        if instruction is not None:
            scorer = scorer.with_instruction(checked_instruction(instruction))
        limit = stack.limit if limit is None else limit
        rank_by = stack.rank_by if rank_by is None else rank_by
        candidates = stack.candidates
    elif provider is not None:
        refuse(local_options, f"{provider} is a hosted API and does not have the option")
        scorer = hosted_scorer(provider, str(name).partition(":")[2], **without_none(hosted_options))
    else:
        if any(value is not None for value in hosted_options.values()):
            _refuse_name_like_a_provider(os.fspath(name))
        refuse(hosted_options, f"{os.fspath(name)} is a model on this machine and does not have the option")
        scorer = local_scorer(name, **without_none(local_options))
    scorer = _wrapped(scorer, cache, calibration)
    reranker = Reranker(scorer, limit=limit, rank_by=rank_by, return_score=return_score)
    reranker.candidates = candidates
    options = {"limit": limit, "rank_by": rank_by, "return_score": return_score, "calibration": calibration, "cache": cache}
    options |= local_options | hosted_options
    reranker._load_again = functools.partial(load, name, **without_none(options))
    return reranker


def _wrapped(scorer: BaseScorer, cache: str | None, calibration: str | os.PathLike[str] | None) -> BaseScorer:
    """Return a scorer with a cache and a calibration, if they are not None."""
    if cache is not None:
        from podium.compose.cached import CachedScorer
        from podium.compose.stores import open_store

        scorer = CachedScorer(scorer, open_store(cache))
    if calibration is not None:
        from podium.compose.calibrated import CalibratedScorer, read_calibration

        scorer = CalibratedScorer(scorer, read_calibration(calibration))
    return scorer


def local_scorer(
    name: str | os.PathLike[str],
    *,
    precision: Literal["float32", "int8", "auto"] | None = None,
    runtime: Literal["native", "onnx", "auto"] = "auto",
    threads: int | None = None,
    max_length: int | None = None,
    encoding: Literal["int8", "float16", "float32"] | None = None,
    pooling: int | None = None,
    score: Literal["sum", "mean"] | None = None,
    keep: int | str | os.PathLike[str] | None = None,
    instruction: str | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> LocalScorer | LateInteraction | DecoderScorer:
    """Return the scorer of a bundled model, a folder or a hub model. A folder takes precedence over a hub model.

    The options are those of `load`. Raises ModelError, and InvalidInput for options that the model does not have.
    """
    from podium.encodings.keep import store_for
    from podium.local.decoders.spec import is_decoder
    from podium.local.files.resolve import find_model
    from podium.local.late.kinds import is_late
    from podium.local.late.scorer import LateInteraction
    from podium.local.scorer import LocalScorer

    try:
        files = find_model(name, revision=revision, cache_dir=cache_dir, token=token)
    except ModelError as error:
        hosted_name = _similar_hosted_name(os.fspath(name), min_similarity=1.0)  # the name of a user can resemble a provider's
        if hosted_name and not os.path.exists(name):
            error.args = (*error.args, f"; for the hosted model, write {hosted_name}")
        raise
    if files is None:
        raise _unknown_model(os.fspath(name))
    options = without_none({"precision": precision, "runtime": runtime, "threads": threads, "max_length": max_length})
    late_options = {"encoding": encoding, "pooling": pooling, "score": score}
    instruction_options = {"instruction": instruction}
    if is_late(files.folder):
        refuse(instruction_options, _without_instructions(name))
        store = None if keep is None else store_for(keep)
        return LateInteraction(files, **options, **without_none(late_options), store=store)
    late_only = {**late_options, "keep": keep}
    if is_decoder(files):
        from podium.local.decoders.scorer import DecoderScorer

        refuse(late_only, f"{os.fspath(name)} is a language model, which stores nothing, and does not have the option")
        return DecoderScorer(files, **options, **without_none(instruction_options))
    refuse(late_only, f"{os.fspath(name)} is a cross-encoder, which stores nothing, and does not have the option")
    refuse(instruction_options, _without_instructions(name))
    return LocalScorer(files, **options)


def _without_instructions(name: str | os.PathLike[str]) -> str:
    """Return the beginning of the message that refuses an instruction."""
    return f"{os.fspath(name)} does not read instructions, as language models do, so it does not have the option"


def hosted_scorer(provider: str, model: str, **options: Any) -> HostedScorer:
    """Return the scorer of a provider's model. The options are those of HostedScorer."""
    from podium.hosted.scorer import HostedScorer

    return HostedScorer(provider, model, **options)


def check_name(name: str) -> None:
    """Raise ModelNotFound if no model can have this name. Nothing is downloaded, so a hub model may still not exist.

    A configuration file is checked completely. Raises InvalidInput if it has an error.
    """
    if is_stack(name):
        from podium.stacks import read_stack

        read_stack(name)
        return
    from podium.local.files.hub import is_hub_name
    from podium.local.files.resolve import find_model

    if provider_of(name) is None and not is_hub_name(name) and find_model(name) is None:
        raise _unknown_model(name)


def is_stack(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a configuration file, which ends with .toml, and not of a model."""
    return os.fspath(name).endswith(".toml")


def provider_of(name: str | os.PathLike[str]) -> str | None:
    """Return the provider in "provider:model", None for a model on this machine.

    Raises InvalidInput if `name` is "", or neither a string nor a Path.
    """
    if isinstance(name, os.PathLike) and isinstance(os.fspath(name), str):
        return None
    if not isinstance(name, str) or not name:
        raise InvalidInput(
            "a model is named by a string, such as 'podium-mini', 'org/model', './folder' or 'cohere:rerank-v3.5'"
        )
    prefix, colon, _ = name.partition(":")
    return prefix if colon and prefix in _provider_names() else None


def _provider_names() -> list[str]:
    from podium.hosted.providers import PROVIDERS

    return [row.name for row in PROVIDERS]


def _refuse_name_like_a_provider(name: str) -> None:
    """Raise ModelNotFound if the name of a model on this machine was probably meant to be that of a hosted model."""
    suggestion = _similar_hosted_name(name)
    if suggestion and not Path(name).exists():
        raise ModelNotFound(f"{name!r} is not a hosted model; did you mean {suggestion}?")


def _similar_hosted_name(name: str, min_similarity: float = MIN_SIMILARITY) -> str | None:
    """Return "provider:model" with the provider whose name is similar to the beginning of `name`, None if there is none.

    Case does not count. With a `min_similarity` of 1, the beginning must be the provider's name.
    """
    prefix, *rest = re.split("[:/]", name, maxsplit=1)
    similar = difflib.get_close_matches(prefix.lower(), _provider_names(), n=1, cutoff=min_similarity)
    return f"{similar[0]}:{''.join(rest) or '<model>'}" if similar else None


def _unknown_model(name: str) -> ModelNotFound:
    """Return the error for a name that no model has. The message suggests a similar name, of a bundled or a hosted model."""
    from podium.local.files.distributions import EXTRAS

    prefix, colon, _ = name.partition(":")
    if colon and len(prefix) > 1:  # a single letter before a colon is a drive on Windows
        if "/" in prefix:
            return ModelNotFound(f"no name on the hub has a colon; name {prefix!r}, which is loaded at its newest revision")
        similar = []
        problem = f"there is no provider {prefix!r}"
        remedy = f"known: {', '.join(_provider_names())}"
    else:
        similar = difflib.get_close_matches(name, [*BUNDLED, *EXTRAS], n=1, cutoff=MIN_SIMILARITY)
        problem = f"there is no model {name!r}"
        remedy = (
            f"name a bundled one ({', '.join(BUNDLED)}), a folder (./path), one on the hub (org/model) or a hosted one "
            "(provider:model)"
        )
    suggestion = similar[0] if similar else _similar_hosted_name(name)
    hint = f"did you mean {suggestion}? " if suggestion else ""
    return ModelNotFound(f"{problem}; {hint}{remedy}")
