"""Embedder, which turns texts into vectors with a bi-encoder of sentence-transformers. It runs like the cross-encoders."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from podium.documents import texts_of
from podium.errors import InvalidInput, ModelNotFound, PodiumError
from podium.local.build import load_embedder
from podium.local.files.checkpoint import Array
from podium.local.files.resolve import find_model
from podium.local.model import Computed, LoadedModel, Options, loading
from podium.local.runtimes import Precision, PrecisionOption, RuntimeOption
from podium.local.spec import Spec, read_spec
from podium.local.tokenizer import Encoded, TextTokenizer
from podium.schedule import FEW_TEXTS, off_loop

__all__ = ["Embedder"]

# The names of prompts that sentence-transformers tries for documents, in its order.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


class Embedder:
    """Turns texts into vectors: a bi-encoder of sentence-transformers, named org/model or ./folder.

    The model's files decide how it pools, whether it normalises, and which prompts it has. `precision`, `runtime`, `threads`,
    `max_length`, `revision`, `cache_dir` and `token` are those of `podium.load`. Safe to share between threads and event loops.
    It is a function from texts to vectors, so it can be passed as `embed=`. Raises ModelError, or InvalidInput for an option.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        precision: PrecisionOption | None = None,
        runtime: RuntimeOption = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> None:
        options = Options(precision, runtime, threads, max_length)
        files = find_model(name, revision=revision, cache_dir=cache_dir, token=token)
        if files is None:
            raise ModelNotFound(
                f"there is no embedder {os.fspath(name)!r}; name a folder (./path) or a model on the hub (org/model)"
            )
        with loading(files):
            spec = read_spec(files.folder)
            self._loaded_model = LoadedModel(
                files,
                spec,
                options,
                load=load_embedder,
                tokenizer=_tokenizer,
                output=_vector,
                probe="a",  # any text
            )
        self.model = files.name
        self.revision = files.revision
        self.dimensions = self._loaded_model.width
        self.max_length = self._loaded_model.tokenizer.max_length
        self.prompts = dict(self._loaded_model.spec.prompts)
        self._is_normalised = self._loaded_model.spec.modules[-1].kind == "Normalize"
        self._is_closed = False
        self._truncated_count = 0
        self._lock = threading.Lock()  # held while _truncated_count is changed

    @property
    def precision(self) -> Precision:
        return self._loaded_model.choice.variant.precision

    def __repr__(self) -> str:
        return f"Embedder({self.model!r}, precision={self.precision!r})"

    def embed(self, texts: Iterable[str], *, prompt: str | None = None) -> Array:
        """Return one vector per text, float32 of shape (texts, dimensions), in the order of the texts.

        `prompt` is a name in `prompts`; that prompt is put before each text. By default it is the model's default prompt, if
        there is one. Only `max_length` tokens of a text are read: `truncated` counts longer texts, and `dropped_tokens` returns
        how many tokens are not read. Raises InvalidInput if `texts` is not a list of strings, or if there is no such prompt.
        """
        return self._vectors(self._loaded_model.run(_with_prompt(self._prompt(prompt), texts)))

    __call__ = embed

    async def aembed(self, texts: Iterable[str], *, prompt: str | None = None) -> Array:
        """Do what `embed` does without blocking the event loop. Cancelling it stops work that has not begun."""
        prefix = self._prompt(prompt)
        text_list = _checked_list(texts)
        inputs = await off_loop(len(text_list) > FEW_TEXTS, _with_prompt, prefix, text_list)
        computed = await self._loaded_model.arun(inputs)
        return await off_loop(len(text_list) > FEW_TEXTS, self._vectors, computed)

    def embed_query(self, query: str) -> Array:
        """Return a query's vector, shape (dimensions,), with the model's prompt for queries if it has one."""
        vector: Array = self.embed([query], prompt="query" if "query" in self.prompts else None)[0]
        return vector

    def embed_documents(self, texts: Iterable[str]) -> Array:
        """Return the texts' vectors as `embed` does, with the model's prompt for documents if it has one."""
        return self.embed(texts, prompt=next((name for name in DOCUMENT_PROMPTS if name in self.prompts), None))

    def dropped_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens of each text `embed` does not read, with the model's default prompt."""
        encoded = self._loaded_model.encode(_with_prompt(self._prompt(None), texts))
        return [text.dropped_text_tokens for text in encoded]

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than `max_length`. Equal texts in one call count once."""
        return self._truncated_count

    def close(self) -> None:
        """Release the threads. The embedder must not be used afterwards."""
        self._is_closed = True
        self._loaded_model.workers.close()

    def _prompt(self, name: str | None) -> str:
        """Return the prompt of this name, or the default prompt, which is "" if the model has none.

        Raises PodiumError if the embedder was closed: every method asks for the prompt first.
        """
        if self._is_closed:
            raise PodiumError("this embedder was closed; create another one")
        if name is None:
            return self.prompts.get("", "")
        if not isinstance(name, str) or name not in self.prompts:
            raise InvalidInput(f"{self.model} has no prompt {name!r}; it has {', '.join(filter(None, self.prompts)) or 'none'}")
        return self.prompts[name]

    def _vectors(self, computed: Computed[Array]) -> Array:
        """Return one vector per input, normalised if the model does that, and count the truncated texts."""
        with self._lock:
            self._truncated_count += sum(1 for text in computed.encoded if text.dropped_text_tokens)
        rows = np.array(computed.outputs, np.float32).reshape(-1, self.dimensions)
        if self._is_normalised:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)  # never divides by 0
        vectors: Array = rows[np.array(computed.indices, np.int64)]
        return vectors


def _vector(text: str, tokens: Encoded, result: Array) -> Array:
    """Return the output of a text, for LoadedModel: the network's result, which _vectors normalises."""
    return result


def _tokenizer(spec: Spec, max_length: int) -> TextTokenizer:
    return TextTokenizer(spec.base, max_length, do_lower_case=spec.do_lower_case)


def _checked_list(texts: Any) -> list[Any]:
    """Return the texts as a list. Raises InvalidInput for a string, and for other values that are not iterable."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InvalidInput(f"texts must be a list of strings, not one {type(texts).__name__}; put it in a list")
    return list(texts)


def _with_prompt(prompt: str, texts: Any) -> list[str]:
    """Return the texts with the prompt before each. Unpaired surrogates are replaced as in documents; blank texts are kept.

    Raises InvalidInput if `texts` is not a list of strings.
    """
    text_list = _checked_list(texts)
    for index, text in enumerate(text_list):
        if not isinstance(text, str):
            raise InvalidInput(f"text {index} is a {type(text).__name__}; an embedder takes strings")
    valid_texts = texts_of(text_list)  # None for a blank text
    return [prompt + (text if valid is None else valid) for text, valid in zip(text_list, valid_texts, strict=True)]
