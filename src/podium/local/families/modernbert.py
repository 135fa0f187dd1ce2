"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, gated feed-forward, mostly local attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.errors import UnsupportedModel
from podium.local.families.family import Architecture, Family, Pooling
from podium.local.graph import Attention, Graph, Rotary, Rows, Value

__all__ = ["FAMILY", "ModernBert"]

LOCAL = "sliding_attention"
GLOBAL = "full_attention"


@dataclass(frozen=True, kw_only=True)
class ModernBert(Architecture):
    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    max_position_embeddings: int
    hidden_activation: str = "gelu"
    attention_bias: bool = False
    mlp_bias: bool = False
    norm_bias: bool = False
    norm_eps: float = 1e-5
    layer_types: Sequence[str] | None = None  # older configs say only that every n-th layer is global
    global_attn_every_n_layers: int = 3
    local_attention: int = 128
    rope_parameters: Mapping[str, Any] | None = None
    rope_scaling: object = None
    global_rope_theta: float = 160_000.0
    local_rope_theta: float = 10_000.0
    classifier_activation: str = "gelu"
    classifier_bias: bool = False
    classifier_pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        if self.classifier_pooling not in ("cls", "mean"):
            raise UnsupportedModel(f"config.json has classifier_pooling {self.classifier_pooling!r}; podium has cls and mean")
        if unknown := set(self.layer_types or ()) - {LOCAL, GLOBAL}:
            raise UnsupportedModel(f"config.json has layer_types {sorted(unknown)}; podium has {LOCAL} and {GLOBAL}")
        if self.rope_scaling or any(self._rope(kind).get("rope_type", "default") != "default" for kind in (LOCAL, GLOBAL)):
            raise UnsupportedModel("config.json scales its rotary positions (rope_type); podium has only those without scaling")
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise UnsupportedModel(
                f"config.json has {len(self.layer_types)} layer_types for {self.num_hidden_layers} layers; download it again"
            )

    @property
    def pooling(self) -> Pooling:
        return self.classifier_pooling

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = self._norm(graph, graph.lookup("embeddings.tok_embeddings.weight", graph.token_ids()), "embeddings.norm")
        interval = self.global_attn_every_n_layers
        kinds = self.layer_types or [LOCAL if index % interval else GLOBAL for index in range(self.num_hidden_layers)]
        for index, kind in enumerate(kinds):
            x = self._layer(graph, x, f"layers.{index}.", self._attention(kind, rows if index == len(kinds) - 1 else "all"))
        return self._norm(graph, x, "final_norm")

    def head(self, graph: Graph, x: Value) -> Value:
        # As in transformers, `classifier_bias` is for the dense layer, and the classifier always has a bias.
        dense = graph.linear(x, "head.dense", bias=self.classifier_bias, exact=True)
        dense = graph.activation(dense, self.classifier_activation)
        return graph.linear(self._norm(graph, dense, "head.norm"), "classifier", exact=True)

    def _attention(self, kind: str, rows: Rows) -> Attention:
        default_theta = self.local_rope_theta if kind == LOCAL else self.global_rope_theta
        rotary = Rotary(float(self._rope(kind).get("rope_theta", default_theta)), self.max_position_embeddings)
        window = self.local_attention // 2 if kind == LOCAL else None
        return Attention(self.num_attention_heads, self.hidden_size, rows=rows, window=window, rotary=rotary)

    def _rope(self, kind: str) -> Mapping[str, Any]:
        return (self.rope_parameters or {}).get(kind) or {}

    def _layer(self, graph: Graph, x: Value, prefix: str, attention: Attention) -> Value:
        # The first layer has no norm before its attention, because the embeddings have just been normalised.
        normed = x if prefix == "layers.0." else self._norm(graph, x, f"{prefix}attn_norm")
        attended = graph.attention(normed, [f"{prefix}attn.Wqkv"], attention, bias=self.attention_bias)
        attention_output = graph.linear(attended, f"{prefix}attn.Wo", bias=self.attention_bias)
        x = graph.add(attention_output, graph.select(x, attention.rows))
        intermediate = graph.linear(self._norm(graph, x, f"{prefix}mlp_norm"), f"{prefix}mlp.Wi", bias=self.mlp_bias)
        gated = graph.gate(intermediate, self.hidden_activation)
        return graph.add(graph.linear(gated, f"{prefix}mlp.Wo", bias=self.mlp_bias), x)

    def _norm(self, graph: Graph, x: Value, name: str) -> Value:
        return graph.norm(x, name, self.norm_eps, bias=self.norm_bias)


FAMILY = Family(
    name="ModernBERT",
    model_types=("modernbert",),
    examples="`cross-encoder/ettin-reranker-17m-v1`, `Alibaba-NLP/gte-reranker-modernbert-base`",
    has_segments=False,
    prefix="model.",
    head_weights=("head.dense.weight", "classifier.weight"),
    architecture=ModernBert,
)
