"""LoadedModel, the part that scorers and the Embedder have in common.

It holds a model's files, tokenizer, network and threads, and computes lists of inputs. An input is, for example, a pair of a
query and a text, and its output a logit.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar, cast, get_args

import numpy as np

from podium.errors import Argument, InvalidInput, ModelError, PodiumError, UnsupportedModel, is_rust_panic
from podium.inputs import check_positive
from podium.local.autotune import Load, choose
from podium.local.build import variants_for
from podium.local.cpu import cores
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.runtimes import PrecisionOption, RuntimeOption, SharedWork
from podium.local.spec import Spec
from podium.local.tokenizer import Encoded, Tokenizer
from podium.schedule import FEW_TEXTS, Work, Workers, off_loop
from podium.token_counts import groups_to_tokenise
from podium.types import Progress

__all__ = ["Computed", "LoadedModel", "Options", "common_beginnings", "loading"]

Input = TypeVar("Input", bound=Hashable)
Output = TypeVar("Output")

CHARACTERS_PER_TOKEN = 4  # About how long a token is. The work of tokenising is measured in tokens, as that of the network.


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a model: the options that scorers and the Embedder have in common. Raises InvalidInput if one is wrong.

    None means the model's own default for `precision`, all processors for `threads`, and the model's maximum for `max_length`.
    """

    precision: PrecisionOption | None = None
    runtime: RuntimeOption = "auto"
    threads: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.precision is not None and self.precision not in get_args(PrecisionOption):
            raise InvalidInput(Argument("precision"), f" must be 'float32', 'int8' or 'auto', not {self.precision!r:.40}")
        if self.runtime not in get_args(RuntimeOption):
            raise InvalidInput(Argument("runtime"), f" must be 'native', 'onnx' or 'auto', not {self.runtime!r:.40}")
        for name, value in (("threads", self.threads), ("max_length", self.max_length)):
            if value is not None:
                check_positive(name, value)


@contextmanager
def loading(files: ModelFiles) -> Iterator[None]:
    """Turn unexpected errors in the block, which loads a model, into UnsupportedModel: files can be wrong in many ways."""
    try:
        yield
    except PodiumError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_rust_panic(error):
            raise
        raise UnsupportedModel(
            f"{files.name[:200]}: its config.json, tokenizer or modules.json is not that of a supported model "
            f"({type(error).__name__}); download the model's own files again"
        ) from error


@dataclass(frozen=True, slots=True)
class Computed(Generic[Output]):
    """A model's outputs for a list of inputs. Equal inputs share one output, because they are computed once.

    Input i has the tokens `encoded[indices[i]]` and the output `outputs[indices[i]]`.
    """

    indices: list[int]
    encoded: list[Encoded]
    outputs: list[Output]


class LoadedModel(Generic[Input, Output]):
    """A model that is ready to compute. Safe to share between threads and event loops.

    - `load`: returns the network.
    - `tokenizer`: returns the tokenizer for a maximum length in tokens.
    - `output`: returns the output of an input, from the input, its tokens, and the network's result for it, which is float32 of
      shape (width,), or (tokens, width) with `per_token`.
    - `probe`: an input that is computed while the model is loaded, to check that all shapes fit.
    - `per_token`: whether the network's result has a row per token.

    Raises ModelError, and InvalidInput if `max_length` is more than the model reads.
    """

    def __init__(
        self,
        files: ModelFiles,
        spec: Spec,
        options: Options,
        *,
        load: Load,
        tokenizer: Callable[[Spec, int], Tokenizer[Input]],
        output: Callable[[Input, Encoded, Array], Output],
        probe: Input,
        per_token: bool = False,
    ) -> None:
        self.files = files
        self.spec = spec
        max_length = options.max_length or spec.max_length
        if max_length > spec.max_length:
            problem = f" is more than the {spec.max_length:,} tokens that {files.name[:200]} reads; use at most as many"
            raise InvalidInput(Argument("max_length", max_length), problem)
        self.tokenizer = tokenizer(spec, max_length)
        variants = variants_for(spec, precision=options.precision or spec.default_precision, runtime=options.runtime)
        if per_token:
            # The outputs are stored, and differ a little between runtimes. So all machines use the same runtime, which need not
            # be the fastest on this one.
            variants = [variant for variant in variants if variant.runtime == variants[0].runtime]
        self.choice = choose(spec, variants, load)
        self.network = load(spec, self.choice.variant)
        self.output = output
        self._per_token = per_token
        probe_rows = self._run(self.tokenizer.encode([probe]))
        self._check_finite(probe_rows)
        self.width = probe_rows.shape[1]
        self.workers = Workers(options.threads or cores())

    def with_tokenizer(self, tokenizer: Tokenizer[Input]) -> LoadedModel[Input, Output]:
        """Return a model like this one with another tokenizer. The two share the network and the threads."""
        model = copy.copy(self)
        model.tokenizer = tokenizer
        return model

    def run(self, inputs: Sequence[Input], *, progress: Progress | None = None) -> Computed[Output]:
        """Tokenise and compute the inputs. `progress` is called repeatedly with the number of inputs that were finished."""
        batch = _Batch(self, inputs, progress)
        batch.tokenise(range(len(batch.chunks)))
        self.workers.run(batch.computing_work())
        return batch.computed()

    async def arun(self, inputs: Sequence[Input]) -> Computed[Output]:
        """Do what `run` does without blocking the event loop. Cancelling it stops work that has not begun."""
        batch = await off_loop(len(inputs) > FEW_TEXTS, _Batch, self, inputs, None)
        await self.workers.arun(batch.tokenising_work())
        await self.workers.arun(await off_loop(len(inputs) > FEW_TEXTS, batch.computing_work))
        return await off_loop(len(inputs) > FEW_TEXTS, batch.computed)

    def encode(self, inputs: Iterable[Input]) -> Iterator[Encoded]:
        """Yield the tokens of each input. Only one chunk of inputs is held in memory at a time."""
        for chunk in self.chunks(inputs):
            yield from self.tokenizer.encode(chunk)

    def chunks(self, inputs: Iterable[Input]) -> Iterator[list[Input]]:
        """Return the inputs in lists that are tokenised together."""
        return groups_to_tokenise(inputs, self.tokenizer.character_count)

    def compute(self, encoded: Sequence[Encoded]) -> Sequence[Array]:
        """Return the network's result for each input, computed on the calling thread: (width,), or (tokens, width)."""
        return self.split(self._run(encoded), encoded)

    def split(self, rows: Array, encoded: Sequence[Encoded]) -> Sequence[Array]:
        """Return the network's result for each input, from that for all. Raises ModelError for an impossible result."""
        if rows.shape[1] != self.width:
            raise ModelError(f"{self.files.name} computed {rows.shape[1]} numbers for a text, not {self.width}")
        self._check_finite(rows)
        if not self._per_token:
            return list(rows)
        return np.split(rows, np.cumsum([len(item.ids) for item in encoded[:-1]]))

    def shared_work(self, encoded: Sequence[Encoded]) -> SharedWork | None:
        """Return the work on the inputs that several workers compute together, None if each is computed on one thread."""
        segments = [self.tokenizer.segment_ids(item) for item in encoded]
        return self.network.shared_work([item.ids for item in encoded], segments, common_beginnings(encoded))

    def _run(self, encoded: Sequence[Encoded]) -> Array:
        """Return the network's result, shape (inputs, width), or (tokens of all inputs, width) with `per_token`."""
        return self.network.run([item.ids for item in encoded], [self.tokenizer.segment_ids(item) for item in encoded])

    def _check_finite(self, rows: Array) -> None:
        if not np.isfinite(rows).all():
            raise ModelError(f"{self.files.name} computed a number that is not finite; its weights are damaged")


