"""Unigram tokenizers with their vocabulary in tokenizer.safetensors, which loads faster (docs/model-files.md).

The rules in tokenizer.json split a text into words, and the library tokenizers applies them. The native core splits words into
pieces, and returns the ids that the library would return.
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
    "library_json",
    "read_vocabulary",
]

PIECES_FILE = "tokenizer.safetensors"
TYPES = {"characters": np.uint8, "ends": np.uint32, "scores": np.float32}  # the tensors of the file
UNKNOWN = "\U0010ffff"  # a token whose id no text and no vocabulary needs
# A model of the library whose tokens are words, and one whose tokens are single characters.
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

    def pieces(self) -> list[tuple[str, float]]:
        """Return (piece, score) pairs in the order of their ids. Raises ValueError if a piece is not valid UTF-8."""
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
            arrays["characters"].tobytes().decode()  # The core checks that every piece begins with a whole character.
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise _damaged(path) from error
    are_valid = all(array.ndim == 1 and array.dtype == TYPES[name] for name, array in arrays.items())
    if not are_valid or not np.isfinite(arrays["scores"]).all():
        raise _damaged(path)
    return Vocabulary(**arrays)


def library_json(folder: Path, rules: dict[str, Any]) -> str:
    """Return a tokenizer.json with the vocabulary in it, for the library. It takes a second to load for 250,000 pieces."""
    try:
        pieces = read_vocabulary(folder).pieces()
    except ValueError as error:
        raise _damaged(folder / PIECES_FILE) from error
    return json.dumps(rules | {"model": rules["model"] | {"vocab": pieces}})


class PieceSplitter:
    """Splits the words of texts into pieces. Safe to share between threads.

    `rules` is the content of tokenizer.json, and `core` the native core. Raises ModelError if the vocabulary is damaged, or if
    the rules are not those of a Unigram model.
    """

    def __init__(self, folder: Path, rules: dict[str, Any], core: ModuleType) -> None:
        try:
            model = rules["model"]
            if model["type"] != "Unigram" or model.get("byte_fallback") or model["vocab"] != PIECES_FILE:
                raise ValueError("not a Unigram model without bytes")
            added_tokens = rules.get("added_tokens") or []
            # By the id of an added token in the library's tokenizers, its id in the model's vocabulary.
            self._added_ids = [0, *(_checked_id(token["id"]) for token in added_tokens)]
            self._model = core.Unigram(*read_vocabulary(folder), unknown_id=int(model["unk_id"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder / PIECES_FILE) from error
        renumbered = [token | {"id": index} for index, token in enumerate(added_tokens, start=1)]
        self.words = json.dumps(rules | {"added_tokens": renumbered, "model": WORD_MODEL})

    def ids(self, word_encodings: Sequence[Any]) -> list[Array]:
        """Return each text's ids. `word_encodings` are the encodings of the texts by the tokenizer `words`."""
        ids, _, counts = self._split(word_encodings)
        return _by_text(ids, counts)

    def starts(self, word_encodings: Sequence[Any], character_encodings: Sequence[Any]) -> list[Array]:
        """Return the position of the first character of each piece of each text, int32 of shape (pieces,).

        `character_encodings` are the encodings of the same texts by the tokenizer that `character_tokenizer` returns.
        """
        _, lengths, counts = self._split(word_encodings)
        starts = []
        for text_lengths, encoding in zip(_by_text(lengths, counts), character_encodings, strict=True):
            positions = np.array([start for start, _ in encoding.offsets], np.int32)
            starts.append(positions[np.cumsum(text_lengths) - text_lengths])
        return starts

    def _split(self, word_encodings: Sequence[Any]) -> tuple[Array, Array, Array]:
        """Return what Unigram.split returns for the texts."""
        split: tuple[Array, Array, Array] = self._model.split([self._parts(encoding) for encoding in word_encodings])
        return split

    def _parts(self, encoding: Any) -> list[str | int]:
        """Return the words of a text, and the ids of the added tokens in it."""
        words: list[str | int] = encoding.tokens
        library_ids = encoding.ids  # 0 for words
        if not any(library_ids):
            return words
        return [self._added_ids[index] if index else word for word, index in zip(words, library_ids, strict=True)]


def _checked_id(added_id: Any) -> int:
    if not isinstance(added_id, int) or not 0 <= added_id < 2**31:
        raise ValueError("the id of an added token is not an id")
    return added_id


def _by_text(numbers: Array, counts: Array) -> list[Array]:
    """Return the numbers of each text. `counts` are their counts."""
    ends = np.cumsum(counts)
    return [numbers[end - count : end] for count, end in zip(counts, ends, strict=True)]


def character_tokenizer(words: FastTokenizer) -> FastTokenizer:
    """Return a tokenizer with the rules of another, whose tokens are single characters."""
    return FastTokenizer.from_str(json.dumps(json.loads(words.to_str()) | {"model": CHARACTER_MODEL}))


def _damaged(path: Path) -> ModelError:
    return ModelError(f"{path}, or tokenizer.json next to it, is damaged; download both again")
