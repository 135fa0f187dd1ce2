"""Tokenizers, which turn a pair of a query and a text, or a single text, into token ids.

Texts are truncated here, exactly as Hugging Face's tokenizers do it, and the dropped tokens are counted. The special tokens
around a pair are read from the tokenizer once and are added here. A loaded tokenizer is never changed: switching its own
truncation on and off would be a race between threads.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from podium.errors import Argument, ModelError, ModelNotFound, UnsupportedModel, is_rust_panic
from podium.local.files.checkpoint import Array
from podium.local.files.config import read_settings
from podium.local.pieces import PieceSplitter, character_tokenizer, has_pieces_file, json_with_vocabulary
from podium.local.runtimes import native_core
from podium.local.text_expansion import EXPANSION_LIMIT, expansion_bound

__all__ = ["Encoded", "PairTokenizer", "TextTokenizer", "Tokenizer", "load_tokenizer", "text_template", "truncated_lengths"]

Input = TypeVar("Input", bound=Hashable)

# The tokenizer classes that have segments in transformers 5. Generic classes do not have segments, even if the
# template in tokenizer.json does.
CLASSES_WITH_SEGMENTS = (
    "Bert", "Electra", "Deberta", "DebertaV2", "MobileBert", "SqueezeBert", "ConvBert", "LayoutLM", "Lxmert",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoded:
    """A pair or a text as the model reads it.

    - `ids`: all token ids, int32 of shape (tokens,).
    - `text_start`: the index of the text's first own token.
    - `text_tokens`, `dropped_text_tokens`: how many of the text's own tokens are in `ids`, and how many were cut off.
    - `query_tokens`, `dropped_query_tokens`: the same for the query of a pair.
    - `shared_tokens`: how many of the first ids all texts of the query have in common. A decoder computes them once.
    """

    ids: Array
    text_start: int
    text_tokens: int
    dropped_text_tokens: int
    query_tokens: int = 0
    dropped_query_tokens: int = 0
    shared_tokens: int = 0


class Tokenizer(ABC, Generic[Input]):
    """Turns inputs into at most `max_length` tokens each. Safe to share between threads."""

    def __init__(self, folder: Path, max_length: int, *, do_lower_case: bool = False) -> None:
        self.max_length = max_length
        self._settings = read_settings(folder / "tokenizer_config.json")
        # If there is a splitter, the tokens of `_tokenizer` are words, which the splitter splits.
        self._tokenizer, self._splitter = _load(folder)
        if do_lower_case:
            normalizer = self._tokenizer.normalizer
            self._tokenizer.normalizer = Normalizers([Lowercase(), *([normalizer] if normalizer else [])])
        self._cuts_beginning = self._settings.get("truncation_side") == "left"
        self._text_segment = 0  # the segment of the text's own tokens and of the special tokens after them

    @abstractmethod
    def encode(self, inputs: Sequence[Input]) -> list[Encoded]: ...

    @abstractmethod
    def character_count(self, item: Input) -> int:
        """Return about how many characters are tokenised for an input."""

    def segment_ids(self, encoded: Encoded) -> Array:
        """Return the segment of each token, int32 of shape (tokens,)."""
        segments = np.zeros(len(encoded.ids), np.int32)
        segments[encoded.text_start :] = self._text_segment
        return segments

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens. Raises ModelError as `token_starts` does."""
        if self._splitter:
            return [len(ids) for ids in self._tokenise(texts)]
        return [len(encoding) for encoding in self._encodings(texts, self._tokenizer.encode_batch_fast)]

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Return, for each text, the position of the first character of each token, without special tokens.

        Raises ModelError if the tokenizer's own rules fail.
        """
        encodings = self._encodings(texts, self._tokenizer.encode_batch)
        if self._splitter:
            characters = self._encodings(texts, character_tokenizer(self._tokenizer).encode_batch)
            return [_increasing(starts) for starts in self._splitter.starts(encodings, characters)]
        return [_increasing(np.array([start for start, _ in encoding.offsets], np.int32)) for encoding in encodings]

    @abstractmethod
    def text_limit(self, query: str) -> int:
        """Return how many tokens of a text are read together with a query."""

    def _tokenise(self, texts: Sequence[str]) -> list[Array]:
        """Return each text's ids, without special tokens. Raises ModelError if the tokenizer's own rules fail."""
        if self._splitter:
            return self._splitter.ids(self._encodings(texts, self._tokenizer.encode_batch))
        encodings = self._encodings(texts, self._tokenizer.encode_batch_fast)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def _encodings(self, texts: Sequence[str], encode: Callable[..., list[Any]]) -> list[Any]:
        """Return the encodings of Hugging Face's tokenizers. `encode` is one of its methods for several texts."""
        try:
            return encode(list(texts), add_special_tokens=False)
        except BaseException as error:
            if type(error) is not Exception and not is_rust_panic(error):  # tokenizers has no exceptions of its own
                raise
            raise ModelError(
                "a rule in the model's tokenizer.json fails on one of the texts; download the model's own file again, or use "
                "another model"
            ) from error

    def _truncate(self, ids: Array, length: int) -> Array:
        """Return at most `length` ids. The tokenizer's settings decide which end is cut off."""
        return ids[max(len(ids) - length, 0) :] if self._cuts_beginning else ids[:length]


