"""Unigram tokenizers with their vocabulary in tokenizer.safetensors, which loads faster (docs/model-files.md).

Hugging Face's `tokenizers` applies the rules in tokenizer.json, which split a text into words. The native core splits the words
into pieces, and returns the ids that `tokenizers` would return.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer as FastTokenizer

from podium.errors import ModelError
from podium.local.files.checkpoint import Array
from podium.regular_files import open_regular_file

__all__ = [
    "PIECES_FILE",
    "PieceSplitter",
    "Vocabulary",
    "character_tokenizer",
    "has_pieces_file",
    "json_with_vocabulary",
    "read_vocabulary",
]

PIECES_FILE = "tokenizer.safetensors"
TYPES = {"characters": np.uint8, "ends": np.uint32, "scores": np.float32}  # the tensors of the file
# Models of `tokenizers` whose tokens are words, and single characters. Their vocabulary has only a noncharacter, so all text is
# unknown to them: Unigram joins the unknown characters of a word to one token, and BPE makes a token of each.
UNKNOWN = "\U0010ffff"
WORD_MODEL = {"type": "Unigram", "unk_id": 0, "vocab": [[UNKNOWN, 0.0]], "byte_fallback": False}
CHARACTER_MODEL = {
    "type": "BPE",
    "unk_token": UNKNOWN,
    "fuse_unk": False,
    "byte_fallback": False,
    "vocab": {UNKNOWN: 0},
    "merges": [],
}


class Vocabulary(NamedTuple):
    """The pieces of a Unigram model.

    - `characters`: the UTF-8 bytes of all pieces, uint8.
    - `ends`: the index of the byte after each piece, uint32 of shape (pieces,).
    - `scores`: the logarithms of the pieces' probabilities, float32 of shape (pieces,).
    """

    characters: Array
    ends: Array
    scores: Array

    @classmethod
    def from_pieces(cls, pieces: Iterable[tuple[str, float]]) -> Vocabulary:
        """Return the vocabulary of (piece, score) pairs, in the order of their ids."""
        names, scores = zip(*pieces, strict=True)
        encoded = [name.encode() for name in names]
        characters = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(characters, np.cumsum([len(name) for name in encoded]).astype(np.uint32), np.array(scores, np.float32))

    def is_valid(self) -> bool:
        """Whether there are pieces, none is empty, each is valid UTF-8, and each has a finite score."""
        starts = np.append(np.uint32(0), self.ends[:-1])
        is_divided = len(self.ends) > 0 and (starts < self.ends).all() and self.ends[-1] == len(self.characters)
        if not is_divided or len(self.scores) != len(self.ends) or not np.isfinite(self.scores).all():
            return False
        if (self.characters[starts] & 0xC0 == 0x80).any():  # A piece begins inside a character.
            return False
        try:
            self.characters.tobytes().decode()
        except UnicodeDecodeError:
            return False
        return True

    def pieces(self) -> list[tuple[str, float]]:
        """Return (piece, score) pairs in the order of their ids."""
        content = self.characters.tobytes()
        starts = [0, *self.ends[:-1].tolist()]
        names = [content[start:end].decode() for start, end in zip(starts, self.ends.tolist(), strict=True)]
        return list(zip(names, self.scores.tolist(), strict=True))


def has_pieces_file(folder: Path) -> bool:
    return (folder / PIECES_FILE).exists()


def read_vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary in a folder. Raises ModelError if its file is damaged."""
    path = folder / PIECES_FILE
    try:
        open_regular_file(path).close()  # because safetensors would wait for a named pipe
        with safe_open(str(path), framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in TYPES}
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error
    have_types = all(array.ndim == 1 and array.dtype == TYPES[name] for name, array in arrays.items())
    vocabulary = Vocabulary(**arrays)
    if not have_types or not vocabulary.is_valid():
        raise _damaged(path)
    return vocabulary


def json_with_vocabulary(folder: Path, rules: dict[str, Any]) -> str:
    """Return a complete tokenizer.json for `tokenizers`, which takes a second to load it for 250,000 pieces.

    `rules` is the content of tokenizer.json. Raises ModelError as PieceSplitter does.
    """
    model = _unigram_model(folder, rules)
    pieces = read_vocabulary(folder).pieces()
    if len(dict(pieces)) < len(pieces):
        raise _damaged(folder / PIECES_FILE)
    return json.dumps(rules | {"model": model | {"vocab": pieces}})


