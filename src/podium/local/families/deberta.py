"""DeBERTa v2 and v3 (He et al. 2021, arXiv 2006.03654, 2111.09543): attention over contents and relative positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.families.family import Architecture, Family
from podium.local.files.checkpoint import Array
from podium.local.files.config import Config
from podium.local.graph import Attention, Disentangled, Graph, Rows, Value

__all__ = ["FAMILY", "Deberta"]

WORDS, SEGMENTS, POSITIONS = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type", "position"))


@dataclass(frozen=True, slots=True)
class RelativePositions:
    """The sizes of the embeddings of relative positions.

    Distances up to `farthest` are told apart, in `buckets` if that is positive. There are `span` embeddings to each side.
    """

    buckets: int
    farthest: int
    normalised: bool

    @property
    def span(self) -> int:
        return self.buckets if self.buckets > 0 else self.farthest

    def embedding_rows(self, max_positions: int) -> Array:
        """Return the row of each distance from 1 - max_positions to max_positions - 1."""
        distances = np.arange(1 - max_positions, max_positions)
        return np.asarray(np.clip(self._buckets(distances) + self.span, 0, 2 * self.span - 1))

    def _buckets(self, distances: Array) -> Array:
        """Return a bucket per distance: one each for near distances, then on a logarithmic scale, computed in float32."""
        if self.buckets <= 0:
            return distances
        middle = self.buckets // 2
        far = np.where(np.abs(distances) < middle, middle - 1, np.abs(distances)).astype(np.float32)
        scale = np.log(far / np.float32(middle)) / np.log(np.float32((self.farthest - 1) / middle))
        shared = np.ceil(scale * np.float32(middle - 1)) * np.float32(1) + middle
        return np.where(far <= middle, distances, shared * np.sign(distances)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Deberta(Architecture):
    """`content_to_position`, `position_to_content`: the terms of the attention. `share_keys`: positions use its projections."""

    layers: int
    heads: int
    width: int
    max_positions: int
    segments: int
    position_embeddings: bool
    relative: RelativePositions
    content_to_position: bool
    position_to_content: bool
    share_keys: bool
    convolution_size: int
    convolution_groups: int
    convolution_activation: str
    activation: str
    pooler_activation: str
    epsilon: float

    @classmethod
    def from_json(cls, config: Config) -> Deberta:
        if not config.flag("relative_attention"):
            raise UnsupportedModel("config.json turns relative_attention off, which podium does not have")
        max_positions = config.integer("max_position_embeddings")
        terms = _terms(config)
        return cls(
            layers=config.integer("num_hidden_layers"),
            heads=config.integer("num_attention_heads"),
            width=config.integer("hidden_size"),
            max_positions=max_positions,
            segments=config.integer("type_vocab_size", 0),
            position_embeddings=config.flag("position_biased_input", True),
            relative=_relative(config, max_positions),
            content_to_position="c2p" in terms,
            position_to_content="p2c" in terms,
            share_keys=config.flag("share_att_key"),
            convolution_size=config.integer("conv_kernel_size", 0),
            convolution_groups=config.integer("conv_groups", 1),
            convolution_activation=config.string("conv_act", "tanh"),
            activation=config.string("hidden_act", "gelu"),
            pooler_activation=config.string("pooler_hidden_act", "gelu"),
            epsilon=config.number("layer_norm_eps", 1e-7),
        )

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = embedded = self._embed(graph)
        embeddings = self._relative_embeddings(graph)
        embedding_rows = self.relative.embedding_rows(self.max_positions)
        for index in range(self.layers):
            convolved = index == 0 and self.convolution_size > 0
            needed = rows if index == self.layers - 1 and not convolved else "all"
            prefix = f"encoder.layer.{index}."
            x = self._layer(graph, x, prefix, self._attention(graph, prefix, needed, embeddings, embedding_rows))
            if convolved:
                x = self._convolve(graph, embedded, x)
        return graph.select(x, rows)

    def head(self, graph: Graph, x: Value) -> Value:
        pooled = graph.activation(graph.linear(x, "pooler.dense", exact=True), self.pooler_activation)
        return graph.linear(pooled, "classifier", exact=True)

    def _embed(self, graph: Graph) -> Value:
        x = graph.lookup(WORDS, graph.token_ids())
        if self.position_embeddings:
            graph.expect_rows(POSITIONS, self.max_positions)
            x = graph.add(x, graph.lookup(POSITIONS, graph.positions("counted")))
        if self.segments:
            x = graph.add(x, graph.lookup(SEGMENTS, graph.segment_ids()))
        if "embeddings.embed_proj.weight" in graph.checkpoint:
            x = graph.linear(x, "embeddings.embed_proj", bias=False)
        return graph.norm(x, "embeddings.LayerNorm", self.epsilon)

    def _relative_embeddings(self, graph: Graph) -> Array:
        """Return the embeddings of relative positions, shape (2 × span, width), normalised if the model does that."""
        x = graph.checkpoint["encoder.rel_embeddings.weight"][: 2 * self.relative.span]
        if not self.relative.normalised:
            return x
        scaled = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + np.float32(self.epsilon))
        weight, bias = graph.checkpoint["encoder.LayerNorm.weight"], graph.checkpoint["encoder.LayerNorm.bias"]
        return np.asarray(scaled * weight + bias, np.float32)

    def _attention(self, graph: Graph, prefix: str, rows: Rows, embeddings: Array, embedding_rows: Array) -> Disentangled:
        """Return a layer's attention. The embeddings are the same for every text, so they are projected here, once."""
        names = ("key_proj", "query_proj") if self.share_keys else ("pos_key_proj", "pos_query_proj")
        keys, queries = (f"{prefix}attention.self.{name}" for name in names)
        return Disentangled(
            Attention(self.heads, self.width, rows=rows),
            keys=self._project(graph, keys, embeddings) if self.content_to_position else None,
            queries=self._project(graph, queries, embeddings) if self.position_to_content else None,
            embedding_rows=embedding_rows,
        )

    def _project(self, graph: Graph, name: str, embeddings: Array) -> Array:
        """Return the projected embeddings, shape (heads, 2 × span, size)."""
        projected = embeddings @ graph.checkpoint[f"{name}.weight"].T
        if f"{name}.bias" in graph.checkpoint:
            projected = projected + graph.checkpoint[f"{name}.bias"]
        return np.ascontiguousarray(projected.reshape(len(projected), self.heads, -1).transpose(1, 0, 2))

    def _layer(self, graph: Graph, x: Value, prefix: str, attention: Disentangled) -> Value:
        projections = [f"{prefix}attention.self.{name}" for name in ("query_proj", "key_proj", "value_proj")]
        attended = graph.disentangled_attention(x, projections, attention)
        attention_output = graph.linear(attended, f"{prefix}attention.output.dense")
        x = graph.add(attention_output, graph.select(x, attention.attention.rows))
        x = graph.norm(x, f"{prefix}attention.output.LayerNorm", self.epsilon)
        intermediate = graph.activation(graph.linear(x, f"{prefix}intermediate.dense"), self.activation)
        output = graph.linear(intermediate, f"{prefix}output.dense")
        return graph.norm(graph.add(output, x), f"{prefix}output.LayerNorm", self.epsilon)

    def _convolve(self, graph: Graph, embedded: Value, x: Value) -> Value:
        """Add a convolution of the embeddings, which v2 has in its first layer."""
        convolved = graph.convolution(embedded, "encoder.conv.conv", size=self.convolution_size, groups=self.convolution_groups)
        convolved = graph.activation(convolved, self.convolution_activation)
        return graph.norm(graph.add(x, convolved), "encoder.conv.LayerNorm", self.epsilon)


def _terms(config: Config) -> list[str]:
    """Return pos_att_type: a list, or a string such as "p2c|c2p" in older configs."""
    terms = config.get("pos_att_type")
    if isinstance(terms, str):
        return [term.strip() for term in terms.lower().split("|")]
    return config.strings("pos_att_type")


def _relative(config: Config, max_positions: int) -> RelativePositions:
    farthest = config.integer("max_relative_positions", -1)
    return RelativePositions(
        buckets=config.integer("position_buckets", -1),
        farthest=max_positions if farthest < 1 else farthest,
        normalised="layer_norm" in str(config.get("norm_rel_ebd")).lower(),
    )


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
