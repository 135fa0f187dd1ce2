"""The embeddings and layers that BERT, ELECTRA, RoBERTa, DistilBERT and podium's own late interaction share."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.files.config import Config
from podium.local.graph import Attention, Graph, Rows, Value

__all__ = ["BERT_NAMES", "PartNames", "Transformer"]


@dataclass(frozen=True, slots=True)
class PartNames:
    """The names of a layer's parts in a checkpoint."""

    layer: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    intermediate: str
    output: str
    output_norm: str


BERT_NAMES = PartNames(
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    intermediate="intermediate.dense",
    output="output.dense",
    output_norm="output.LayerNorm",
)


WORDS, SEGMENTS, POSITIONS = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type", "position"))


@dataclass(frozen=True, slots=True)
class Transformer:
    """An encoder's sizes, and the names of its layers' parts. Each layer is attention, then a feed-forward network."""

    layers: int
    heads: int
    width: int
    max_positions: int
    activation: str
    epsilon: float
    names: PartNames = BERT_NAMES

    @classmethod
    def from_json(cls, config: Config, *, epsilon: float = 1e-12) -> Transformer:
        """Return the encoder that BERT's settings describe. `epsilon` is the default of the norms."""
        return cls(
            layers=config.integer("num_hidden_layers"),
            heads=config.integer("num_attention_heads"),
            width=config.integer("hidden_size"),
            max_positions=config.integer("max_position_embeddings"),
            activation=config.string("hidden_act", "gelu"),
            epsilon=config.number("layer_norm_eps", epsilon),
        )

    def embed(self, graph: Graph, *, segments: Value | None, positions: Value) -> Value:
        """Add words, segments and positions, in this order: float32 sums depend on it in the last bit."""
        graph.expect_rows(POSITIONS, self.max_positions)
        x = graph.lookup(WORDS, graph.token_ids())
        if segments is not None:
            x = graph.add(x, graph.lookup(SEGMENTS, segments))
        x = graph.add(x, graph.lookup(POSITIONS, positions))
        return graph.norm(x, "embeddings.LayerNorm", self.epsilon)

    def encode(self, graph: Graph, x: Value, rows: Rows, *, by_side: bool = False) -> Value:
        """Add every layer; the last computes only the rows that are needed. `by_side` as in Attention."""
        for index in range(self.layers):
            needed = rows if index == self.layers - 1 else "all"
            attention = Attention(self.heads, self.width, rows=needed, by_side=by_side)
            x = self._layer(graph, x, self.names.layer.format(index), attention)
        return x

    def _layer(self, graph: Graph, x: Value, prefix: str, attention: Attention) -> Value:
        names = self.names
        projections = [prefix + name for name in (names.query, names.key, names.value)]
        attended = graph.attention(x, projections, attention)
        attention_output = graph.linear(attended, prefix + names.attention_output)
        x = graph.add(attention_output, graph.select(x, attention.rows))
        x = graph.norm(x, prefix + names.attention_norm, self.epsilon)
        intermediate = graph.activation(graph.linear(x, prefix + names.intermediate), self.activation)
        output = graph.linear(intermediate, prefix + names.output)
        return graph.norm(graph.add(output, x), prefix + names.output_norm, self.epsilon)
