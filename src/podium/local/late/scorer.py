"""LateInteraction, a scorer that encodes each text once and compares encodings.

Scoring is written once, as generators of steps (see podium.steps), for blocking and for asynchronous calls. Work that takes
longer with more texts is a step: a generator yields an `_EncodeStep` or a `_CallStep`, and receives its result. Blocking calls
perform the steps with `_BlockingPerformer`, asynchronous ones with `LateInteraction._perform_async`.
"""

from __future__ import annotations

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
from podium.inputs import without_none
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.late.encoding import EncodingPrecision, Layout, pack, token_counts
from podium.local.late.kinds import late_model
from podium.local.late.models import LateModel, Text
from podium.local.late.pooling import pooled
from podium.local.late.spec import ScoreOption
from podium.local.model import LoadedModel, Options, loading
from podium.local.runtimes import PrecisionOption, RuntimeOption
from podium.local.scorer import ModelScorer
from podium.local.tokenizer import Encoded
from podium.schedule import FEW_TEXTS, Work, off_loop
from podium.steps import adrive, drive
from podium.threads import to_thread
from podium.types import Progress, Scores

__all__ = ["LateInteraction"]

CHUNK_TEXTS = 1024  # The encodings of a chunk are in memory together, and take about 13 MB besides the store.
COMPARED_AT_ONCE = 256  # A thread compares the encodings of this many texts in about a millisecond.
BYTES_PER_TOKEN = 128  # About how many bytes of an encoding one token takes.
POOLING_FACTORS = (1, 2, 3)


class _EncodeStep(NamedTuple):
    """A step that encodes texts, and has a Computed as its result.

    `reports_progress`: whether `progress` is called with the number of texts.
    """

    inputs: list[Text]
    reports_progress: bool = True


class _CallStep(NamedTuple):
    """A step that calls a function and has its result. The function handles `text_count` texts.

    `waits`: whether the function may wait for a disk, a server or the model's workers.
    """

    function: Callable[[], Any]
    text_count: int
    waits: bool = False


_Step: TypeAlias = "_EncodeStep | _CallStep"


@dataclass(frozen=True, slots=True)
class _BlockingPerformer:
    """Performs steps on the calling thread and the model's workers.

    `progress` is called with the number of texts that were encoded.
    """

    model: LoadedModel[Text, bytes]
    progress: Progress | None

    def __call__(self, step: _Step) -> Any:
        if isinstance(step, _EncodeStep):
            return self.model.run(step.inputs, progress=self.progress if step.reports_progress else None)
        return step.function()


