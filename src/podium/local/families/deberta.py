"""DeBERTa v2 and v3 (He et al. 2021, arXiv 2006.03654, 2111.09543): attention over contents and relative positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.families.family import Architecture, Family
from podium.local.files.checkpoint import Array
from podium.local.graph import Attention, Graph, Rows, Value

__all__ = ["FAMILY", "Deberta"]

WORDS, SEGMENTS, POSITIONS = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type", "position"))


@dataclass(frozen=True, kw_only=True)
class Deberta(Architecture):
    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    max_position_embeddings: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-7
    pooler_hidden_act: str = "gelu"
    type_vocab_size: int = 0
    position_biased_input: bool = True
    relative_attention: bool = False
    pos_att_type: Sequence[str] | None = None  # a list, or a string such as "p2c|c2p" in older configs
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    position_buckets: int = -1
    max_relative_positions: int = -1
    conv_kernel_size: int = 0
    conv_groups: int = 1
    conv_act: str = "tanh"

    def __post_init__(self) -> None:
        if not self.relative_attention:
            raise UnsupportedModel("config.json turns relative_attention off, which podium does not have")

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = embedded = self._embed(graph)
        relative = self._relative_embeddings(graph)
        for index in range(self.num_hidden_layers):
            convolved = index == 0 and self.conv_kernel_size > 0
            needed = rows if index == self.num_hidden_layers - 1 and not convolved else "all"
            x = self._layer(graph, x, f"encoder.layer.{index}.", relative, needed)
            if convolved:
                x = self._convolve(graph, embedded, x)
        return graph.select(x, rows)

    def head(self, graph: Graph, x: Value) -> Value:
        pooled = graph.activation(graph.linear(x, "pooler.dense", exact=True), self.pooler_hidden_act)
        return graph.linear(pooled, "classifier", exact=True)

    def _embed(self, graph: Graph) -> Value:
        x = graph.lookup(WORDS, graph.token_ids())
        if self.position_biased_input:
            graph.expect_rows(POSITIONS, self.max_position_embeddings)
            x = graph.add(x, graph.lookup(POSITIONS, graph.positions("counted")))
        if self.type_vocab_size:
            x = graph.add(x, graph.lookup(SEGMENTS, graph.segment_ids()))
        if "embeddings.embed_proj.weight" in graph.checkpoint:
            x = graph.linear(x, "embeddings.embed_proj", bias=False)
        return graph.norm(x, "embeddings.LayerNorm", self.layer_norm_eps)

    def _layer(self, graph: Graph, x: Value, prefix: str, relative: Array, rows: Rows) -> Value:
        attention_output = graph.linear(self._attend(graph, x, prefix, relative, rows), f"{prefix}attention.output.dense")
        x = graph.add(attention_output, graph.select(x, rows))
        x = graph.norm(x, f"{prefix}attention.output.LayerNorm", self.layer_norm_eps)
        intermediate = graph.activation(graph.linear(x, f"{prefix}intermediate.dense"), self.hidden_act)
        output = graph.linear(intermediate, f"{prefix}output.dense")
        return graph.norm(graph.add(output, x), f"{prefix}output.LayerNorm", self.layer_norm_eps)

    def _convolve(self, graph: Graph, embedded: Value, x: Value) -> Value:
        """Add a convolution of the embeddings, which v2 has in its first layer."""
        convolved = graph.convolution(embedded, "encoder.conv.conv", size=self.conv_kernel_size, groups=self.conv_groups)
        convolved = graph.activation(convolved, self.conv_act)
        return graph.norm(graph.add(x, convolved), "encoder.conv.LayerNorm", self.layer_norm_eps)

    def _attend(self, graph: Graph, x: Value, prefix: str, relative: Array, rows: Rows) -> Value:
        names = [f"{prefix}attention.self.{name}_proj" for name in ("query", "key", "value")]
        positions = "" if self.share_att_key else "pos_"
        queries, keys = (f"{prefix}attention.self.{positions}{name}_proj" for name in ("query", "key"))
        terms = self.pos_att_type.lower().split("|") if isinstance(self.pos_att_type, str) else self.pos_att_type or ()
        return graph.disentangled_attention(
            x,
            names,
            Attention(self.num_attention_heads, self.hidden_size, rows=rows),
            keys=self._project(graph, keys, relative) if "c2p" in terms else None,
            queries=self._project(graph, queries, relative) if "p2c" in terms else None,
            distance_rows=self._distance_rows(),
        )

    def _project(self, graph: Graph, name: str, embeddings: Array) -> Array:
        """Return the projected embeddings, shape (heads, embeddings, size), which are the same for every text."""
        projected = embeddings @ graph.checkpoint[f"{name}.weight"].T
        if f"{name}.bias" in graph.checkpoint:
            projected = projected + graph.checkpoint[f"{name}.bias"]
        return np.ascontiguousarray(projected.reshape(len(projected), self.num_attention_heads, -1).transpose(1, 0, 2))

    @property
    def _farthest(self) -> int:
        """The farthest distance that has an embedding of its own."""
        return self.max_position_embeddings if self.max_relative_positions < 1 else self.max_relative_positions

    @property
    def _span(self) -> int:
        """The number of embeddings of relative positions to each side."""
        return self.position_buckets if self.position_buckets > 0 else self._farthest

    def _relative_embeddings(self, graph: Graph) -> Array:
        """Return the embeddings of relative positions, shape (2 × span, width), normalised if the model does that."""
        x = graph.checkpoint["encoder.rel_embeddings.weight"][: 2 * self._span]
        if "layer_norm" not in self.norm_rel_ebd.lower():
            return x
        scaled = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + np.float32(self.layer_norm_eps))
        weight, bias = graph.checkpoint["encoder.LayerNorm.weight"], graph.checkpoint["encoder.LayerNorm.bias"]
        return np.asarray(scaled * weight + bias, np.float32)

    def _distance_rows(self) -> Array:
        """Return the row of the embedding of each distance from 1 - max_position_embeddings to max_position_embeddings - 1."""
        distances = np.arange(1 - self.max_position_embeddings, self.max_position_embeddings)
        rows = self._buckets(distances) if self.position_buckets > 0 else distances
        return np.asarray(np.clip(rows + self._span, 0, 2 * self._span - 1))

    def _buckets(self, distances: Array) -> Array:
        """Return a bucket per distance: one each for near distances, then on a logarithmic scale, computed in float32."""
        middle = self.position_buckets // 2
        far = np.where(np.abs(distances) < middle, middle - 1, np.abs(distances)).astype(np.float32)
        scale = np.log(far / np.float32(middle)) / np.log(np.float32((self._farthest - 1) / middle))
        shared = np.ceil(scale * np.float32(middle - 1)) * np.float32(1) + middle
        return np.where(far <= middle, distances, shared * np.sign(distances)).astype(np.int64)


FAMILY = Family(
    name="DeBERTa",
    model_types=("deberta-v2",),
    examples="v2 and v3: `mixedbread-ai/mxbai-rerank-base-v1`",
    has_segments=True,
    prefix="deberta.",
    head_weights=("pooler.dense.weight", "classifier.weight"),
    architecture=Deberta,
    native=False,
)
