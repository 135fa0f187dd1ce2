"""LateInteraction, a scorer that encodes each text once and compares encodings."""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np

from podium.encodings import Buffer, EncodingStore, KeyMaker
from podium.encodings.keep import store_for
from podium.errors import Argument, InvalidInput
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.late.encoding import EncodingPrecision, Layout, pack, tokens_of
from podium.local.late.kinds import late_model
from podium.local.late.models import LateModel, Text
from podium.local.late.pooling import pooled
from podium.local.late.spec import ScoreOption
from podium.local.model import LoadedModel, Options, loading
from podium.local.runtimes import PrecisionOption, RuntimeOption
from podium.local.schedule import FEW_TEXTS, Work, off_loop
from podium.local.scorer import ModelScorer
from podium.local.tokenizer import Encoded
from podium.steps import adrive, drive
from podium.types import Progress, Scores

__all__ = ["LateInteraction"]

CHUNK = 4096  # texts whose encodings are in memory at once besides the store, about 50 MB
COMPARED_AT_ONCE = 256  # texts that a thread compares in about a millisecond
TOKEN_BYTES = 128  # about, of an encoding
POOLING = (1, 2, 3)


class LateInteraction(ModelScorer):
    """A model with late interaction on this machine: a query is compared with the encodings of texts, which are stored.

    - `precision`, `runtime`, `threads`: as for LocalScorer.
    - `max_length`: tokens of a text, by default as many as the model allows, which is the maximum.
    - `encoding`: the precision of the stored vectors: "int8", "float16" or "float32".
    - `pooling`: how many token vectors are averaged to one, 1 (none), 2 or 3. A text of more than 4,096 vectors is pooled in
      parts.
    - `score`: for a ColBERT model, whether the similarities of a query's tokens are added up ("sum") or averaged ("mean"); by
      default as the model says, which is nearly always the sum.
    - `store`: keeps encodings, by default up to 64 MB of them in memory. `close` closes it.

    A score is always computed from packed encodings, so it is the same, bit for bit, whether they were stored or not. Safe to
    share between threads. Raises ModelError, or InvalidInput for an option.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        precision: PrecisionOption | None = None,
        runtime: RuntimeOption = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        encoding: EncodingPrecision = "int8",
        pooling: int = 1,
        score: ScoreOption | None = None,
        store: EncodingStore | None = None,
    ) -> None:
        options = Options(precision, runtime, threads, max_length)
        _check_options(encoding, pooling, score)
        self.encoding, self.pooling = encoding, pooling
        with loading(files):
            self._late: LateModel = late_model(files.folder, score)
            self._model: LoadedModel[Text, bytes] = LoadedModel(
                files,
                self._late.spec,
                options,
                load=self._late.load,
                tokenizer=self._late.tokenizer,
                output=self._packed,
                probe=Text("a"),
                per_token=True,
            )
        self.tokenizer = self._model.tokenizer
        self.store: EncodingStore = store_for() if store is None else store
        self._keys = KeyMaker(self.encoding_identity)
        self._layout = Layout.of(self._model.run([Text("a")]).outputs[0])

    @property
    def identity(self) -> str:
        return f"{self.encoding_identity}:{self.spec.activation.name}"

    @property
    def encoding_identity(self) -> str:
        """A string that changes whenever an encoding could."""
        return f"{super().identity}:{self.encoding}:{self.pooling}"

    def encoding_key(self, text: str) -> bytes:
        """Return the key of a text's encoding in the store."""
        return self._keys.key(text)

    @property
    def encoder(self) -> LateInteraction:
        return self

    def with_store(self, store: EncodingStore) -> LateInteraction:
        """Return a scorer with the same model and another store."""
        other = copy.copy(self)
        other.store = store
        return other

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> int:
        """Make sure that the store has the texts' encodings, and return how many were computed."""
        perform = _Blocking(self._model, progress)
        computed = 0
        for begin in range(0, len(texts), CHUNK):
            encodings = drive(self._encodings(texts[begin : begin + CHUNK]), perform)
            computed += encodings.computed_count
            if progress:
                progress(encodings.stored_count)
        return computed

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.score_many([query], [texts])[0]

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        return (await adrive(self._scores([query], [texts]), self._perform_async))[0]

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        return drive(self._scores(queries, texts_per_query, progress), _Blocking(self._model, progress))

    async def _perform_async(self, step: _Step) -> Any:
        if isinstance(step, _Encode):
            return await self._model.arun(step.inputs)
        if step.waits:
            return await asyncio.to_thread(step.function)
        return await off_loop(step.texts > FEW_TEXTS, step.function)

    def close(self) -> None:
        super().close()
        self.store.close()

    def _scores(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Generator[_Step, Any, list[Scores]]:
        """Encode queries, then texts in chunks of bounded memory, and compare."""
        pairs = yield _Call(functools.partial(_pairs, texts_per_query), sum(map(len, texts_per_query)))
        tables = [_Table() for _ in queries]
        for begin in range(0, len(pairs), CHUNK):
            chunk = pairs[begin : begin + CHUNK]
            missing = [index for index in dict.fromkeys(index for index, _ in chunk) if not tables[index].query]
            computed = yield _Encode([Text(queries[index], is_query=True) for index in missing], reported=False)
            for index, position in zip(missing, computed.indices, strict=True):
                tables[index].set_query(computed.outputs[position], computed.encoded[position])
            encodings = yield from self._encodings([text for _, text in chunk])
            yield _Call(functools.partial(self._add_rows, tables, [index for index, _ in chunk], encodings), len(chunk))
            if progress:
                progress(encodings.stored_count)
        activation, notes = self.spec.activation.apply, self._late.notes
        scores: list[Scores] = yield _Call(lambda: [table.scores(activation, notes) for table in tables], len(pairs))
        return scores

    def _encodings(self, texts: Sequence[str]) -> Generator[_Step, Any, _Encodings]:
        """Return the encodings of texts, from the store or computed and then stored."""
        keys, stored = yield _Call(functools.partial(self._stored, texts), len(texts), waits=True)
        missing = [index for index, key in enumerate(keys) if key not in stored]
        new_tokens = [0] * len(texts)
        is_new = [False] * len(texts)
        if missing:
            computed = yield _Encode([Text(texts[index]) for index in missing])
            new = {}
            for index, position in zip(missing, computed.indices, strict=True):
                if keys[index] not in new:
                    new[keys[index]] = computed.outputs[position]
                    is_new[index] = True
                    new_tokens[index] = len(computed.encoded[position].ids)
            yield _Call(functools.partial(self.store.put, new), len(new), waits=True)
            stored |= new
        return _Encodings([stored[key] for key in keys], is_new, new_tokens, len(texts) - len(missing))

    def _stored(self, texts: Sequence[str]) -> tuple[list[bytes], dict[bytes, Buffer]]:
        """Return the texts' keys, and the stored encodings by key. Bytes that are not this model's count as missing."""
        keys = [self._keys.key(text) for text in texts]
        stored = self.store.get(list(dict.fromkeys(keys)))
        return keys, {key: encoding for key, encoding in stored.items() if self._layout.fits(encoding)}

    def _add_rows(self, tables: Sequence[_Table], query_indices: Sequence[int], encodings: _Encodings) -> None:
        """Compare the queries with their texts' encodings, and add the results to the queries' tables."""
        begin = 0
        for index, group in itertools.groupby(query_indices):
            end = begin + sum(1 for _ in group)
            buffers = encodings.buffers[begin:end]
            raw = self._late.score(self._features(tables[index].query, buffers)).tolist()
            tables[index].add(raw, buffers, sum(encodings.is_new[begin:end]), sum(encodings.new_tokens[begin:end]))
            begin = end

    def _features(self, query: bytes, encodings: Sequence[Buffer]) -> Array:
        comparison = self._late.comparison
        if len(encodings) <= COMPARED_AT_ONCE:
            return comparison.compare(query, encodings)
        parts = [encodings[begin : begin + COMPARED_AT_ONCE] for begin in range(0, len(encodings), COMPARED_AT_ONCE)]
        features: list[Array] = [np.zeros(0, np.float32)] * len(parts)

        def compare(indices: Sequence[int]) -> None:
            for index in indices:
                features[index] = comparison.compare(query, parts[index])

        self._model.workers.run(Work([sum(map(len, part)) // TOKEN_BYTES for part in parts], compare))
        return np.concatenate(features)

    def _packed(self, text: Text, tokens: Encoded, result: Array) -> bytes:
        """Return the encoding of a text from the network's result. Queries are not pooled."""
        vectors = self._late.vectors(text, tokens, result)
        rows = vectors.rows
        if self.pooling > 1 and not text.is_query:
            rows = pooled(rows, self.pooling, protected=vectors.protected)
        counts = {"tokens": tokens.text_tokens, "dropped_tokens": tokens.dropped_text_tokens}
        return pack(rows, self.encoding, ids=vectors.ids, weights=vectors.weights, mean=vectors.mean, **counts)


def _pairs(texts_per_query: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    return [(index, text) for index, texts in enumerate(texts_per_query) for text in texts]


class _Encode(NamedTuple):
    """A step that encodes texts. `reported`: whether they count as progress."""

    inputs: list[Text]
    reported: bool = True


class _Call(NamedTuple):
    """A step that calls a function, which handles `texts` texts. `waits`: whether it may wait for a disk or a server."""

    function: Callable[[], Any]
    texts: int
    waits: bool = False


_Step: TypeAlias = "_Encode | _Call"


@dataclass(frozen=True, slots=True)
class _Blocking:
    """Performs steps on the calling thread and the model's workers."""

    model: LoadedModel[Text, bytes]
    progress: Progress | None

    def __call__(self, step: _Step) -> Any:
        if isinstance(step, _Encode):
            return self.model.run(step.inputs, progress=self.progress if step.reported else None)
        return step.function()


@dataclass(frozen=True, slots=True)
class _Encodings:
    """The encodings of a list of texts. `is_new` and `new_tokens` are about those that were computed, each counted once."""

    buffers: list[Buffer]
    is_new: list[bool]
    new_tokens: list[int]
    stored_count: int

    @property
    def computed_count(self) -> int:
        return sum(self.is_new)


class _Table:
    """One query's encoding, and the results of its texts so far."""

    def __init__(self) -> None:
        self.query = b""
        self._query_tokens = self._query_dropped = self._total_tokens = self._encoded = 0
        self._raw: list[float] = []
        self._tokens: list[tuple[int, int]] = []

    def set_query(self, encoding: bytes, encoded: Encoded) -> None:
        self.query = encoding
        self._query_tokens, self._query_dropped = encoded.text_tokens, encoded.dropped_text_tokens
        self._total_tokens = len(encoded.ids)

    def add(self, raw: list[float], encodings: Sequence[Buffer], new_count: int, new_tokens: int) -> None:
        self._raw += raw
        self._tokens += map(tokens_of, encodings)
        self._encoded += new_count
        self._total_tokens += new_tokens

    def scores(self, activation: Callable[[float], float], notes: tuple[str, ...]) -> Scores:
        count = len(self._raw)
        return Scores(
            values=list(map(activation, self._raw)),
            raw=self._raw,
            tokens=[tokens for tokens, _ in self._tokens],
            dropped_tokens=[dropped for _, dropped in self._tokens],
            query_tokens=[self._query_tokens] * count,
            query_dropped_tokens=[self._query_dropped] * count,
            total_tokens=self._total_tokens,
            notes=notes if count else (),
            encoded=self._encoded,
        )


def _check_options(encoding: str, pooling: int, score: str | None) -> None:
    if encoding not in get_args(EncodingPrecision):
        raise InvalidInput(Argument("encoding"), f" must be 'int8', 'float16' or 'float32', not {encoding!r:.40}")
    if isinstance(pooling, bool) or pooling not in POOLING:
        raise InvalidInput(Argument("pooling"), f" must be 1, 2 or 3, not {pooling!r:.40}")
    if score is not None and score not in get_args(ScoreOption):
        raise InvalidInput(Argument("score"), f" must be 'sum' or 'mean', not {score!r:.40}")
