"""Query + text, or a text alone → token ids. Truncation happens here, exactly as the reference does it, and is counted.

The tokenizer is never changed after it is loaded: no truncation and no padding are ever switched on in it, which is
what makes other packages fail under threads. The special tokens around a pair are read off once and laid by hand.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from podium.errors import ModelError, ModelNotFound, UnsupportedModel
from podium.local.files.checkpoint import Array

__all__ = ["Pair", "PairTokenizer", "TextTokenizer", "kept_lengths"]

# The tokenizer classes that tell a pair's two parts apart, as transformers 5 has them; generic classes don't, whatever
# the tokenizer's own template says. Where no class is named, the model's type decides.
SEGMENT_CLASSES = ("Bert", "Electra", "Deberta", "DebertaV2", "MobileBert", "SqueezeBert", "ConvBert", "LayoutLM", "Lxmert")
SEGMENT_TYPES = ("bert", "podium-late", "electra", "deberta", "deberta-v2", "mobilebert", "squeezebert", "convbert")
CHUNK_CHARACTERS, CHUNK_TEXTS = 1 << 20, 128


@dataclass(frozen=True, slots=True)
class Pair:
    """One query and text as the model reads them: `ids` of shape (tokens,), and where the text's own part begins."""

    ids: Array
    text_starts: int
    text_tokens: int
    text_dropped: int
    query_tokens: int
    query_dropped: int


class PairTokenizer:
    """Turn a query and texts into pairs of at most `max_length` tokens. Safe to share between threads."""

    def __init__(self, folder: Path, max_length: int, model_type: str, *, do_lower_case: bool = False) -> None:
        settings = _settings(folder)
        self._tokenizer = _tokenizer(folder, settings, do_lower_case)
        self._from_left = settings.get("truncation_side") == "left"
        self._before, self._between, self._after, self._segment = _frame(self._tokenizer)
        if not _has_segments(settings, model_type):
            self._segment = 0
        self.max_length = max_length
        # A call's texts come in several parts, each with the query, which may be as long as all of them.
        self._query_ids = functools.lru_cache(maxsize=4)(lambda query: self._ids([query])[0])
        self._room = max_length - len(self._before) - len(self._between) - len(self._after)
        if self._room < 2:
            raise UnsupportedModel(f"max_length={max_length} leaves no room for a query and a text; 8 or more is sensible")

    def pairs(self, query: str, texts: Sequence[str]) -> Iterator[Pair]:
        """Yield one Pair per text, in order. Holds the tokens of a bounded number of texts at a time."""
        asked = self._query_ids(query)
        for chunk in _chunks(texts):
            for ids in self._ids(chunk):
                yield self._pair(asked, ids)

    def segments(self, pair: Pair) -> Array:
        """Return the pair's segment ids, int32 of shape (tokens,): 0, then the text's own number from its first token."""
        segments = np.zeros(len(pair.ids), np.int32)
        segments[pair.text_starts :] = self._segment
        return segments

    def _ids(self, texts: Sequence[str]) -> list[Array]:
        return _ids(self._tokenizer, texts)

    def _pair(self, query: Array, text: Array) -> Pair:
        query_room, text_room = kept_lengths(len(query), len(text), self._room)
        query_ids, text_ids = self._cut(query, query_room), self._cut(text, text_room)
        ids = np.concatenate([self._before, query_ids, self._between, text_ids, self._after])
        return Pair(
            ids,
            text_starts=len(ids) - len(self._after) - len(text_ids),
            text_tokens=len(text_ids),
            text_dropped=len(text) - len(text_ids),
            query_tokens=len(query_ids),
            query_dropped=len(query) - len(query_ids),
        )

    def _cut(self, ids: Array, room: int) -> Array:
        return _cut(ids, room, self._from_left)