def common_beginnings(encoded: Sequence[Encoded]) -> list[int]:
    """Return, for each input, how many of its first ids it has in common with all inputs of the same query.

    These are its `shared_tokens`, and the ids after them that happen to be equal, such as those of a title. At least one id of
    each input is left.
    """
    groups: dict[bytes, list[int]] = {}
    for index, item in enumerate(encoded):
        if item.shared_tokens:
            groups.setdefault(item.ids[: item.shared_tokens].tobytes(), []).append(index)
    counts = [0] * len(encoded)
    for indices in groups.values():
        count = min(len(encoded[index].ids) for index in indices) - 1
        common = encoded[indices[0]].ids[:count]
        for index in indices:
            different = np.flatnonzero(encoded[index].ids[: len(common)] != common)
            common = common[: different[0]] if len(different) else common
        for index in indices:
            counts[index] = len(common)
    return counts


class _Batch(Generic[Input, Output]):
    """A list of inputs while it is computed: first the work of tokenising, then that of the network.

    Equal inputs are one unique input. An index of an input is its index in the list of unique inputs.
    """

    def __init__(self, model: LoadedModel[Input, Output], inputs: Sequence[Input], progress: Progress | None) -> None:
        self._model = model
        self._progress = progress
        self._progress_lock = threading.Lock()
        indices_by_input: dict[Input, int] = {}
        self._indices = [indices_by_input.setdefault(item, len(indices_by_input)) for item in inputs]
        self._repeat_counts = Counter(self._indices)
        self._unique_inputs = list(indices_by_input)
        self.chunks = list(model.chunks(self._unique_inputs))
        self._encoded_chunks: list[list[Encoded]] = [[] for _ in self.chunks]
        self._encoded: list[Encoded] = []
        self._shared: SharedWork | None = None
        self._outputs: list[Output | None] = [None] * len(self._unique_inputs)

    def tokenising_work(self) -> Work:
        """Return the work of tokenising the chunks."""
        character_counts = [sum(map(self._model.tokenizer.character_count, chunk)) for chunk in self.chunks]
        return Work([1 + count // CHARACTERS_PER_TOKEN for count in character_counts], self.tokenise)

    def tokenise(self, chunk_indices: Iterable[int]) -> None:
        for chunk_index in chunk_indices:
            self._encoded_chunks[chunk_index] = self._model.tokenizer.encode(self.chunks[chunk_index])

    def computing_work(self) -> Work:
        """Return the work of computing the inputs, which must have been tokenised."""
        self._encoded = [item for chunk in self._encoded_chunks for item in chunk]
        model = self._model
        shared = self._shared = model.shared_work(self._encoded)
        return Work(
            shared.lengths if shared else [len(item.ids) for item in self._encoded],
            self._compute,
            at_once=model.network.tokens_at_once,
            workers=model.workers.count,
            groups=shared.groups if shared else None,
            helpers=shared,
        )

    def _compute(self, indices: Sequence[int]) -> None:
        encoded = [self._encoded[index] for index in indices]
        results = self._model.split(self._shared.run(indices), encoded) if self._shared else self._model.compute(encoded)
        for index, tokens, result in zip(indices, encoded, results, strict=True):
            self._outputs[index] = self._model.output(self._unique_inputs[index], tokens, result)
        if self._progress:
            with self._progress_lock:
                self._progress(sum(self._repeat_counts[index] for index in indices))

    def computed(self) -> Computed[Output]:
        """Return the outputs, after all work has been done."""
        return Computed(self._indices, self._encoded, cast("list[Output]", self._outputs))