class PairTokenizer(Tokenizer[tuple[str, str]]):
    """Encodes pairs of a query and a text.

    `has_segments`: whether the text is segment 1, if the tokenizer's settings do not decide it.
    """

    def __init__(self, folder: Path, max_length: int, *, has_segments: bool, do_lower_case: bool = False) -> None:
        super().__init__(folder, max_length, do_lower_case=do_lower_case)
        self._before, self._between, self._after, segment = _pair_template(self._tokenizer)
        if _has_segments(self._settings, has_segments):
            self._text_segment = segment
        # A query is encoded again with every chunk of its texts, and can be as long as all of them.
        self._ids_of_query = functools.lru_cache(maxsize=4)(lambda query: self._tokenise([query])[0])
        # How many tokens remain for the query and the text together.
        self._length = max_length - len(self._before) - len(self._between) - len(self._after)
        if self._length < 2:
            raise UnsupportedModel(
                Argument("max_length", max_length), " leaves no tokens for a query and a text; use 8 or more"
            )

    def encode(self, inputs: Sequence[tuple[str, str]]) -> list[Encoded]:
        text_ids = self._tokenise([text for _, text in inputs])
        return [self._encode_pair(self._ids_of_query(query), ids) for (query, _), ids in zip(inputs, text_ids, strict=True)]

    def character_count(self, item: tuple[str, str]) -> int:
        return len(item[1])  # The query is not counted, because its ids are cached.

    def text_limit(self, query: str) -> int:
        """Return how many tokens of a text are read together with a query.

        A query that takes more than three quarters of the tokens is cut to half of them, because a text of that length is never
        cut (see `truncated_lengths`).
        """
        remaining = self._length - len(self._ids_of_query(query))
        return remaining if remaining >= self._length // 4 else self._length // 2

    def _encode_pair(self, untruncated_query_ids: Array, untruncated_text_ids: Array) -> Encoded:
        query_length, text_length = truncated_lengths(len(untruncated_query_ids), len(untruncated_text_ids), self._length)
        query_ids = self._truncate(untruncated_query_ids, query_length)
        text_ids = self._truncate(untruncated_text_ids, text_length)
        ids = np.concatenate([self._before, query_ids, self._between, text_ids, self._after])
        return Encoded(
            ids,
            text_start=len(ids) - len(self._after) - len(text_ids),
            text_tokens=len(text_ids),
            dropped_text_tokens=len(untruncated_text_ids) - len(text_ids),
            query_tokens=len(query_ids),
            dropped_query_tokens=len(untruncated_query_ids) - len(query_ids),
        )


class TextTokenizer(Tokenizer[str]):
    """Encodes single texts."""

    def __init__(self, folder: Path, max_length: int, *, do_lower_case: bool = False) -> None:
        super().__init__(folder, max_length, do_lower_case=do_lower_case)
        self._before, self._after = text_template(self._tokenizer)
        self._length = max_length - len(self._before) - len(self._after)
        if self._length < 1:
            raise UnsupportedModel(Argument("max_length", max_length), " leaves no tokens for a text; use 8 or more")

    def encode(self, inputs: Sequence[str]) -> list[Encoded]:
        return [self._encode_text(ids) for ids in self._tokenise(inputs)]

    def character_count(self, item: str) -> int:
        return len(item)

    def text_limit(self, query: str) -> int:
        return self._length

    def _encode_text(self, untruncated_ids: Array) -> Encoded:
        text_ids = self._truncate(untruncated_ids, self._length)
        return Encoded(
            np.concatenate([self._before, text_ids, self._after]),
            text_start=len(self._before),
            text_tokens=len(text_ids),
            dropped_text_tokens=len(untruncated_ids) - len(text_ids),
        )


def _increasing(starts: Array) -> Sequence[int]:
    """Return the positions, int32 of shape (tokens,), each raised to the one before it."""
    return np.maximum.accumulate(starts) if len(starts) else starts  # type: ignore[return-value]  # bisect takes an array


def truncated_lengths(first_length: int, second_length: int, max_length: int) -> tuple[int, int]:
    """Return how many tokens are read of two texts with these lengths in tokens, at most `max_length` together.

    The longer text is cut, at most to the length of the shorter one. If that is not enough, both texts are cut to half of
    `max_length`. This is "longest_first" of Hugging Face's tokenizers, which gives an odd token to the second text.
    """
    if first_length + second_length <= max_length:
        return first_length, second_length
    shorter = min(first_length, second_length)
    longer = max(shorter, max_length - shorter)
    if shorter + longer > max_length:
        shorter, longer = max_length // 2, max_length - max_length // 2
    return (shorter, longer) if first_length <= second_length else (longer, shorter)