class LateInteraction(ModelScorer):
    """A model with late interaction on this machine: a query is compared with the encodings of texts, which are stored.

    - `precision`, `threads`: as for LocalScorer.
    - `runtime`: as for LocalScorer, but "auto" is the same runtime on all machines, because encodings depend on it.
    - `max_length`: how many tokens of a text are read. The default is the model's own maximum, which is also the upper limit.
    - `encoding`: the precision of the stored vectors: "int8", "float16" or "float32".
    - `pooling`: how many token vectors are averaged to one, 1 (none), 2 or 3. A text of more than 4,096 vectors is pooled in
      parts.
    - `score`: for a ColBERT model, whether the similarities of a query's tokens are added up ("sum") or averaged ("mean"). By
      default the model's files decide, which is nearly always the sum.
    - `store`: keeps encodings, by default up to 64 MB of them in memory. `close` closes the store.

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
        self.encoding_precision = encoding
        self.pooling = pooling
        self._score_option = score
        with loading(files):
            self._late_model: LateModel = late_model(files.folder, score)
            self._loaded_model: LoadedModel[Text, bytes] = LoadedModel(
                files,
                self._late_model.spec,
                options,
                load=self._late_model.load,
                tokenizer=self._late_model.tokenizer,
                output=self._packed_encoding,
                probe=Text("a"),
                per_token=True,
            )
        self.tokenizer = self._loaded_model.tokenizer
        self.store: EncodingStore = store_for() if store is None else store
        self._key_maker = KeyMaker(self.encoding_identity)
        self._layout = Layout.of(self._loaded_model.run([Text("a")]).outputs[0])

    def settings(self) -> dict[str, Any]:
        """The settings of ModelScorer, and how encodings are computed. Where they are kept is left out."""
        late_options = {"encoding": self.encoding_precision, "pooling": self.pooling, "score": self._score_option}
        return super().settings() | without_none(late_options)

    @property
    def identity(self) -> str:
        return f"{self.encoding_identity}:{self.spec.activation.name}"

    @property
    def encoding_identity(self) -> str:
        """A string that changes whenever an encoding could change."""
        return f"{super().identity}:{self.encoding_precision}:{self.pooling}"

    def encoding_key(self, text: str) -> bytes:
        """Return the key of a text's encoding in the store."""
        return self._key_maker.key(text)

    @property
    def encoder(self) -> LateInteraction:
        return self

    def with_store(self, store: EncodingStore) -> LateInteraction:
        """Return a scorer with another store that shares this scorer's model and threads.

        Close this scorer, and not the returned one: closing one of the two ends the threads of both. The caller closes the
        new store.
        """
        other = copy.copy(self)
        other.store = store
        return other

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> int:
        """Make sure that the store has the texts' encodings, and return how many were computed. Equal texts count once."""
        perform = _BlockingPerformer(self._loaded_model, progress)
        computed_count = 0
        for begin in range(0, len(texts), CHUNK_TEXTS):
            encodings = drive(self._text_encodings(texts[begin : begin + CHUNK_TEXTS]), perform)
            computed_count += encodings.computed_count
            if progress:
                progress(encodings.stored_count)
        return computed_count

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.score_many([query], [texts])[0]

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        return (await adrive(self._score_steps([query], [texts]), self._perform_async))[0]

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        """Return the scores of several queries, each with its own texts. `progress` is called with numbers of texts."""
        perform = _BlockingPerformer(self._loaded_model, progress)
        return drive(self._score_steps(queries, texts_per_query, progress), perform)

    def close(self) -> None:
        super().close()
        self.store.close()

    async def _perform_async(self, step: _Step) -> Any:
        """Return the result of a step without blocking the event loop."""
        if isinstance(step, _EncodeStep):
            return await self._loaded_model.arun(step.inputs)
        if step.waits:
            return await to_thread(step.function)
        return await off_loop(step.text_count > FEW_TEXTS, step.function)

    def _score_steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Generator[_Step, Any, list[Scores]]:
        """Compare the texts with their queries, in chunks of bounded memory that may contain texts of several queries.

        A query is encoded with the first chunk that has one of its texts. `progress` is called with the number of texts whose
        encodings are in the store; the other texts are reported when they are encoded.
        """
        text_count = sum(map(len, texts_per_query))
        pairs = yield _CallStep(functools.partial(_pairs, texts_per_query), text_count)
        results = [_QueryResults() for _ in queries]
        for begin in range(0, text_count, CHUNK_TEXTS):
            chunk = pairs[begin : begin + CHUNK_TEXTS]
            query_indices = [query_index for query_index, _ in chunk]
            yield from self._encode_queries(queries, sorted(set(query_indices)), results)
            texts = [text for _, text in chunk]
            encodings = yield from self._text_encodings(texts)
            text_results = [results[query_index] for query_index in query_indices]
            yield from self._compare(texts, encodings, text_results)
            if progress:
                progress(encodings.stored_count)
        activate = self.spec.activation.apply
        notes = self._late_model.notes
        scores: list[Scores] = yield _CallStep(lambda: [result.scores(activate, notes) for result in results], text_count)
        return scores

    def _encode_queries(
        self, queries: Sequence[str], query_indices: Sequence[int], results: Sequence[_QueryResults]
    ) -> Generator[_Step, Any, None]:
        """Encode the queries at these indices that have not been encoded yet, and put the encodings into `results`."""
        new_indices = [index for index in query_indices if not results[index].has_query]
        inputs = [Text(queries[index], is_query=True) for index in new_indices]
        computed = yield _EncodeStep(inputs, reports_progress=False)
        for index, output_index in zip(new_indices, computed.indices, strict=True):
            results[index].set_query(computed.outputs[output_index], computed.encoded[output_index])

    def _text_encodings(self, texts: Sequence[str]) -> Generator[_Step, Any, _TextEncodings]:
        """Return the encodings of texts. Those that the store does not have are computed and then stored."""
        keys, stored = yield _CallStep(functools.partial(self._stored_encodings, texts), len(texts), waits=True)
        missing = [index for index, key in enumerate(keys) if key not in stored]
        encodings = _TextEncodings(keys, stored, computed_tokens=[None] * len(texts), stored_count=len(texts) - len(missing))
        if missing:
            yield from self._compute(texts, missing, encodings)
        return encodings

    def _compute(
        self, texts: Sequence[str], indices: Sequence[int], encodings: _TextEncodings, *, reports_progress: bool = True
    ) -> Generator[_Step, Any, None]:
        """Compute the encodings of the texts at these indices, put them into `encodings`, and store them."""
        computed = yield _EncodeStep([Text(texts[index]) for index in indices], reports_progress)
        new_encodings = {}
        for index, output_index in zip(indices, computed.indices, strict=True):
            key = encodings.keys[index]
            if key not in new_encodings:
                new_encodings[key] = computed.outputs[output_index]
                encodings.computed_tokens[index] = len(computed.encoded[output_index].ids)
        yield _CallStep(functools.partial(self.store.put, new_encodings), len(new_encodings), waits=True)
        encodings.by_key.update(new_encodings)

    def _stored_encodings(self, texts: Sequence[str]) -> tuple[list[bytes], dict[bytes, Buffer]]:
        """Return the key of each text, and the stored encodings by key.

        A stored value that does not have the layout of this model's encodings is treated as missing.
        """
        keys = self._key_maker.keys(texts)
        unique_keys = list(dict.fromkeys(keys))
        stored = self.store.get(unique_keys)
        fits = self._layout.fits
        return keys, {key: encoding for key, encoding in stored.items() if fits(encoding)}

    def _compare(
        self, texts: Sequence[str], encodings: _TextEncodings, text_results: Sequence[_QueryResults]
    ) -> Generator[_Step, Any, None]:
        """Compare texts with their queries, and add the scores to the results of the queries.

        `text_results` has the results of each text's query. Stored encodings that cannot be compared, although their layout is
        right, are computed again.
        """
        waits = len(texts) > COMPARED_AT_ONCE  # then they are compared by the model's workers
        groups = _groups(text_results)
        is_added = yield _CallStep(functools.partial(self._add_undamaged, groups, encodings), len(texts), waits)
        if not is_added:
            damaged = yield _CallStep(functools.partial(self._damaged_indices, text_results, encodings), len(texts), waits)
            yield from self._compute(texts, damaged, encodings, reports_progress=False)  # they count as stored texts
            yield _CallStep(functools.partial(self._add, groups, encodings), len(texts), waits)

    def _add_undamaged(self, groups: Sequence[_Group], encodings: _TextEncodings) -> bool:
        """Compare the encodings and add the scores, or return False and add nothing if an encoding cannot be compared."""
        buffers = encodings.buffers
        try:
            raw_scores = self._group_scores(groups, buffers)
        except ValueError:
            return False
        if not all(np.isfinite(scores).all() for scores in raw_scores):
            return False
        _add_scores(groups, raw_scores, buffers, encodings.computed_tokens)
        return True

    def _add(self, groups: Sequence[_Group], encodings: _TextEncodings) -> None:
        """Compare the encodings and add the scores. Raises ValueError if an encoding cannot be compared."""
        buffers = encodings.buffers
        _add_scores(groups, self._group_scores(groups, buffers), buffers, encodings.computed_tokens)

    def _group_scores(self, groups: Sequence[_Group], buffers: Sequence[Buffer]) -> list[Array]:
        """Return the raw scores of the texts of each group. Raises ValueError if an encoding cannot be compared."""
        return [self._raw_scores(result.query_encoding, buffers[positions]) for result, positions in groups]

    def _damaged_indices(self, text_results: Sequence[_QueryResults], encodings: _TextEncodings) -> list[int]:
        """Return the indices of the texts whose encodings cannot be compared."""
        queries = [result.query_encoding for result in text_results]
        return [index for index, buffer in enumerate(encodings.buffers) if self._is_damaged(queries[index], buffer)]

    def _raw_scores(self, query_encoding: bytes, encodings: Sequence[Buffer]) -> Array:
        """Return the score of each text before the activation. Raises ValueError if an encoding is damaged."""
        return self._late_model.score(self._features(query_encoding, encodings))

    def _is_damaged(self, query_encoding: bytes, encoding: Buffer) -> bool:
        try:
            return not np.isfinite(self._raw_scores(query_encoding, [encoding])).all()
        except ValueError:
            return True

    def _features(self, query_encoding: bytes, encodings: Sequence[Buffer]) -> Array:
        """Return the comparison's features of each text, float32 of shape (texts, features).

        The model's workers compare many texts in parallel.
        """
        comparison = self._late_model.comparison
        if len(encodings) <= COMPARED_AT_ONCE:
            return comparison.compare(query_encoding, encodings)
        parts = [encodings[begin : begin + COMPARED_AT_ONCE] for begin in range(0, len(encodings), COMPARED_AT_ONCE)]
        features: list[Array] = [np.zeros(0, np.float32)] * len(parts)

        def compare(part_indices: Sequence[int]) -> None:
            for index in part_indices:
                features[index] = comparison.compare(query_encoding, parts[index])

        estimated_tokens = [sum(map(len, part)) // BYTES_PER_TOKEN for part in parts]
        self._loaded_model.workers.run(Work(estimated_tokens, compare))
        return np.concatenate(features)

    def _packed_encoding(self, text: Text, tokens: Encoded, result: Array) -> bytes:
        """Return the encoding of a text from the network's result. Queries are not pooled."""
        vectors = self._late_model.vectors(text, tokens, result)
        rows = vectors.rows
        if self.pooling > 1 and not text.is_query:
            rows = pooled(rows, self.pooling, protected=vectors.protected)
        return pack(
            rows,
            self.encoding_precision,
            tokens=tokens.text_tokens,
            dropped_tokens=tokens.dropped_text_tokens,
            ids=vectors.ids,
            weights=vectors.weights,
            mean=vectors.mean,
        )


def _pairs(texts_per_query: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Return each text with the index of its query."""
    return [(query_index, text) for query_index, texts in enumerate(texts_per_query) for text in texts]


@dataclass(frozen=True, slots=True)
class _TextEncodings:
    """The encodings of a list of texts.

    - `keys`: the key of each text in the store. Equal texts have equal keys.
    - `by_key`: the encoding of each key.
    - `computed_tokens`: how many tokens of each text were computed, None for a text whose encoding was stored, or is that of an
      equal text earlier in the list.
    - `stored_count`: how many texts had their encodings in the store.
    """

    keys: Sequence[bytes]
    by_key: dict[bytes, Buffer]
    computed_tokens: list[int | None]
    stored_count: int

    @property
    def buffers(self) -> list[Buffer]:
        """The encoding of each text."""
        return [self.by_key[key] for key in self.keys]

    @property
    def computed_count(self) -> int:
        return sum(count is not None for count in self.computed_tokens)


class _QueryResults:
    """One query's encoding, and the scores and token counts of its texts so far."""

    def __init__(self) -> None:
        self.query_encoding = b""  # empty until `set_query`
        self._query_tokens = 0
        self._query_dropped_tokens = 0
        self._total_tokens = 0
        self._computed_count = 0
        self._raw_scores: list[float] = []
        self._token_counts: list[tuple[int, int]] = []  # the text's tokens that were read, and that were dropped

    @property
    def has_query(self) -> bool:
        return bool(self.query_encoding)

    def set_query(self, encoding: bytes, tokens: Encoded) -> None:
        self.query_encoding = encoding
        self._query_tokens = tokens.text_tokens
        self._query_dropped_tokens = tokens.dropped_text_tokens
        self._total_tokens = len(tokens.ids)

    def add(self, raw_scores: Array, buffers: Sequence[Buffer], computed_tokens: Sequence[int | None]) -> None:
        """Add the next texts of the query, with their encodings. `computed_tokens` is that of `_TextEncodings`."""
        self._raw_scores += raw_scores.tolist()
        self._token_counts.extend(map(token_counts, buffers))
        new_counts = [count for count in computed_tokens if count is not None]
        self._computed_count += len(new_counts)
        self._total_tokens += sum(new_counts)

    def scores(self, activation: Callable[[float], float], notes: tuple[str, ...]) -> Scores:
        text_count = len(self._raw_scores)
        return Scores(
            values=[activation(raw_score) for raw_score in self._raw_scores],
            raw=self._raw_scores,
            tokens=[tokens for tokens, _ in self._token_counts],
            dropped_tokens=[dropped_tokens for _, dropped_tokens in self._token_counts],
            query_tokens=[self._query_tokens] * text_count,
            query_dropped_tokens=[self._query_dropped_tokens] * text_count,
            total_tokens=self._total_tokens,
            notes=notes if text_count else (),
            encoded=self._computed_count,
        )


class _Group(NamedTuple):
    """Adjacent texts of one query: the results of the query, and the positions of the texts in a list."""

    result: _QueryResults
    positions: slice


def _groups(text_results: Sequence[_QueryResults]) -> list[_Group]:
    """Return the groups of texts. `text_results` has the results of each text's query. Texts of a query are adjacent."""
    groups = []
    begin = 0
    for result, group in itertools.groupby(text_results):
        end = begin + sum(1 for _ in group)
        groups.append(_Group(result, slice(begin, end)))
        begin = end
    return groups


def _add_scores(
    groups: Sequence[_Group],
    raw_scores: Sequence[Array],
    buffers: Sequence[Buffer],
    computed_tokens: Sequence[int | None],
) -> None:
    """Add the scores of each group, and the encodings and computed tokens of its texts, to the results of its query."""
    for (result, positions), scores in zip(groups, raw_scores, strict=True):
        result.add(scores, buffers[positions], computed_tokens[positions])


def _check_options(encoding: str, pooling: int, score: str | None) -> None:
    if encoding not in get_args(EncodingPrecision):
        raise InvalidInput(Argument("encoding"), f" must be 'int8', 'float16' or 'float32', not {encoding!r:.40}")
    if isinstance(pooling, bool) or pooling not in POOLING_FACTORS:
        raise InvalidInput(Argument("pooling"), f" must be 1, 2 or 3, not {pooling!r:.40}")
    if score is not None and score not in get_args(ScoreOption):
        raise InvalidInput(Argument("score"), f" must be 'sum' or 'mean', not {score!r:.40}")
