"""LocalScorer: tokens → schedule → runtime → score."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from podium.errors import InvalidInput, ModelError, PodiumError, UnsupportedModel
from podium.local import build as network
from podium.local import spec as models
from podium.local.autotune import choose
from podium.local.cpu import cores
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.graph import Precision
from podium.local.runtimes import RuntimeName
from podium.local.schedule import Work, Workers, beside_loop
from podium.local.tokenizer import Pair, PairTokenizer
from podium.scorers import BaseScorer
from podium.types import Progress, ScoreKind, Scores

__all__ = ["LocalScorer", "check_options"]

TEXTS_READ_AT_ONCE, CHARACTERS_READ_AT_ONCE = 64, 200_000
CHARACTERS_PER_TOKEN = 4  # about; for a fair share of the workers only


class LocalScorer(BaseScorer):
    """A cross-encoder on this machine. Safe to share between threads; loading it reads and checks everything.

    `precision`: "float32" is exact, "int8" two to three times as fast (its weights are made once and cached). `runtime`:
    "native" is podium's own, "onnx" is ONNX Runtime. "auto" is the faster here, measured once per machine and model (of
    precisions, int8 if it is at least a fifth faster). `threads`: how many are computed on at once, as many as there are
    processors unless given. `max_length`: tokens of a query and its text together, at most what the model allows.
    Raises ModelError.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        precision: Precision | Literal["auto"] = "float32",
        runtime: RuntimeName | Literal["auto"] = "auto",
        threads: int | None = None,
        max_length: int | None = None,
    ) -> None:
        check_options(precision, threads, max_length, runtime)
        self.files = files
        try:
            self._load(files.folder, precision, runtime, max_length)
        except PodiumError:
            raise
        except Exception as error:  # a description can be wrong in more ways than anyone can list
            raise UnsupportedModel(
                f"{files.name[:200]}: its config.json, tokenizer or modules.json is not what one of its kind should be "
                f"({type(error).__name__}); bring the model's own files again"
            ) from error
        self._workers = Workers(threads or cores())
        self._check_one_pair()

    def _load(self, folder: Path, precision: Any, runtime: Any, max_length: int | None) -> None:
        self.spec = models.read(folder)
        length = min(max_length or self.spec.max_length, self.spec.max_length)
        model_type = str(self.spec.config.get("model_type"))
        self.tokenizer = PairTokenizer(folder, length, model_type, do_lower_case=self.spec.do_lower_case)
        self.choice = choose(self.spec, precision, runtime)
        self._network = network.load(self.spec, self.choice.precision, self.choice.runtime)

    def __repr__(self) -> str:
        return f"LocalScorer({self.model!r}, precision={self.precision!r}, runtime={self.runtime!r})"

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
        return self.choice.precision

    @property
    def runtime(self) -> RuntimeName:
        return self.choice.runtime

    @property
    def identity(self) -> str:
        """A string that changes whenever a score could: content of all files, precision, runtime and maximum length."""
        files = f"{self.spec.digest}:{self.spec.description_digest}"
        return f"{files}:{self.precision}:{self.runtime}:{self.tokenizer.max_length}"

    @property
    def threads(self) -> int:
        return self._workers.count

    @property
    def max_length(self) -> int:
        return self.tokenizer.max_length

    @property
    def is_async(self) -> bool:
        return True

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.score_many([query], [texts])[0]

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        batch = await beside_loop(len(texts), _Batch, self, [query], [texts], None)
        await self._workers.arun(batch.tokenising())
        await self._workers.arun(await beside_loop(len(texts), batch.work))
        return (await beside_loop(len(texts), batch.scores))[0]

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        batch = _Batch(self, queries, texts_per_query, progress)
        batch.tokenise()
        self._workers.run(batch.work())
        return batch.scores()

    def logits(self, pairs: Sequence[Pair]) -> Array:
        """Compute pairs, here and now: float32 of shape (pairs,)."""
        given = self._network.run([pair.ids for pair in pairs], [self.tokenizer.segments(pair) for pair in pairs])
        if given.shape[1] != 1 or not np.isfinite(given).all():
            raise ModelError(f"{self.model} gave {given[0].tolist()[:4]} for a pair, not one finite score; it cannot rank")
        return given[:, 0]

    def work(self, lengths: Sequence[int], run: Callable[[Sequence[int]], None]) -> Work:
        return Work(lengths, run, at_once=self._network.tokens_at_once, workers=self._workers.count)

    def close(self) -> None:
        self._workers.close()

    def _check_one_pair(self) -> None:
        """Compute a pair before anyone relies on it: shapes that don't fit and broken weights show now."""
        self.logits(list(self.tokenizer.pairs("a", ["b"])))


