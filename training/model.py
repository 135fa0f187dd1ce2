"""The reranker as it is trained: the parent's encoder, and a head that weighs three comparisons.

podium's own form is src/podium/local/families/late.py; tests hold the two together. Padded batches, for training only.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import snowballstemmer
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

K1, B, USUAL_TOKENS = 1.2, 0.4, 130.0
FIRST_LETTER = 999  # what comes before in BERT's vocabulary are special tokens, which tell nothing
FIRST_WORD = 1996


class Late(nn.Module):
    """Score every passage for every query: `weights` are those of cosine, best matches and shared words."""

    def __init__(self, parent: str | Path, idf: Tensor | None = None) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(parent)
        self.encoder = AutoModel.from_pretrained(parent, add_pooling_layer=False).eval()  # eval: no dropout
        size, width = self.encoder.config.vocab_size, self.encoder.config.hidden_size
        self.importance = nn.Linear(width, 1)
        nn.init.zeros_(self.importance.weight)
        nn.init.zeros_(self.importance.bias)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.5, 0.2]), requires_grad=False)
        self.register_buffer("idf", torch.ones(size) if idf is None else idf)
        self.register_buffer("stem", stems(self.tokenizer))

    def read(self, texts: list[str], most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids and mask (texts, tokens), and the encoder's rows."""
        given = self.tokenizer(texts, truncation=True, max_length=most, padding=True, return_tensors="pt")
        rows = self.encoder(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        return given["input_ids"], given["attention_mask"].float(), rows

    def comparisons(self, asked: tuple[Tensor, Tensor, Tensor], read: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return (queries, passages, 3)."""
        return torch.stack([self._cosine(asked, read), self._best_matches(asked, read), self._shared_words(asked, read)], -1)

    def forward(self, asked: tuple[Tensor, Tensor, Tensor], read: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return self.comparisons(asked, read) @ self.weights

    def _cosine(self, asked, read):
        means = [(rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for _, mask, rows in (asked, read)]
        return functional.normalize(means[0], dim=-1) @ functional.normalize(means[1], dim=-1).T

    def _best_matches(self, asked, read):
        (ids, mask, rows), (_, others, against) = asked, read
        inner = _without_first(mask)
        cosines = torch.einsum("qaw,pbw->qpab", functional.normalize(rows, dim=-1), functional.normalize(against, dim=-1))
        best = (cosines - 2 * (1 - _without_first(others))[None, :, None]).amax(-1)
        told = self.importance(rows)[..., 0] + token_importance(self.idf)[ids]
        weights = told.masked_fill(inner == 0, -math.inf).softmax(-1)
        return (best * weights[:, None]).sum(-1)

    def _shared_words(self, asked, read):
        (ids, mask, _), (other_ids, others, _) = asked, read
        inner, against = _without_first(mask), _without_first(others)
        same = self.stem[ids][:, None, :, None] == self.stem[other_ids][None, :, None, :]
        counts = (same * against[None, :, None]).sum(-1)
        length = against.sum(1)[None, :, None]
        saturated = counts * (K1 + 1) / (counts + K1 * (1 - B) + K1 * B / USUAL_TOKENS * length)
        idf = self.idf[ids] * inner
        return (saturated * idf[:, None]).sum(-1) / (idf.sum(-1, keepdim=True) + 1e-6)


def _without_first(mask: Tensor) -> Tensor:
    """Leave [CLS] out."""
    inner = mask.clone()
    inner[:, 0] = 0
    return inner


def token_importance(idf: Tensor) -> Tensor:
    """Return where the weight of a query's token starts: the root of its idf, as a logarithm."""
    return 0.5 * idf.clamp(min=0.02).log()


def stems(tokenizer) -> Tensor:
    """Return, for each token, the first token of the vocabulary that has the same English stem."""
    stemmer, first = snowballstemmer.stemmer("english"), {}
    ordered = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return torch.tensor(
        [first.setdefault(stemmer.stemWord(token), at) if re.fullmatch("[a-z]{3,}", token) else at for token, at in ordered]
    )


def frequencies(tokenizer, texts: list[str]) -> Tensor:
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
