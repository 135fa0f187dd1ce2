"""A small Unigram tokenizer, as tokenizer.json and as the two files of podium's models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from podium.local.pieces import PIECES_FILE, Vocabulary

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = ["▁the", "▁a", "▁rank", "▁query", "▁words", "▁of", "▁red", "▁re", "d", "rank", "er", "ing", "▁list", "▁café", "fé"]
WORDS += ["▁東", "東京", "▁1", "/2", "⁄", "ß", "st", "▁▁", "<s>", "nk", "▁ra"]
CHARACTERS = "▁abcdefghiklmnoqrstuwyé東ل½0123"


def library_tokenizer() -> Tokenizer:
    """Return a tokenizer like that of XLM-R, with random scores and about 70 pieces."""
    names = list(dict.fromkeys([*SPECIAL_TOKENS, *WORDS, *CHARACTERS]))
    scores = -np.random.default_rng(5).uniform(2, 12, len(names)).astype(np.float32)
    tokenizer = Tokenizer(models.Unigram(list(zip(names, scores.tolist(), strict=True)), unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def write_library_file(folder: Path) -> None:
    """Write tokenizer.json with the vocabulary in it."""
    (folder / "tokenizer.json").write_text(library_tokenizer().to_str())


def write_pieces(folder: Path, **changes: Any) -> None:
    """Write tokenizer.json without the vocabulary, and the vocabulary. `changes` replaces values of the model's rules."""
    content = json.loads(library_tokenizer().to_str())
    pieces = content["model"]["vocab"]
    content["model"] |= {"vocab": PIECES_FILE} | changes
    (folder / "tokenizer.json").write_text(json.dumps(content))
    save_file(Vocabulary.from_pieces(pieces)._asdict(), folder / PIECES_FILE)