class _Batch:
    """Queries and texts on their way to scores. Identical pairs are computed once; the rest share their result."""

    def __init__(
        self, scorer: LocalScorer, queries: Sequence[str], texts: Sequence[Sequence[str]], progress: Progress | None
    ) -> None:
        self._scorer, self._progress = scorer, progress
        self._progress_lock = threading.Lock()
        known: dict[tuple[str, str], int] = {}
        self._places = [  # per query, per text: which pair
            [known.setdefault((query, text), len(known)) for text in each] for query, each in zip(queries, texts, strict=True)
        ]
        self._chunks = list(_chunks(list(known)))
        self._repeats = np.bincount([at for places in self._places for at in places], minlength=len(known)).tolist()
        self._pairs: list[Any] = [None] * len(known)  # a Pair each, once read
        self._logits = np.zeros(len(known), np.float32)

    def tokenise(self) -> None:
        for chunk in range(len(self._chunks)):
            self._read([chunk])

    def tokenising(self) -> Work:
        characters = (sum(map(len, texts)) for _, _, texts in self._chunks)
        return Work([1 + count // CHARACTERS_PER_TOKEN for count in characters], self._read)

    def _read(self, chunks: Sequence[int]) -> None:
        for at in chunks:
            begin, query, texts = self._chunks[at]
            self._pairs[begin : begin + len(texts)] = self._scorer.tokenizer.pairs(query, texts)

    def work(self) -> Work:
        return self._scorer.work([len(pair.ids) for pair in self._pairs], self._compute)

    def _compute(self, items: Sequence[int]) -> None:
        self._logits[list(items)] = self._scorer.logits([self._pairs[at] for at in items])
        if self._progress:
            with self._progress_lock:
                self._progress(sum(self._repeats[at] for at in items))

    def scores(self) -> list[Scores]:
        return [self._scores(places) for places in self._places]

    def _scores(self, places: list[int]) -> Scores:
        pairs = [self._pairs[at] for at in places]
        raw = [float(self._logits[at]) for at in places]
        return Scores(
            values=[self._scorer.spec.activation.apply(logit) for logit in raw],
            raw=raw,
            tokens=[pair.text_tokens for pair in pairs],
            dropped_tokens=[pair.text_dropped for pair in pairs],
            query_tokens=[pair.query_tokens for pair in pairs],
            query_dropped_tokens=[pair.query_dropped for pair in pairs],
            total_tokens=sum(len(self._pairs[at].ids) for at in set(places)),
        )


def _chunks(asked: Sequence[tuple[str, str]]) -> Iterator[tuple[int, str, list[str]]]:
    """Cut pairs, those of a query together, into what is tokenised in a few milliseconds: where it begins, query, texts."""
    begin = 0
    for query, pairs in itertools.groupby(asked, key=itemgetter(0)):
        chunk: list[str] = []
        characters = 0
        for _, text in pairs:
            if chunk and (len(chunk) == TEXTS_READ_AT_ONCE or characters + len(text) > CHARACTERS_READ_AT_ONCE):
                yield begin, query, chunk
                begin, chunk, characters = begin + len(chunk), [], 0
            chunk.append(text)
            characters += len(text)
        yield begin, query, chunk
        begin += len(chunk)


def check_options(precision: Any, threads: Any, max_length: Any, runtime: Any = "auto") -> None:
    if precision not in ("float32", "int8", "auto"):
        raise InvalidInput(f"precision must be 'float32', 'int8' or 'auto', not {precision!r:.40}")
    if runtime not in ("native", "onnx", "auto"):
        raise InvalidInput(f"runtime must be 'native', 'onnx' or 'auto', not {runtime!r:.40}")
    for name, value in (("threads", threads), ("max_length", max_length)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InvalidInput(f"{name} must be a positive whole number, not {value!r:.40}")