def _unigram_model(folder: Path, rules: dict[str, Any]) -> dict[str, Any]:
    """Return the model in tokenizer.json. Raises ModelError unless it is Unigram without bytes, with a separate vocabulary."""
    model = rules.get("model")
    if not isinstance(model, dict):
        raise _damaged(folder / PIECES_FILE)
    if model.get("type") != "Unigram" or model.get("byte_fallback") or model.get("vocab") != PIECES_FILE:
        raise _damaged(folder / PIECES_FILE)
    return model


class PieceSplitter:
    """Splits the words of texts into pieces. Safe to share between threads.

    `rules` is the content of tokenizer.json, and `core` the native core. `word_tokenizer_json` is the tokenizer.json of the
    tokenizer whose encodings the methods take. Raises ModelError if the vocabulary is damaged, or if the rules are not those of
    a Unigram model.
    """

    def __init__(self, folder: Path, rules: dict[str, Any], core: ModuleType) -> None:
        model = _unigram_model(folder, rules)
        vocabulary = read_vocabulary(folder)
        added_tokens = rules.get("added_tokens") or []
        try:
            # The word tokenizer gives words the id 0, and added tokens 1, 2, … in their order. This list has the model's ids.
            self._added_ids = [0, *(_checked_id(token["id"]) for token in added_tokens)]
            self._model = core.Unigram(*vocabulary, unknown_id=_checked_id(model["unk_id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(folder / PIECES_FILE) from error
        renumbered = [token | {"id": index} for index, token in enumerate(added_tokens, start=1)]
        self.word_tokenizer_json = json.dumps(rules | {"added_tokens": renumbered, "model": WORD_MODEL})

    def ids(self, word_encodings: Sequence[Any]) -> list[Array]:
        """Return each text's ids. `word_encodings` are the encodings of the texts by the word tokenizer."""
        ids, _, counts = self._split(word_encodings)
        return _divided(ids, counts)

    def starts(self, word_encodings: Sequence[Any], character_encodings: Sequence[Any]) -> list[Array]:
        """Return the position of the first character of each piece of each text, int32 of shape (pieces,).

        `character_encodings` are the encodings of the same texts by the tokenizer that `character_tokenizer` returns.
        """
        _, lengths, counts = self._split(word_encodings)
        starts = []
        for text_lengths, encoding in zip(_divided(lengths, counts), character_encodings, strict=True):
            positions = np.array([start for start, _ in encoding.offsets], np.int32)
            first_characters = np.cumsum(text_lengths) - text_lengths  # the index of each piece's first character
            starts.append(positions[first_characters])
        return starts

    def _split(self, word_encodings: Sequence[Any]) -> tuple[Array, Array, Array]:
        """Return the ids of all pieces, their lengths in characters, and the number of pieces of each text.

        An added token is a piece of one character, because `character_tokenizer` makes one token of it, too.
        """
        split: tuple[Array, Array, Array] = self._model.split([self._words_and_ids(encoding) for encoding in word_encodings])
        return split

    def _words_and_ids(self, encoding: Any) -> list[str | int]:
        """Return the words of a text and the model's ids of the added tokens in it, in one list in their order."""
        words: list[str | int] = encoding.tokens
        added_numbers = encoding.ids  # 0 for words
        if not any(added_numbers):
            return words
        return [self._added_ids[number] if number else word for word, number in zip(words, added_numbers, strict=True)]


def _checked_id(token_id: Any) -> int:
    if not isinstance(token_id, int) or not 0 <= token_id < 2**31:
        raise ValueError("a token's id is not valid")
    return token_id


def _divided(values: Array, counts: Array) -> list[Array]:
    """Return the values divided into arrays that follow each other, with `counts` values each."""
    ends = np.cumsum(counts)
    return [values[end - count : end] for count, end in zip(counts, ends, strict=True)]


def character_tokenizer(word_tokenizer: FastTokenizer) -> FastTokenizer:
    """Return a tokenizer with the same rules, whose tokens are single characters and added tokens."""
    return FastTokenizer.from_str(json.dumps(json.loads(word_tokenizer.to_str()) | {"model": CHARACTER_MODEL}))


def _damaged(path: Path) -> ModelError:
    return ModelError(f"{path}, or tokenizer.json next to it, is damaged; download both again")
