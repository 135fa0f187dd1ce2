"""BERT, and with it MiniLM and TinyBERT (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from podium.local.families.family import Architecture, Family
from podium.local.graph import Attention, Graph, Rows, Value

__all__ = ["FAMILY", "POSITIONS", "SEGMENTS", "WORDS", "Bert", "PartNames"]

WORDS, SEGMENTS, POSITIONS = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type", "position"))


@dataclass(frozen=True, slots=True)
class PartNames:
    """The names of a layer's parts in a checkpoint. `layer` is what all names of a layer begin with, {} being its number."""

    layer: str = "encoder.layer.{}."
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    intermediate: str = "intermediate.dense"
    output: str = "output.dense"
    output_norm: str = "output.LayerNorm"


@dataclass(frozen=True, kw_only=True)
class Bert(Architecture):
    """BERT. Its relatives are subclasses that change a part."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    max_position_embeddings: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12

    names: ClassVar[PartNames] = PartNames()

    def encode(self, graph: Graph, rows: Rows) -> Value:
        """Return the last layer's output. `rows` are the tokens that have one; the layers before compute all tokens."""
        x = self.embed(graph)
        for index in range(self.num_hidden_layers):
            x = self.layer(graph, x, index, rows if index == self.num_hidden_layers - 1 else "all")
        return x

    def embed(self, graph: Graph) -> Value:
        """Return the normalized sum of the embeddings of words, segments and positions.

        They are added in the order of the reference, because another order changes the last bit of a float32 sum.
        """
        graph.expect_rows(POSITIONS, self.max_position_embeddings)
        x = graph.lookup(WORDS, graph.token_ids())
        segments = self.segments(graph)
        if segments is not None:
            x = graph.add(x, graph.lookup(SEGMENTS, segments))
        x = graph.add(x, graph.lookup(POSITIONS, self.positions(graph)))
        return graph.norm(x, "embeddings.LayerNorm", self.layer_norm_eps)

    def segments(self, graph: Graph) -> Value | None:
        return graph.segment_ids()

    def positions(self, graph: Graph) -> Value:
        """Return the positions of the tokens in their text: 0, 1, 2, …"""
        return graph.positions("counted")

    def layer(self, graph: Graph, x: Value, index: int, rows: Rows) -> Value:
        """Return a layer's output for the tokens that `rows` selects."""
        names = self.names
        prefix = names.layer.format(index)
        attention = Attention(self.num_attention_heads, self.hidden_size, rows=rows)
        attention_output = graph.linear(self.attend(graph, x, prefix, attention), prefix + names.attention_output)
        x = graph.add(attention_output, graph.select(x, rows))
        x = graph.norm(x, prefix + names.attention_norm, self.layer_norm_eps)
        intermediate = graph.activation(graph.linear(x, prefix + names.intermediate), self.hidden_act)
        output = graph.linear(intermediate, prefix + names.output)
        return graph.norm(graph.add(output, x), prefix + names.output_norm, self.layer_norm_eps)

    def attend(self, graph: Graph, x: Value, prefix: str, attention: Attention) -> Value:
        names = self.names
        return graph.attention(x, [prefix + name for name in (names.query, names.key, names.value)], attention)

    def head(self, graph: Graph, x: Value) -> Value:
        # Exact products are computed in float32 even if the network is int8.
        pooled = graph.activation(graph.linear(x, "pooler.dense", exact=True), "tanh")
        return graph.linear(pooled, "classifier", exact=True)


FAMILY = Family(
    name="BERT",
    model_types=("bert",),
    examples="MiniLM, TinyBERT: `cross-encoder/ms-marco-MiniLM-L6-v2`",
    has_segments=True,
    prefix="bert.",
    head_weights=("pooler.dense.weight", "classifier.weight"),
    architecture=Bert,
)