def _pair_template(tokenizer: FastTokenizer) -> tuple[Array, Array, Array, int]:
    """Return the special tokens before, between and after the texts of a pair, and the second text's segment."""
    probe = tokenizer.encode("a", "b")
    text_numbers = probe.sequence_ids  # the number of each token's text, 0 or 1; None for special tokens
    if 0 not in text_numbers or 1 not in text_numbers:
        raise ModelError("its tokenizer makes no tokens of the letters a and b; download the tokenizer's files again")
    first = text_numbers.index(0)
    second = text_numbers.index(1)
    if first == 0 or text_numbers[-1] is not None:
        raise UnsupportedModel(
            "its tokenizer.json puts no special tokens around a query and a text (post_processor), although the model was "
            "trained with them; download the file again"
        )
    ids = np.array(probe.ids, np.int32)
    first_end = len(text_numbers) - text_numbers[::-1].index(0)
    second_end = len(text_numbers) - text_numbers[::-1].index(1)
    return ids[:first], ids[first_end:second], ids[second_end:], int(probe.type_ids[second])


def text_template(tokenizer: FastTokenizer) -> tuple[Array, Array]:
    """Return the special tokens before and after a single text."""
    probe = tokenizer.encode("a")
    is_special = probe.special_tokens_mask  # 1 or 0 for each token
    if 0 not in is_special:
        raise ModelError("its tokenizer makes no token of the letter a; download the tokenizer's files again")
    ids = np.array(probe.ids, np.int32)
    return ids[: is_special.index(0)], ids[len(ids) - is_special[::-1].index(0) :]


def _has_segments(settings: dict[str, Any], default: bool) -> bool:
    """Whether the text of a pair is segment 1: by the model's inputs in the settings, else by the class, else `default`."""
    if inputs := settings.get("model_input_names"):
        return "token_type_ids" in inputs
    name = str(settings.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    return name in CLASSES_WITH_SEGMENTS if name else default


def load_tokenizer(folder: Path) -> FastTokenizer:
    """Return the tokenizer of the library. Raises what `_load` raises, and UnsupportedModel for a separate vocabulary."""
    tokenizer, splitter = _load(folder)
    if splitter:
        raise UnsupportedModel(f"{folder} has its vocabulary in a separate file, which this kind of model cannot have")
    return tokenizer


def _load(folder: Path) -> tuple[FastTokenizer, PieceSplitter | None]:
    """Load tokenizer.json, or vocab.txt if there is none.

    Also return the splitter of the words that the tokenizer returns, if the vocabulary is in a separate file.

    Raises ModelNotFound if there is neither file, ModelError for a damaged one, and UnsupportedModel for rules that can make a
    text much longer.
    """
    file = folder / "tokenizer.json"
    if file.is_file():
        content = _checked_content(file)
        splitter = None
        if has_pieces_file(folder):
            content, splitter = _content_and_splitter(folder)
        return _from_json(file, content), splitter
    if (folder / "vocab.txt").is_file():
        lowercase = bool(read_settings(folder / "tokenizer_config.json").get("do_lower_case", True))
        wordpiece: FastTokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase)._tokenizer
        return wordpiece, None
    raise ModelNotFound(
        f"{folder} has no tokenizer: neither tokenizer.json nor vocab.txt. Download tokenizer.json, or write it with "
        "transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
    )


def _checked_content(file: Path) -> str:
    """Return the content of tokenizer.json. Raises UnsupportedModel if its rules can make a text much longer.

    Loading applies the rules to the vocabulary's added tokens, so the rules are checked before.
    """
    try:
        content = file.read_text(encoding="utf-8")
        expansion = expansion_bound(content)
    except Exception as error:
        raise _damaged(file) from error
    if expansion > EXPANSION_LIMIT:
        raise UnsupportedModel(
            f"{file} has rules (normalizer, pre_tokenizer) that can make a text {expansion:,.0f} times longer, and podium "
            f"allows {EXPANSION_LIMIT}; download the model's own file again, or use another model"
        )
    return content


def _content_and_splitter(folder: Path) -> tuple[str, PieceSplitter | None]:
    """Return the JSON of the library's tokenizer, and the splitter of its words. Without the native core there is none."""
    rules = read_settings(folder / "tokenizer.json")
    core = native_core()
    if core is None:
        return json_with_vocabulary(folder, rules), None
    splitter = PieceSplitter(folder, rules, core)
    return splitter.word_tokenizer_json, splitter


def _from_json(file: Path, content: str) -> FastTokenizer:
    """Return a tokenizer of the library. `file` is named in errors."""
    try:
        tokenizer = FastTokenizer.from_str(content)
    except Exception as error:  # tokenizers has no exceptions of its own
        raise _damaged(file) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _damaged(file: Path) -> ModelError:
    return ModelError(f"{file} is damaged; download it again")
