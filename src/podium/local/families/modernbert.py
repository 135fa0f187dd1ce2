"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, gated feed-forward, mostly local attention."""

from __future__ import annotations

from dataclasses import dataclass

from podium.errors import UnsupportedModel
from podium.local.families.family import Architecture, Family, Pooling
from podium.local.files.config import Config
from podium.local.graph import Attention, Graph, Rotary, Rows, Value

__all__ = ["FAMILY", "ModernBert"]

LOCAL, GLOBAL = "sliding_attention", "full_attention"
POOLINGS: dict[str, Pooling] = {"cls": "cls", "mean": "mean"}


@dataclass(frozen=True, slots=True)
class ModernBert(Architecture):
    """`layer_kinds` are LOCAL or GLOBAL. `window` is how many tokens to either side a local layer attends to."""

    heads: int
    width: int
    layer_kinds: tuple[str, ...]
    window: int
    local_rotary: Rotary
    global_rotary: Rotary
    activation: str
    attention_bias: bool
    mlp_bias: bool
    norm_epsilon: float
    norm_bias: bool
    classifier_activation: str
    classifier_bias: bool
    classifier_pooling: Pooling

    @classmethod
    def from_json(cls, config: Config) -> ModernBert:
        pooling = config.string("classifier_pooling", "cls")
        if pooling not in POOLINGS:
            raise UnsupportedModel(f"config.json names the classifier_pooling {pooling!r}; podium has cls and mean")
        return cls(
            heads=config.integer("num_attention_heads"),
            width=config.integer("hidden_size"),
            layer_kinds=_layer_kinds(config),
            window=config.integer("local_attention", 128) // 2,
            local_rotary=_rotary(config, LOCAL, "local_rope_theta", 10_000.0),
            global_rotary=_rotary(config, GLOBAL, "global_rope_theta", 160_000.0),
            activation=config.string("hidden_activation", "gelu"),
            attention_bias=config.flag("attention_bias"),
            mlp_bias=config.flag("mlp_bias"),
            norm_epsilon=config.number("norm_eps", 1e-5),
            norm_bias=config.flag("norm_bias"),
            classifier_activation=config.string("classifier_activation", "gelu"),
            classifier_bias=config.flag("classifier_bias"),
            classifier_pooling=POOLINGS[pooling],
        )

    @property
    def pooling(self) -> Pooling:
        return self.classifier_pooling

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = self._norm(graph, graph.lookup("embeddings.tok_embeddings.weight", graph.token_ids()), "embeddings.norm")
        for index, kind in enumerate(self.layer_kinds):
            attention = Attention(
                heads=self.heads,
                width=self.width,
                rows=rows if index == len(self.layer_kinds) - 1 else "all",
                window=self.window if kind == LOCAL else None,
                rotary=self.local_rotary if kind == LOCAL else self.global_rotary,
            )
            x = self._layer(graph, x, f"layers.{index}.", attention)
        return self._norm(graph, x, "final_norm")

    def head(self, graph: Graph, x: Value) -> Value:
        dense = graph.linear(x, "head.dense", bias=self.classifier_bias, exact=True)
        dense = graph.activation(dense, self.classifier_activation)
        return graph.linear(self._norm(graph, dense, "head.norm"), "classifier", exact=True)

    def _layer(self, graph: Graph, x: Value, prefix: str, attention: Attention) -> Value:
        # The first layer has no norm before its attention, because the embeddings have just been normalised.
        has_norm = f"{prefix}attn_norm.weight" in graph.checkpoint
        normed = self._norm(graph, x, f"{prefix}attn_norm") if has_norm else x
        attended = graph.attention(normed, [f"{prefix}attn.Wqkv"], attention, bias=self.attention_bias)
        attention_output = graph.linear(attended, f"{prefix}attn.Wo", bias=self.attention_bias)
        x = graph.add(attention_output, graph.select(x, attention.rows))
        intermediate = graph.linear(self._norm(graph, x, f"{prefix}mlp_norm"), f"{prefix}mlp.Wi", bias=self.mlp_bias)
        gated = graph.gate(intermediate, self.activation)
        return graph.add(graph.linear(gated, f"{prefix}mlp.Wo", bias=self.mlp_bias), x)

    def _norm(self, graph: Graph, x: Value, name: str) -> Value:
        return graph.norm(x, name, self.norm_epsilon, bias=self.norm_bias)


def _layer_kinds(config: Config) -> tuple[str, ...]:
    """Return each layer's attention; older configs say only that every n-th layer is global."""
    if kinds := config.strings("layer_types"):
        if unknown := set(kinds) - {LOCAL, GLOBAL}:
            raise UnsupportedModel(f"config.json names the layer_types {sorted(unknown)}; podium has {LOCAL} and {GLOBAL}")
        return tuple(kinds)
    every = config.integer("global_attn_every_n_layers", 3)
    return tuple(LOCAL if index % every else GLOBAL for index in range(config.integer("num_hidden_layers")))


def _rotary(config: Config, kind: str, old_key: str, default: float) -> Rotary:
    parameters = config.section("rope_parameters").section(kind)
    rope_type = parameters.string("rope_type", "default")
    if rope_type != "default" or config.get("rope_scaling"):
        raise UnsupportedModel(f"config.json has rotary positions of type {rope_type!r} or scaled ones; podium has the default")
    theta = parameters.number("rope_theta", config.number(old_key, default))
    return Rotary(float(theta), config.integer("max_position_embeddings"))


FAMILY = Family(
    name="ModernBERT",
    model_types=("modernbert",),
    examples="`cross-encoder/ettin-reranker-17m-v1`, `Alibaba-NLP/gte-reranker-modernbert-base`",
    has_segments=False,
    prefix="model.",
    head_weights=("head.dense.weight", "classifier.weight"),
    architecture=ModernBert,
)
