"""DeBERTa v2 and v3 (He et al. 2021, arXiv 2006.03654, 2111.09543): attention over contents and relative positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.families.bert import POSITIONS, SEGMENTS, WORDS, Bert
from podium.local.families.family import Family
from podium.local.files.checkpoint import Array
from podium.local.graph import Attention, Graph, RelativeEmbeddings, Rows, Value

__all__ = ["FAMILY", "Deberta"]

CONVOLUTION = "encoder.conv.conv"
RELATIVE = "encoder.rel_embeddings.weight"  # the embeddings of relative positions, which all layers share


@dataclass(frozen=True, kw_only=True)
class Deberta(Bert):
    """BERT's layers with another attention, and in v2 a convolution."""

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
            raise UnsupportedModel(
                "config.json turns relative_attention off; podium only runs DeBERTa with it; use another model"
            )
        if self.conv_kernel_size > 0 and self.conv_kernel_size % 2 == 0:
            raise UnsupportedModel(
                f"config.json has conv_kernel_size {self.conv_kernel_size}, but podium only has convolutions of odd sizes; use "
                "another model"
            )

    def embed(self, graph: Graph) -> Value:
        # In BERT's order. The reference adds the segments last, which changes at most the last bit of a sum.
        x = graph.lookup(WORDS, graph.token_ids())
        if self.type_vocab_size:
            x = graph.add(x, graph.lookup(SEGMENTS, graph.segment_ids()))
        if self.position_biased_input:
            graph.expect_rows(POSITIONS, self.max_position_embeddings)
            x = graph.add(x, graph.lookup(POSITIONS, graph.positions("counted")))
        if "embeddings.embed_proj.weight" in graph.checkpoint:
            x = graph.linear(x, "embeddings.embed_proj", bias=False)
        return graph.norm(x, "embeddings.LayerNorm", self.layer_norm_eps)

    def layer(self, graph: Graph, x: Value, index: int, rows: Rows) -> Value:
        if index > 0 or self.conv_kernel_size < 1:
            return super().layer(graph, x, index, rows)
        output = super().layer(graph, x, index, "all")
        graph.check_convolution(CONVOLUTION, self.hidden_size, self.conv_kernel_size, self.conv_groups)
        convolved = graph.convolution(x, CONVOLUTION, size=self.conv_kernel_size, groups=self.conv_groups)
        output = graph.add(graph.activation(convolved, self.conv_act), output)
        return graph.select(graph.norm(output, "encoder.conv.LayerNorm", self.layer_norm_eps), rows)

    def attend(self, graph: Graph, x: Value, prefix: str, attention: Attention) -> Value:
        if graph.hides_segment_1:
            raise UnsupportedModel(
                "podium cannot run a DeBERTa model whose tokens do not attend to the [MASK] tokens of an expanded query; use "
                "another model"
            )
        names = [f"{prefix}attention.self.{name}_proj" for name in ("query", "key", "value")]
        kind = "" if self.share_att_key else "pos_"
        queries, keys = (f"{prefix}attention.self.{kind}{name}_proj" for name in ("query", "key"))
        terms = self.pos_att_type.lower().split("|") if isinstance(self.pos_att_type, str) else self.pos_att_type or ()
        return graph.disentangled_attention(
            x,
            names,
            attention,
            keys=self._relative(graph, keys) if "c2p" in terms else None,
            queries=self._relative(graph, queries) if "p2c" in terms else None,
            distance_rows=self._distance_rows(),
        )

    def head(self, graph: Graph, x: Value) -> Value:
        pooled = graph.activation(graph.linear(x, "pooler.dense", exact=True), self.pooler_hidden_act)
        return graph.linear(pooled, "classifier", exact=True)

    def _relative(self, graph: Graph, name: str) -> RelativeEmbeddings:
        """Return the names and sizes of the embeddings of relative positions, and of the layer `name` that projects them.

        Raises UnsupportedModel if the sizes do not match.
        """
        has_bias = f"{name}.bias" in graph.checkpoint
        sizes = graph.checked_sizes([name], has_bias)
        shape = graph.checkpoint.shape(RELATIVE)
        if sizes != (self.hidden_size, self.hidden_size) or shape[1:] != sizes[:1] or shape[0] < 2 * self._span:
            raise UnsupportedModel(
                f"the checkpoint does not match its config.json, which says {2 * self._span} relative positions of width "
                f"{self.hidden_size}: {RELATIVE} has shape {shape}, and {name} {sizes}; download both from one place"
            )
        norm = "encoder.LayerNorm" if "layer_norm" in self.norm_rel_ebd.lower() else None
        if norm:
            graph.checked_norm(norm, bias=True)
        return RelativeEmbeddings(
            table=RELATIVE,
            count=2 * self._span,
            norm=norm,
            epsilon=self.layer_norm_eps,
            layer=name,
            has_bias=has_bias,
        )

    @property
    def _farthest(self) -> int:
        """The farthest distance that the model distinguishes."""
        return self.max_position_embeddings if self.max_relative_positions < 1 else self.max_relative_positions

    @property
    def _span(self) -> int:
        """The number of embeddings of relative positions in each of the two directions."""
        return self.position_buckets if self.position_buckets > 0 else self._farthest

    def _distance_rows(self) -> Array:
        """Return the row of the table of relative embeddings for each distance.

        Shape (2 * max_position_embeddings - 1,). The distances are -(max_position_embeddings - 1) to
        max_position_embeddings - 1. A table has 2 * span rows, and distance 0 has row `span`.
        """
        distances = np.arange(1 - self.max_position_embeddings, self.max_position_embeddings)
        rows = self._buckets(distances) if self.position_buckets > 0 else distances
        return np.asarray(np.clip(rows + self._span, 0, 2 * self._span - 1))

    def _buckets(self, distances: Array) -> Array:
        """Return the bucket of each distance, a whole number with the same sign.

        With b = position_buckets / 2, distances up to b have buckets of their own. Longer ones, up to the farthest, share the
        buckets b + 1 to 2 * b - 1, whose widths grow exponentially. As in the reference, they are computed in float32.
        """
        middle = self.position_buckets // 2
        far = np.where(np.abs(distances) < middle, middle - 1, np.abs(distances)).astype(np.float32)
        scale = np.log(far / np.float32(middle)) / np.log(np.float32((self._farthest - 1) / middle))
        shared = np.ceil(scale * np.float32(middle - 1)) + middle
        return np.where(far <= middle, distances, shared * np.sign(distances)).astype(np.int64)


FAMILY = Family(
    name="DeBERTa",
    model_types=("deberta-v2",),
    examples="v2 and v3: `mixedbread-ai/mxbai-rerank-base-v1`",
    has_segments=True,
    prefix="deberta.",
    head_weights=("pooler.dense.weight", "classifier.weight"),
    architecture=Deberta,
)
