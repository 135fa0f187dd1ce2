"""The reranker as it is trained: the parent's encoder, and a head that weighs four comparisons.

podium's own form is src/podium/local/families/late.py; tests hold the two together. Padded batches, for training only.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import snowballstemmer
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

K1, B, USUAL_TOKENS = 1.2, 0.4, 130.0
FIRST_LETTER = 999  # what comes before in BERT's vocabulary are special tokens, which tell nothing
FIRST_WORD = 1996


Read = tuple[Tensor, Tensor, Tensor]
"""Ids and mask, (texts, tokens), and the encoder's rows, (texts, tokens, width)."""


class Late(nn.Module):
    """Compare every query with every passage in four ways: cosine, best matches, shared words, runs of pieces."""

    def __init__(self, parent: str | Path, idf: Tensor | None = None) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(parent)
        self.encoder = AutoModel.from_pretrained(parent, add_pooling_layer=False).eval()  # eval: no dropout
        size, width = self.encoder.config.vocab_size, self.encoder.config.hidden_size
        self.importance = nn.Linear(width, 1)
        nn.init.zeros_(self.importance.weight)
        nn.init.zeros_(self.importance.bias)
        self.register_buffer("idf", torch.ones(size) if idf is None else idf)
        self.register_buffer("stem", stems(self.tokenizer))
        self.register_buffer("piece", pieces(self.tokenizer), persistent=False)

    def read(self, texts: list[str], most: int) -> Read:
        given = self.tokenizer(texts, truncation=True, max_length=most, padding=True, return_tensors="pt")
        rows = self.encoder(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        return given["input_ids"], given["attention_mask"].float(), rows

    def forward(self, asked: Read, read: Read) -> Tensor:
        """Return (queries, passages, 4)."""
        compared = [self._cosine(asked, read), self._best_matches(asked, read), *self._lexical(asked, read)]
        return torch.stack(compared, -1)

    def _cosine(self, asked: Read, read: Read) -> Tensor:
        means = [(rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for _, mask, rows in (asked, read)]
        return functional.normalize(means[0], dim=-1) @ functional.normalize(means[1], dim=-1).T

    def _best_matches(self, asked: Read, read: Read) -> Tensor:
        (ids, mask, rows), (_, others, against) = asked, read
        inner = _without_first(mask)
        cosines = torch.einsum("qaw,pbw->qpab", functional.normalize(rows, dim=-1), functional.normalize(against, dim=-1))
        best = (cosines - 2 * (1 - _without_first(others))[None, :, None]).amax(-1)
        told = self.importance(rows)[..., 0] + token_importance(self.idf)[ids]
        weights = told.masked_fill(inner == 0, -math.inf).softmax(-1)
        return (best * weights[:, None]).sum(-1)

    def _lexical(self, asked: Read, read: Read) -> tuple[Tensor, Tensor]:
        """Return shared words, as BM25 counts them, and runs: three tokens in a row, as far as they are pieces of words."""
        (ids, mask, _), (other_ids, others, _) = asked, read
        inner, against = _without_first(mask), _without_first(others)
        same = (self.stem[ids][:, None, :, None] == self.stem[other_ids][None, :, None, :]) * against[None, :, None]
        same = same * inner[:, None, :, None]
        counts = same.sum(-1)
        saturated = counts * (K1 + 1) / (counts + K1 * (1 - B) + K1 * B / USUAL_TOKENS * against.sum(1)[None, :, None])
        idf = self.idf[ids] * inner
        whole = idf.sum(-1, keepdim=True) + 1e-6
        padded, told = functional.pad(same, (0, 2, 0, 2)), functional.pad(idf * self.piece[ids], (0, 2))
        rows, columns = same.shape[-2:]
        runs = padded[..., :rows, :columns] * padded[..., 1 : rows + 1, 1 : columns + 1] * padded[..., 2:, 2:]
        worth = told[:, :rows] + told[:, 1 : rows + 1] + told[:, 2:]
        return (saturated * idf[:, None]).sum(-1) / whole, (runs.amax(-1) * worth[:, None]).sum(-1) / (3 * whole)


def pieces(tokenizer: Any) -> Tensor:
    """Return 1 for each token that goes on with a word, 0 for the others."""
    return torch.tensor([float(token.startswith("##")) for token, _ in _ordered(tokenizer)])


def _ordered(tokenizer: Any) -> list[tuple[str, int]]:
    return sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])


def _without_first(mask: Tensor) -> Tensor:
    """Leave [CLS] out."""
    inner = mask.clone()
    inner[:, 0] = 0
    return inner


def token_importance(idf: Tensor) -> Tensor:
    """Return where the weight of a query's token starts: the root of its idf, as a logarithm."""
    return 0.5 * idf.clamp(min=0.02).log()


def stems(tokenizer: Any) -> Tensor:
    """Return, for each token, the first token of the vocabulary that has the same English stem."""
    stemmer, first = snowballstemmer.stemmer("english"), {}
    return torch.tensor(
        [
            first.setdefault(stemmer.stemWord(token), at) if re.fullmatch("[a-z]{3,}", token) else at
            for token, at in _ordered(tokenizer)
        ]
    )


def frequencies(tokenizer: Any, texts: list[str]) -> Tensor:
    """Return each token's inverse document frequency, 0 to 2: counted in the texts, 30 % guessed from its number.

    BERT's vocabulary is ordered by how frequent a word is, which fills the gaps of what few texts can say.
    """
    stem = stems(tokenizer)
    count = torch.zeros(len(stem))
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        count[stem[torch.tensor(ids, dtype=torch.long)].unique()] += 1
    place = torch.arange(len(stem))
    guessed = torch.where(place < FIRST_WORD, 0.5, (4 / (place - FIRST_WORD + 6).clamp(min=1)).clamp(max=0.9))
    share = 0.7 * count / max(len(texts), 1) + 0.3 * guessed
    idf = torch.log((1 - share + 1e-4) / (share + 1e-4) + 1) / 5
    idf[:FIRST_LETTER] = 0
    return idf[stem]
