"""LocalScorer, a cross-encoder on this machine, and the base classes of scorers over models on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from podium.errors import ModelError
from podium.local.autotune import Choice
from podium.local.build import load
from podium.local.families import FAMILIES
from podium.local.families.family import Family
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.model import Computed, LoadedModel, Options, loading
from podium.local.runtimes import ARITHMETIC_VERSION, Precision, PrecisionOption, RuntimeName, RuntimeOption
from podium.local.spec import Spec, read_spec
from podium.local.tokenizer import Encoded, PairTokenizer
from podium.schedule import FEW_TEXTS, off_loop
from podium.scorers import BaseScorer
from podium.token_counts import TokenCounter
from podium.types import Progress, ScoreKind, Scores

__all__ = ["LocalScorer", "ModelScorer", "PairScorer"]


class ModelScorer(BaseScorer):
    """A scorer with a model on this machine. The properties describe the model that `_loaded_model` holds."""

    _loaded_model: LoadedModel[Any, Any]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, precision={self.precision!r}, runtime={self.runtime!r})"

    @property
    def files(self) -> ModelFiles:
        return self._loaded_model.files

    @property
    def spec(self) -> Spec:
        return self._loaded_model.spec

    @property
    def choice(self) -> Choice:
        return self._loaded_model.choice

    @property
    def model(self) -> str:
        return self.files.name

    @property
    def revision(self) -> str | None:
        return self.files.revision

    @property
    def score_kind(self) -> ScoreKind:
        return self.spec.activation.kind

    @property
    def precision(self) -> Precision:
        return self.choice.variant.precision

    @property
    def runtime(self) -> RuntimeName:
        return self.choice.variant.runtime

    @property
    def identity(self) -> str:
        """A string that changes whenever a score could change.

        It has hashes of the files, the precision, the runtime with the version of its arithmetic, and the maximum length.
        """
        file_digests = f"{self.spec.digest}:{self.spec.description_digest}"
        runtime = f"{self.runtime}.{ARITHMETIC_VERSION}" if self.runtime == "native" else self.runtime
        return f"{file_digests}:{self.precision}:{runtime}:{self.max_length}"

    @property
    def threads(self) -> int:
        return self._loaded_model.workers.count

    @property
    def max_length(self) -> int:
        return self._loaded_model.tokenizer.max_length

    @property
    def counts_dropped_tokens(self) -> bool:
        return True

    @property
    def token_counter(self) -> TokenCounter:
        return self._loaded_model.tokenizer

    @property
    def schedules_together(self) -> bool:
        return True

    @property
    def is_async(self) -> bool:
        return True

    def settings(self) -> dict[str, Any]:
        """The model's name, precision and maximum length. What depends on the machine is left out: runtime and threads."""
        return {"model": self.model, "precision": self.precision, "max_length": self.max_length}

    def close(self) -> None:
        self._loaded_model.workers.close()


class PairScorer(ModelScorer):
    """A scorer whose model reads a query and a text together, and computes one number, the raw score."""

    _loaded_model: LoadedModel[tuple[str, str], float]

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.score_many([query], [texts])[0]

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        pairs = await off_loop(len(texts) > FEW_TEXTS, _pairs, [query], [texts])
        computed = await self._loaded_model.arun(pairs)
        return await off_loop(len(texts) > FEW_TEXTS, self._scores, computed, computed.indices)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        computed = self._loaded_model.run(_pairs(queries, texts_per_query), progress=progress)
        indices = iter(computed.indices)
        return [self._scores(computed, list(itertools.islice(indices, len(texts)))) for texts in texts_per_query]

    def _scores(self, computed: Computed[float], indices: Sequence[int]) -> Scores:
        """Return the scores of one query's pairs. `indices` are those of their outputs in `computed`, one per pair."""
        pairs = [computed.encoded[index] for index in indices]
        raw = [computed.outputs[index] for index in indices]
        return Scores(
            values=[self.spec.activation.apply(logit) for logit in raw],
            raw=raw,
            tokens=[pair.text_tokens for pair in pairs],
            dropped_tokens=[pair.dropped_text_tokens for pair in pairs],
            query_tokens=[pair.query_tokens for pair in pairs],
            query_dropped_tokens=[pair.dropped_query_tokens for pair in pairs],
            total_tokens=sum(len(computed.encoded[index].ids) for index in set(indices)),  # Equal pairs are computed once.
        )


class LocalScorer(PairScorer):
    """A cross-encoder on this machine. Safe to share between threads. Loading it reads and checks everything.

    - `precision`: "float32" is exact; "int8" is two to three times as fast (its weights are computed once and cached);
      "auto" is int8 if it is at least a fifth faster here. By default float32, unless the model's config.json names another.
    - `runtime`: "native" is podium's own, "onnx" is ONNX Runtime (an extra), "auto" the faster one of those installed, measured
      once per machine and model.
    - `threads`: how many texts are computed at once, by default as many as there are processors.
    - `max_length`: how many tokens of a query and a text together are read. The default is the model's own maximum, which is
      also the upper limit.
    - `families`: the architectures that podium can run.

    Raises ModelError, or InvalidInput for an option.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        precision: PrecisionOption | None = None,
        runtime: RuntimeOption = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        families: Sequence[Family] = FAMILIES,
    ) -> None:
        options = Options(precision, runtime, threads, max_length)
        with loading(files):
            spec = read_spec(files.folder, families)
            self._loaded_model = LoadedModel(
                files, spec, options, load=load, tokenizer=_tokenizer, output=_logit, probe=("a", "b")
            )
        self.tokenizer = self._loaded_model.tokenizer
        width = self._loaded_model.width
        if width != 1:
            raise ModelError(f"{files.name} computes {width} numbers for a pair, not one score; it cannot rank")


def _pairs(queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    return [(query, text) for query, texts in zip(queries, texts_per_query, strict=True) for text in texts]


def _logit(pair: tuple[str, str], tokens: Encoded, result: Array) -> float:
    """Return the output of a pair, for LoadedModel. The network's result is one number."""
    return float(result[0])


def _tokenizer(spec: Spec, max_length: int) -> PairTokenizer:
    return PairTokenizer(spec.base, max_length, has_segments=spec.has_segments, do_lower_case=spec.do_lower_case)
