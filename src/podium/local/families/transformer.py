"""The layer that BERT, ELECTRA, RoBERTa and DistilBERT share: attention, then a feed-forward net, each normalised after."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.graph import Attention, Graph

__all__ = ["BERT_NAMES", "Layers", "Names", "encoder"]


@dataclass(frozen=True, slots=True)
class Names:
    """What a checkpoint calls the parts of one layer."""

    layer: str
    query: str
    key: str
    value: str
    attended: str
    attended_norm: str
    wide: str
    narrow: str
    norm: str


BERT_NAMES = Names(
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attended="attention.output.dense",
    attended_norm="attention.output.LayerNorm",
    wide="intermediate.dense",
    narrow="output.dense",
    norm="output.LayerNorm",
)


@dataclass(frozen=True, slots=True)
class Layers:
    """How many layers of which shape."""

    count: int
    heads: int
    width: int
    activation: str
    epsilon: float
    names: Names = BERT_NAMES


def encoder(graph: Graph, x: str, layers: Layers, only_first: bool, *, by_side: bool = False) -> str:
    """Add every layer. Where only the first row is read, the last layer computes no other: a sixth of MiniLM-L6's work.

    `by_side`: no token attends to the other side of its pair.
    """
    for at in range(layers.count):
        last = only_first and at == layers.count - 1
        shape = Attention(layers.heads, layers.width, only_first=last, by_side=by_side)
        x = _layer(graph, x, layers, layers.names.layer.format(at), shape)
    return x


def _layer(graph: Graph, x: str, layers: Layers, prefix: str, shape: Attention) -> str:
    names = layers.names
    asked = [prefix + name for name in (names.query, names.key, names.value)]
    attended = graph.attention(x, asked, shape)
    x = graph.first_row(x) if shape.only_first else x
    x = graph.norm(graph.add(graph.linear(attended, prefix + names.attended), x), prefix + names.attended_norm, layers.epsilon)
    wide = graph.activation(graph.linear(x, prefix + names.wide), layers.activation)
    return graph.norm(graph.add(graph.linear(wide, prefix + names.narrow), x), prefix + names.norm, layers.epsilon)
