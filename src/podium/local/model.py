"""LoadedModel, what LocalScorer and Embedder share: files, tokenizer, network and threads, and how a batch is computed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args

import numpy as np

from podium.errors import Argument, InvalidInput, ModelError, PodiumError, UnsupportedModel
from podium.local.autotune import Load, choose
from podium.local.build import variants_for
from podium.local.cpu import cores
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.runtimes import PrecisionOption, RuntimeOption
from podium.local.schedule import Work, Workers, off_loop
from podium.local.spec import Spec, read_spec
from podium.local.tokenizer import Encoded, Tokenizer
from podium.types import Progress

__all__ = ["Computed", "LoadedModel", "Options"]

Input = TypeVar("Input", bound=Hashable)

CHUNK_INPUTS, CHUNK_CHARACTERS = 64, 200_000  # tokenised in a few milliseconds
CHARACTERS_PER_TOKEN = 4  # about, for a fair share of the workers


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a model, as users choose it. Raises InvalidInput."""

    precision: PrecisionOption = "float32"
    runtime: RuntimeOption = "auto"
    threads: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in get_args(PrecisionOption):
            raise InvalidInput(Argument("precision"), f" must be 'float32', 'int8' or 'auto', not {self.precision!r:.40}")
        if self.runtime not in get_args(RuntimeOption):
            raise InvalidInput(Argument("runtime"), f" must be 'native', 'onnx' or 'auto', not {self.runtime!r:.40}")
        for name, value in (("threads", self.threads), ("max_length", self.max_length)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidInput(Argument(name), f" must be a positive whole number, not {value!r:.40}")


@dataclass(frozen=True, slots=True)
class Computed:
    """A network's outputs for a list of inputs. Equal inputs were computed once.

    Input i is `encoded[indices[i]]`; its outputs are the row `rows[indices[i]]`, float32.
    """

    indices: list[int]
    encoded: list[Encoded]
    rows: Array


class LoadedModel(Generic[Input]):
    """A model that is ready to compute. Safe to share between threads and event loops.

    `load` builds its network, `tokenizer` its tokenizer for a maximum length. `probe` is computed at once, which shows
    whether all shapes fit. Raises ModelError.
    """

    def __init__(
        self,
        files: ModelFiles,
        options: Options,
        *,
        load: Load,
        tokenizer: Callable[[Spec, int], Tokenizer[Input]],
        probe: Input,
    ) -> None:
        self.files = files
        try:
            self.spec = read_spec(files.folder)
            max_length = min(options.max_length or self.spec.max_length, self.spec.max_length)
            self.tokenizer = tokenizer(self.spec, max_length)
            variants = variants_for(self.spec, precision=options.precision, runtime=options.runtime)
            self.choice = choose(self.spec, variants, load)
            self.network = load(self.spec, self.choice.variant)
            self.outputs = self._run(self.tokenizer.encode([probe])).shape[1]
        except PodiumError:
            raise
        except Exception as error:  # files can be wrong in more ways than can be listed
            raise UnsupportedModel(
                f"{files.name[:200]}: its config.json, tokenizer or modules.json is not that of a supported model "
                f"({type(error).__name__}); download the model's own files again"
            ) from error
        self.workers = Workers(options.threads or cores())

    def run(self, inputs: Sequence[Input], *, progress: Progress | None = None) -> Computed:
        """Tokenise and compute inputs. `progress` is told how many are done."""
        batch = _Batch(self, inputs, progress)
        batch.tokenise(range(len(batch.chunks)))
        self.workers.run(batch.computing())
        return batch.computed()

    async def arun(self, inputs: Sequence[Input]) -> Computed:
        """Do what `run` does without blocking the event loop. Cancelling it stops work that has not begun."""
        batch = await off_loop(len(inputs), _Batch, self, inputs, None)
        await self.workers.arun(batch.tokenising())
        await self.workers.arun(await off_loop(len(inputs), batch.computing))
        return await off_loop(len(inputs), batch.computed)

    def encode(self, inputs: Iterable[Input]) -> Iterator[Encoded]:
        """Yield the tokens of each input. Holds a bounded number of texts' tokens at a time."""
        for chunk in self.chunks(inputs):
            yield from self.tokenizer.encode(chunk)

    def chunks(self, inputs: Iterable[Input]) -> Iterator[list[Input]]:
        """Yield the inputs in lists that are tokenised at once."""
        chunk: list[Input] = []
        characters = 0
        for item in inputs:
            length = self.tokenizer.characters(item)
            if chunk and (len(chunk) == CHUNK_INPUTS or characters + length > CHUNK_CHARACTERS):
                yield chunk
                chunk, characters = [], 0
            chunk.append(item)
            characters += length
        if chunk:
            yield chunk

    def compute(self, encoded: Sequence[Encoded]) -> Array:
        """Return the network's outputs, float32 of shape (inputs, outputs), computed on the calling thread."""
        rows = self._run(encoded)
        if rows.shape[1] != self.outputs:
            raise ModelError(f"{self.files.name} computed {rows.shape[1]} numbers for a text, not {self.outputs}")
        return rows

    def _run(self, encoded: Sequence[Encoded]) -> Array:
        rows = self.network.run([item.ids for item in encoded], [self.tokenizer.segment_ids(item) for item in encoded])
        if not np.isfinite(rows).all():
            raise ModelError(f"{self.files.name} computed a number that is not finite; its weights are damaged")
        return rows


class _Batch(Generic[Input]):
    """Inputs on their way through tokenizer and network."""

    def __init__(self, model: LoadedModel[Input], inputs: Sequence[Input], progress: Progress | None) -> None:
        self._model = model
        self._progress = progress
        self._progress_lock = threading.Lock()
        index_of: dict[Input, int] = {}
        self._indices = [index_of.setdefault(item, len(index_of)) for item in inputs]
        self._repeats = Counter(self._indices)
        self.chunks = list(model.chunks(index_of))
        self._encoded: list[list[Encoded]] = [[] for _ in self.chunks]
        self._flat: list[Encoded] = []
        self._rows = np.zeros((len(index_of), model.outputs), np.float32)

    def tokenising(self) -> Work:
        characters = [sum(map(self._model.tokenizer.characters, chunk)) for chunk in self.chunks]
        return Work([1 + count // CHARACTERS_PER_TOKEN for count in characters], self.tokenise)

    def tokenise(self, chunks: Iterable[int]) -> None:
        for chunk in chunks:
            self._encoded[chunk] = self._model.tokenizer.encode(self.chunks[chunk])

    def computing(self) -> Work:
        self._flat = [item for chunk in self._encoded for item in chunk]
        lengths = [len(item.ids) for item in self._flat]
        model = self._model
        return Work(lengths, self._compute, at_once=model.network.tokens_at_once, workers=model.workers.count)

    def _compute(self, items: Sequence[int]) -> None:
        self._rows[list(items)] = self._model.compute([self._flat[item] for item in items])
        if self._progress:
            with self._progress_lock:
                self._progress(sum(self._repeats[item] for item in items))

    def computed(self) -> Computed:
        return Computed(self._indices, self._flat, self._rows)
