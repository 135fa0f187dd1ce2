"""The layer that BERT, ELECTRA, RoBERTa and DistilBERT share: attention, then a feed-forward net, each normalised after."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.graph import Graph

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


def encoder(graph: Graph, x: str, layers: Layers, only_first: bool, cut: str | None = None) -> str:
    """Add every layer. Where only the first row is read, the last layer computes no other: a sixth of MiniLM-L6's work.

    `cut`, of shape (1,), parts the rows in two texts: no row attends beyond its own.
    """
    for at in range(layers.count):
        x = _layer(graph, x, layers, layers.names.layer.format(at), only_first and at == layers.count - 1, cut)
    return x


def _layer(graph: Graph, x: str, layers: Layers, prefix: str, only_first: bool, cut: str | None) -> str:
    names = layers.names
    attended, x = _attended(graph, x, layers, prefix, only_first, cut)
    x = graph.norm(
        graph.op("Add", graph.linear(attended, prefix + names.attended), x), prefix + names.attended_norm, layers.epsilon
    )
    wide = graph.activation(graph.linear(x, prefix + names.wide), layers.activation)
    return graph.norm(graph.op("Add", graph.linear(wide, prefix + names.narrow), x), prefix + names.norm, layers.epsilon)


def _attended(graph: Graph, x: str, layers: Layers, prefix: str, only_first: bool, cut: str | None) -> tuple[str, str]:
    """Return what attention gives and the rows it is added to."""
    names, scale = layers.names, (layers.width // layers.heads) ** -0.5
    query, key, value = (prefix + name for name in (names.query, names.key, names.value))
    graph.expect_rows(f"{query}.weight", layers.width)
    if not only_first:
        heads = graph.heads(graph.linear(x, query, key, value), 3 * layers.heads)
        texts = [heads] if cut is None else graph.cut(heads, cut, axis=1)
        attended = []
        for text in texts:
            parts = graph.ops("Split", text, outputs=3, axis=0, num_outputs=3)
            attended.append(graph.attention(parts[0], parts[1], parts[2], scale))
        return attended[0] if cut is None else graph.op("Concat", *attended, axis=0), x
    keys, values = graph.ops(
        "Split", graph.heads(graph.linear(x, key, value), 2 * layers.heads), outputs=2, axis=0, num_outputs=2
    )
    row = graph.first_row(x)
    return graph.attention(graph.heads(graph.linear(row, query), layers.heads), keys, values, scale), row
