"""The reranker in PyTorch, for training: the parent's encoder, and a head that computes four comparisons.

podium runs the same network as src/podium/local/families/late.py; the parity tests compare the two. Batches are padded here.
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

# The parameters of BM25. USUAL_TOKENS is used as the average length of a passage.
K1 = 1.2
B = 0.4
USUAL_TOKENS = 130.0
# Ids in BERT's vocabulary: special tokens come first, then single characters, then words from frequent to rare.
FIRST_CHARACTER = 999
FIRST_WORD = 1996

Encoded = tuple[Tensor, Tensor, Tensor]
"""(ids, mask, rows) of texts. Ids and mask have the shape (texts, tokens), the encoder's rows (texts, tokens, width)."""


class Late(nn.Module):
    """A network that compares every query with every passage in four ways: cosine, best matches, shared words, runs of pieces.

    `idf` is each token's inverse document frequency, by default 1 for all.
    """

    def __init__(self, parent: str | Path, idf: Tensor | None = None) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(parent)
        self.encoder = AutoModel.from_pretrained(parent, add_pooling_layer=False).eval()  # eval: no dropout
        vocabulary_size = self.encoder.config.vocab_size
        self.importance = nn.Linear(self.encoder.config.hidden_size, 1)
        nn.init.zeros_(self.importance.weight)
        nn.init.zeros_(self.importance.bias)
        self.register_buffer("idf", torch.ones(vocabulary_size) if idf is None else idf)
        self.register_buffer("stem", stems(self.tokenizer))
        self.register_buffer("piece", pieces(self.tokenizer), persistent=False)

    def read(self, texts: list[str], max_tokens: int) -> Encoded:
        """Encode the texts, of which at most `max_tokens` tokens are read."""
        tokens = self.tokenizer(texts, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
        rows = self.encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
        return tokens["input_ids"], tokens["attention_mask"].float(), rows

    def forward(self, queries: Encoded, passages: Encoded) -> Tensor:
        """Return the comparisons, of shape (queries, passages, 4)."""
        cosine = self._cosine(queries, passages)
        best_matches = self._best_matches(queries, passages)
        return torch.stack([cosine, best_matches, *self._lexical(queries, passages)], -1)

    def _cosine(self, queries: Encoded, passages: Encoded) -> Tensor:
        means = [(rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for _, mask, rows in (queries, passages)]
        return functional.normalize(means[0], dim=-1) @ functional.normalize(means[1], dim=-1).T

    def _best_matches(self, queries: Encoded, passages: Encoded) -> Tensor:
        """Return the mean of the best cosines of a query's tokens with a token of the passage, weighted by importance."""
        query_ids, query_mask, query_rows = queries
        _, passage_mask, passage_rows = passages
        cosines = torch.einsum(
            "qaw,pbw->qpab", functional.normalize(query_rows, dim=-1), functional.normalize(passage_rows, dim=-1)
        )
        best = (cosines - 2 * (1 - _without_first(passage_mask))[None, :, None]).amax(-1)
        importance = self.importance(query_rows)[..., 0] + token_importance(self.idf)[query_ids]
        weights = importance.masked_fill(_without_first(query_mask) == 0, -math.inf).softmax(-1)
        return (best * weights[:, None]).sum(-1)

    def _lexical(self, queries: Encoded, passages: Encoded) -> tuple[Tensor, Tensor]:
        """Return two comparisons: shared words, as BM25 counts them, and shared runs of three pieces of words."""
        query_ids, query_mask, _ = queries
        passage_ids, passage_mask, _ = passages
        query_mask = _without_first(query_mask)
        passage_mask = _without_first(passage_mask)
        same = self.stem[query_ids][:, None, :, None] == self.stem[passage_ids][None, :, None, :]
        same = same * passage_mask[None, :, None] * query_mask[:, None, :, None]
        counts = same.sum(-1)
        lengths = passage_mask.sum(1)[None, :, None]
        saturated = counts * (K1 + 1) / (counts + K1 * (1 - B) + K1 * B / USUAL_TOKENS * lengths)
        idf = self.idf[query_ids] * query_mask
        total_idf = idf.sum(-1, keepdim=True) + 1e-6
        padded = functional.pad(same, (0, 2, 0, 2))
        piece_idf = functional.pad(idf * self.piece[query_ids], (0, 2))
        rows, columns = same.shape[-2:]
        runs = padded[..., :rows, :columns] * padded[..., 1 : rows + 1, 1 : columns + 1] * padded[..., 2:, 2:]
        run_idf = piece_idf[:, :rows] + piece_idf[:, 1 : rows + 1] + piece_idf[:, 2:]
        words = (saturated * idf[:, None]).sum(-1) / total_idf
        return words, (runs.amax(-1) * run_idf[:, None]).sum(-1) / (3 * total_idf)


def pieces(tokenizer: Any) -> Tensor:
    """Return 1 for each token that continues a word, 0 for the others."""
    return torch.tensor([float(token.startswith("##")) for token, _ in _ordered(tokenizer)])


def _ordered(tokenizer: Any) -> list[tuple[str, int]]:
    """Return (token, id) pairs of the vocabulary, by id."""
    return sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])


def _without_first(mask: Tensor) -> Tensor:
    """Return a copy of the mask in which [CLS] is masked, too."""
    mask = mask.clone()
    mask[:, 0] = 0
    return mask


def token_importance(idf: Tensor) -> Tensor:
    """Return the logarithm of the square root of each token's idf, which is added to its importance before the softmax."""
    return 0.5 * idf.clamp(min=0.02).log()


def stems(tokenizer: Any) -> Tensor:
    """Return, for each token, the id of the first token in the vocabulary that has the same English stem."""
    stemmer = snowballstemmer.stemmer("english")
    first_ids: dict[str, int] = {}  # by stem
    return torch.tensor(
        [
            first_ids.setdefault(stemmer.stemWord(token), token_id) if re.fullmatch("[a-z]{3,}", token) else token_id
            for token, token_id in _ordered(tokenizer)
        ]
    )


def frequencies(tokenizer: Any, texts: list[str]) -> Tensor:
    """Return each token's inverse document frequency, from 0 to 2.

    The frequency is 70 % of the frequency in the texts plus 30 % of an estimate from the token's id, because in BERT's
    vocabulary frequent words have lower ids. The estimate is for words of which the texts have too few.
    """
    stem = stems(tokenizer)
    text_counts = torch.zeros(len(stem))  # for each token, the number of texts that have a token with its stem
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        text_counts[stem[torch.tensor(ids, dtype=torch.long)].unique()] += 1
    token_ids = torch.arange(len(stem))
    estimate = torch.where(token_ids < FIRST_WORD, 0.5, (4 / (token_ids - FIRST_WORD + 6).clamp(min=1)).clamp(max=0.9))
    share = 0.7 * text_counts / max(len(texts), 1) + 0.3 * estimate
    idf = torch.log((1 - share + 1e-4) / (share + 1e-4) + 1) / 5
    idf[:FIRST_CHARACTER] = 0
    return idf[stem]
