"""Embedder: texts → vectors, by a sentence-transformers bi-encoder on the network, schedule and tokens of the cross-encoders.

It finds candidates; it does not rank them. Where the vectors are kept is a source's business.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from podium.documents import texts_of
from podium.errors import InvalidInput, ModelError, ModelNotFound, PodiumError, UnsupportedModel
from podium.local import build as network
from podium.local import spec as models
from podium.local.autotune import choose
from podium.local.cpu import cores
from podium.local.files.checkpoint import Array
from podium.local.files.resolve import find_model
from podium.local.graph import Precision
from podium.local.runtimes import RuntimeName
from podium.local.schedule import Work, Workers, beside_loop
from podium.local.scorer import check_options
from podium.local.tokenizer import TextTokenizer

__all__ = ["Embedder"]

# What sentence-transformers looks for, in its order, when it is told that a text is a document.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


class Embedder:
    """Turn texts into vectors: a bi-encoder of the sentence-transformers kind, named org/model or ./folder.

    Pools, normalises and puts prompts in front as the model's own files say. `precision`, `runtime`, `threads`,
    `max_length`, `revision`, `cache_dir` and `token` as for `podium.load`. Safe to share between threads and event loops.
    It is a callable, texts → vectors, so it goes wherever one is asked for (`embed=`). Raises ModelError.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        precision: Precision | Literal["auto"] = "float32",
        runtime: RuntimeName | Literal["auto"] = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> None:
        check_options(precision, threads, max_length, runtime)
        self._closed = False
        self._lock, self._truncated = threading.Lock(), 0
        found = find_model(name, revision=revision, cache_dir=cache_dir, token=token)
        if found is None:
            raise ModelNotFound(
                f"there is no embedder {os.fspath(name)!r}; name a folder (./path) or one on the hub (org/model)"
            )
        self.model, self.revision = found.name, found.revision
        try:
            self._load(found.folder, precision, runtime, max_length)
        except PodiumError:
            raise
        except Exception as error:  # as for a cross-encoder: its files can be wrong in any way
            raise UnsupportedModel(
                f"{found.name[:200]}: its config.json, tokenizer or modules.json is not what one of its kind should be "
                f"({type(error).__name__}); bring the model's own files again"
            ) from error
        self._workers = Workers(threads or cores())
        self.dimensions: int = self.embed(["a"]).shape[1]

    def _load(self, folder: Path, precision: Any, runtime: Any, max_length: int | None) -> None:
        spec = models.read(folder)
        self.max_length = min(max_length or spec.max_length, spec.max_length)
        self.choice = choose(spec, precision, runtime, network.load_embedder)
        self._network = network.load_embedder(spec, self.choice.precision, self.choice.runtime)
        self._tokenizer = TextTokenizer(spec.weights[0].parent, self.max_length, do_lower_case=spec.do_lower_case)
        self.prompts = dict(spec.prompts)
        self._normalised = spec.modules[-1].kind == "Normalize"

    @property
    def precision(self) -> Precision:
        return self.choice.precision

    def __repr__(self) -> str:
        return f"Embedder({self.model!r}, precision={self.precision!r})"

    def embed(self, texts: Iterable[str], *, prompt: str | None = None) -> Array:
        """Return one vector per text, float32 of shape (texts, dimensions), in their order.

        `prompt` is the name of one of the model's `prompts`, put before each text; the model's own default where None.
        Texts longer than `max_length` tokens are read up to there: `truncated` counts them, and `dropped_tokens` says how
        much that leaves out.
        """
        batch = _Batch(self, texts, self._prompt(prompt))
        batch.tokenise()
        self._workers.run(batch.work())
        return batch.vectors()

    __call__ = embed

    async def aembed(self, texts: Iterable[str], *, prompt: str | None = None) -> Array:
        """Do what `embed` does without blocking the event loop; cancelling it stops the work that has not started."""
        prefix = self._prompt(prompt)
        listed = _listed(texts)
        batch = await beside_loop(len(listed), _Batch, self, listed, prefix)
        await self._workers.arun(Work([1], lambda _: batch.tokenise()))
        await self._workers.arun(await beside_loop(len(listed), batch.work))
        return await beside_loop(len(listed), batch.vectors)

    def embed_query(self, query: str) -> Array:
        """Return a query's vector, shape (dimensions,), with the model's prompt for queries where it has one."""
        row: Array = self.embed([query], prompt="query" if "query" in self.prompts else None)[0]
        return row

    def embed_documents(self, texts: Iterable[str]) -> Array:
        """Return what `embed` does, with the model's prompt for documents where it has one."""
        return self.embed(texts, prompt=next((name for name in DOCUMENT_PROMPTS if name in self.prompts), None))

    def dropped_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens of each text `embed` does not read."""
        before = self._prompt(None)
        return [dropped for _, dropped in self._tokenizer.texts([before + text for text in _checked(texts)])]

    @property
    def truncated(self) -> int:
        """Return how many texts so far were longer than is read."""
        return self._truncated

    def count_truncated(self, count: int) -> None:
        with self._lock:
            self._truncated += count

    def close(self) -> None:
        """Give up its threads. It must not be used afterwards."""
        self._closed = True
        self._workers.close()

    def vectors(self, ids: Sequence[Array]) -> Array:
        """Compute texts, here and now: float32 of shape (texts, dimensions)."""
        rows = self._network.run(ids, [np.zeros(len(each), np.int32) for each in ids])
        if not np.isfinite(rows).all():
            raise ModelError(f"{self.model} gave a vector that is not finite; its weights are damaged")
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) if self._normalised else rows

    def work(self, lengths: Sequence[int], run: Callable[[Sequence[int]], None]) -> Work:
        return Work(lengths, run, at_once=self._network.tokens_at_once, workers=self._workers.count)

    def _prompt(self, name: str | None) -> str:
        if self._closed:
            raise PodiumError("this embedder was closed; make it again")
        if name is None:
            return self.prompts.get("", "")
        if not isinstance(name, str) or name not in self.prompts:
            raise InvalidInput(f"{self.model} has no prompt {name!r}; it has {', '.join(filter(None, self.prompts)) or 'none'}")
        return self.prompts[name]


class _Batch:
    """Texts on their way to vectors. Identical texts are computed once."""

    def __init__(self, embedder: Embedder, texts: Iterable[str], prompt: str) -> None:
        self._embedder = embedder
        self._texts = [prompt + text for text in _checked(texts)]
        self._ids: list[Array] = []
        self._rows: list[Any] = []

    def tokenise(self) -> None:
        self._places = {text: at for at, text in enumerate(dict.fromkeys(self._texts))}
        read = list(self._embedder._tokenizer.texts(list(self._places)))
        self._ids = [ids for ids, _ in read]
        self._embedder.count_truncated(sum(1 for _, dropped in read if dropped))
        self._rows = [None] * len(self._ids)

    def work(self) -> Work:
        return self._embedder.work([len(ids) for ids in self._ids], self._compute)

    def _compute(self, items: Sequence[int]) -> None:
        for at, row in zip(items, self._embedder.vectors([self._ids[at] for at in items]), strict=True):
            self._rows[at] = row

    def vectors(self) -> Array:
        if not self._texts:
            return np.zeros((0, self._embedder.dimensions), np.float32)
        return np.stack([self._rows[self._places[text]] for text in self._texts]).astype(np.float32, copy=False)


def _listed(texts: Any) -> list[Any]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InvalidInput(f"texts must be a list of strings, not one {type(texts).__name__}; put it in a list")
    return list(texts)


def _checked(texts: Any) -> list[str]:
    read = _listed(texts)
    for at, text in enumerate(read):
        if not isinstance(text, str):
            raise InvalidInput(f"text {at} is a {type(text).__name__}; an embedder takes strings")
    return [text if mended is None else mended for text, mended in zip(read, texts_of(read), strict=True)]