class TextTokenizer:
    """Turn texts into token ids, each alone, at most `max_length`. Safe to share between threads."""

    def __init__(self, folder: Path, max_length: int, *, do_lower_case: bool = False) -> None:
        settings = _settings(folder)
        self._tokenizer = _tokenizer(folder, settings, do_lower_case)
        self._from_left = settings.get("truncation_side") == "left"
        self._before, self._after = _frame_of_one(self._tokenizer)
        self.max_length = max_length
        self._room = max_length - len(self._before) - len(self._after)
        if self._room < 1:
            raise UnsupportedModel(f"max_length={max_length} leaves no room for a text; 8 or more is sensible")

    def texts(self, texts: Sequence[str]) -> Iterator[tuple[Array, int]]:
        """Yield each text's ids, of shape (tokens,), and how many of its tokens were dropped, in order."""
        for chunk in _chunks(texts):
            for ids in _ids(self._tokenizer, chunk):
                read = _cut(ids, self._room, self._from_left)
                yield np.concatenate([self._before, read, self._after]), len(ids) - len(read)


def kept_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each stay: the longer is cut down to the shorter, then both to half of the room.

    This is the "longest_first" of Hugging Face tokenizers, where the second has the odd token.
    """
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    long = max(short, room - short) if short <= room else short
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (short, long) if first <= second else (long, short)


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[Array]:
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [np.array(encoding.ids, np.int32) for encoding in encoded]


def _cut(ids: Array, room: int, from_left: bool) -> Array:
    return ids[max(len(ids) - room, 0) :] if from_left else ids[:room]


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        if chunk and (len(chunk) == CHUNK_TEXTS or characters + len(text) > CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += len(text)
    if chunk:
        yield chunk


def _frame(tokenizer: Any) -> tuple[Array, Array, Array, int]:
    """Read off the special tokens before, between and after a pair, and the segment number of its second part."""
    probe = tokenizer.encode("a", "b")
    parts = probe.sequence_ids
    if 0 not in parts or 1 not in parts:
        raise ModelError("its tokenizer makes no tokens of the letters a and b; the tokenizer file is damaged")
    ids = np.array(probe.ids, np.int32)
    first, second = parts.index(0), parts.index(1)
    if first == 0 or parts[-1] is not None:
        raise UnsupportedModel(
            "its tokenizer.json puts no special tokens around a query and a text (post_processor), without which no model of "
            "these families was trained; bring the model's own file"
        )
    first_end, second_end = len(parts) - parts[::-1].index(0), len(parts) - parts[::-1].index(1)
    return ids[:first], ids[first_end:second], ids[second_end:], int(probe.type_ids[second])


def _frame_of_one(tokenizer: Any) -> tuple[Array, Array]:
    """Read off the special tokens before and after a text that is alone."""
    probe = tokenizer.encode("a")
    special = probe.special_tokens_mask
    if 0 not in special:
        raise ModelError("its tokenizer makes no token of the letter a; the tokenizer file is damaged")
    ids = np.array(probe.ids, np.int32)
    return ids[: special.index(0)], ids[len(ids) - special[::-1].index(0) :]


def _has_segments(settings: dict[str, Any], model_type: str) -> bool:
    if inputs := settings.get("model_input_names"):
        return "token_type_ids" in inputs
    named = str(settings.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    return named in SEGMENT_CLASSES if named else model_type in SEGMENT_TYPES


def _settings(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {}
    except ValueError as error:
        raise ModelError(f"{folder / 'tokenizer_config.json'} is not valid JSON; bring it again") from error
    return found if isinstance(found, dict) else {}


def _tokenizer(folder: Path, settings: dict[str, Any], lowercase_first: bool) -> Any:
    tokenizer = _from_files(folder, settings)
    if lowercase_first:
        normalizer = tokenizer.normalizer
        tokenizer.normalizer = Normalizers([Lowercase(), *([normalizer] if normalizer else [])])
    return tokenizer


def _from_files(folder: Path, settings: dict[str, Any]) -> Any:
    if (folder / "tokenizer.json").exists():
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the Rust side raises bare Exception
            raise ModelError(f"{folder / 'tokenizer.json'} is damaged; bring it again") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    if (folder / "vocab.txt").exists():
        lowercase = bool(settings.get("do_lower_case", True))
        return BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase)._tokenizer
    raise ModelNotFound(
        f"{folder} has no tokenizer: neither tokenizer.json nor vocab.txt. Bring tokenizer.json, or make it with "
        "transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
    )
