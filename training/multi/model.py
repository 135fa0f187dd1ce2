"""The reranker in PyTorch, for training: the base's upper layers, and a head that computes comparisons of texts.

podium runs the same network as src/podium/local/families/late.py; a parity test compares the two. Batches are padded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hidden import FROZEN_LAYERS
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

# The parameters of BM25. USUAL_TOKENS is used as the average length of a passage.
K1 = 1.2
B = 0.4
USUAL_TOKENS = 130.0
DIMENSIONS = 128
TRAINED_TOKENS = 112  # of a passage
# How many tokens stand before a text's own: <s> and those of the prompt.
QUERY_START = 4
PASSAGE_START = 3
PADDING = 1

Texts = tuple[Tensor, Tensor, Tensor]
"""(ids, mask, rows) of texts. Ids and mask have the shape (texts, tokens), the rows (texts, tokens, width)."""


class HiddenRows:
    """The rows of a frozen layer that hidden.py wrote."""

    def __init__(self, file: Path, width: int) -> None:
        arrays = np.load(file.with_suffix(".npz"))
        self._ids = arrays["ids"]
        self._offsets = arrays["offsets"]
        self._rows = np.memmap(file.with_suffix(".bin"), np.float16, "r").reshape(-1, width)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self._offsets)

    def batch(self, indices: Sequence[int], max_tokens: int) -> Texts:
        """Return some texts, of which at most `max_tokens` tokens are read."""
        starts = [int(self._offsets[index]) for index in indices]
        lengths = [int(self._offsets[index + 1] - start) for index, start in zip(indices, starts, strict=True)]
        shape = (len(indices), max(lengths))
        ids = torch.full(shape, PADDING)
        mask = torch.zeros(shape)
        rows = torch.zeros(*shape, self._rows.shape[1])
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            ids[i, :length] = torch.from_numpy(self._ids[start : start + length].astype(np.int64))
            mask[i, :length] = 1
            rows[i, :length] = torch.from_numpy(self._rows[start : start + length].astype(np.float32))
        return ids[:, :max_tokens], mask[:, :max_tokens], rows[:, :max_tokens]


class Late(nn.Module):
    """The upper layers of the base, and the heads: the projection and the importance of tokens.

    `coefficients` are those of the cosine, the best matches, and the shared words. `token_importance` has a number per token.
    """

    def __init__(self, base: Path, token_importance: Tensor) -> None:
        super().__init__()
        encoder = AutoModel.from_pretrained(base, add_pooling_layer=False, dtype=torch.float32).eval()  # eval: no dropout
        width = encoder.config.hidden_size
        self.layers = encoder.encoder.layer[FROZEN_LAYERS:]
        self.projection = nn.Linear(width, DIMENSIONS, bias=False)
        self.importance = nn.Linear(width, 1)
        nn.init.zeros_(self.importance.weight)
        nn.init.zeros_(self.importance.bias)
        self.coefficients = nn.Parameter(torch.tensor([40.0, 25.0, 2.0]))
        self.register_buffer("token_importance", token_importance, persistent=False)

    def encode(self, texts: Texts) -> Texts:
        """Apply the upper layers, in bfloat16."""
        ids, mask, rows = texts
        attention_mask = ((1 - mask) * -1e4)[:, None, None, :]
        with torch.autocast("cpu", torch.bfloat16):
            for layer in self.layers:
                result = layer(rows, attention_mask=attention_mask.to(rows.dtype))
                rows = result[0] if isinstance(result, tuple) else result
        return ids, mask, rows.float()

    def best_matches(self, queries: Texts, passages: Texts) -> Tensor:
        """Return the mean of the best cosines of a query's tokens with a token of the passage, weighted by importance."""
        importance = self.importance(queries[2])[..., 0] + self.token_importance[queries[0]]
        return best_matches(_projected(queries, self.projection), _projected(passages, self.projection), importance)

    def base_matches(self, queries: Texts, passages: Texts) -> Tensor:
        """Return the best matches of rows of the base, which are not projected, with the importance of the table only."""
        return best_matches(queries, passages, self.token_importance[queries[0]])


def _projected(texts: Texts, projection: nn.Module) -> Texts:
    ids, mask, rows = texts
    return ids, mask, projection(rows)


def best_matches(queries: Texts, passages: Texts, importance: Tensor) -> Tensor:
    """Return the mean of the best cosines, weighted by the softmax of the importance of a query's own tokens."""
    _, query_mask, query_rows = queries
    _, passage_mask, passage_rows = passages
    passage_own = own_tokens(passage_mask, PASSAGE_START)
    cosines = torch.einsum(
        "qad,pbd->qpab", functional.normalize(query_rows, dim=-1), functional.normalize(passage_rows, dim=-1)
    )
    best = (cosines - 2 * (1 - passage_own)[None, :, None]).amax(-1)
    weights = importance.masked_fill(own_tokens(query_mask, QUERY_START) == 0, -1e9).softmax(-1)
    return (best * weights[:, None]).sum(-1)


def means(texts: Texts) -> Tensor:
    """Return the normalised mean of each text's rows, special tokens and the prompt included."""
    _, mask, rows = texts
    return functional.normalize((rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)


def own_tokens(mask: Tensor, start: int) -> Tensor:
    """Return a mask without the first `start` tokens and without each text's last token."""
    mask = mask.clone()
    mask[torch.arange(len(mask)), mask.sum(1).long() - 1] = 0
    mask[:, :start] = 0
    return mask


def shared_words(queries: Texts, passages: Texts, stem: Tensor, idf: Tensor) -> Tensor:
    """Return how many words a query and a passage share, counted as in BM25."""
    query_ids, query_mask, _ = queries
    passage_ids, passage_mask, _ = passages
    query_own = own_tokens(query_mask, QUERY_START)
    passage_own = own_tokens(passage_mask, PASSAGE_START)
    passage_stems = stem[passage_ids].masked_fill(passage_own == 0, -1)
    saturation = K1 * (1 - B) + K1 * B / USUAL_TOKENS * passage_own.sum(1)[:, None]
    rows = []
    for ids, own in zip(query_ids, query_own, strict=True):
        own_ids = ids[own > 0]
        counts = (stem[own_ids][None, :, None] == passage_stems[:, None, :]).sum(-1)
        rows.append((counts * (K1 + 1) / (counts + saturation) * idf[own_ids]).sum(-1) / (idf[own_ids].sum() + 1e-6))
    return torch.stack(rows)
