"""Llama (Touvron et al. 2023, arXiv 2302.13971): RMSNorm, rotary positions, shared key heads, gated feed-forward; causal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from podium.errors import UnsupportedModel
from podium.local.families.family import MAX_NUMBERS, Architecture, Family, Pooling
from podium.local.graph import Attention, Graph, HeadNorms, Llama3Scaling, Rotary, Rows, Value

__all__ = ["FAMILY", "WORDS", "Llama"]

WORDS = "embed_tokens.weight"
SLIDING = "sliding_attention"
MAX_TOKENS = 1 << 15  # The tables of rotary positions have this many rows at most. A CPU needs minutes for so many tokens.
SCALING_KEYS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


@dataclass(frozen=True, kw_only=True)
class Llama(Architecture):
    """A causal decoder, of which only the last token's row is needed. Its relatives are subclasses that change a part."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    max_position_embeddings: int
    num_key_value_heads: int = 0
    head_dim: int = 0
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: Mapping[str, Any] | None = None
    rope_parameters: Mapping[str, Any] | None = None  # replaces rope_theta and rope_scaling in files of transformers 5
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    sliding_window: int = 0
    use_sliding_window: bool = True
    layer_types: Sequence[str] | None = None
    partial_rotary_factor: float = 1.0

    is_causal: ClassVar[bool] = True
    norm_offset: ClassVar[float] = 0.0
    max_numbers: ClassVar[Mapping[str, int]] = {**MAX_NUMBERS, "max_position_embeddings": 1 << 24}

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Architecture:
        # null means the default in many of these files.
        return super().from_json({key: value for key, value in config.items() if value is not None})

    def __post_init__(self) -> None:
        if any(isinstance(value, Mapping) for value in self._rope.values()):
            raise UnsupportedModel(
                "config.json has different rotary positions for different layers, which podium does not have; use another model"
            )
        rope_type = self._rope_type
        if rope_type not in ("default", "llama3"):
            raise UnsupportedModel(
                f"config.json has rotary positions of the type {rope_type!r}; podium has default and llama3; use another model"
            )
        if rope_type == "llama3" and (missing := [key for key in SCALING_KEYS if key not in self._rope]):
            raise UnsupportedModel(f"config.json has llama3 rotary positions without {missing}; download the model again")
        if self.partial_rotary_factor != 1 or self._rope.get("partial_rotary_factor", 1) != 1:
            raise UnsupportedModel(
                "config.json rotates only a part of each head, which podium does not have; use another model"
            )

    @property
    def pooling(self) -> Pooling:
        return "last"

    @property
    def reserved_positions(self) -> int:
        return self.max_position_embeddings - self.position_count

    @property
    def position_count(self) -> int:
        """The most tokens of a text: all positions, but not more than a sliding window has, nor more than MAX_TOKENS.

        The window of a shorter text contains all its tokens, so it has no effect.
        """
        limits = [self.max_position_embeddings, MAX_TOKENS]
        if self.sliding_window and self.use_sliding_window and SLIDING in (self.layer_types or [SLIDING]):
            limits.append(self.sliding_window)
        return min(limits)

    @property
    def output_matrix(self) -> str:
        """The name of the matrix whose products with the last row are the logits, one for each token of the vocabulary."""
        return WORDS if self.tie_word_embeddings else "lm_head.weight"

    @property
    def _head_size(self) -> int:
        return self.head_dim or self.hidden_size // max(self.num_attention_heads, 1)

    @property
    def _rope(self) -> Mapping[str, Any]:
        rope = self.rope_parameters or self.rope_scaling or {}
        return {key: value for key, value in rope.items() if value is not None}  # null means the default, as above

    @property
    def _rope_type(self) -> str:
        return str(self._rope.get("rope_type") or self._rope.get("type") or "default")

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = self.embed(graph)
        for index in range(self.num_hidden_layers):
            x = self._layer(graph, x, f"layers.{index}.", rows if index == self.num_hidden_layers - 1 else "all")
        return self._norm(graph, x, "norm")

    def embed(self, graph: Graph) -> Value:
        return graph.lookup(WORDS, graph.token_ids())

    def head(self, graph: Graph, x: Value) -> Value:
        return graph.linear(x, "score", bias=False, exact=True)

    def head_norms(self, prefix: str) -> HeadNorms | None:
        """Return the norms of each head's query and key, None if the model has none."""
        return None

    @property
    def has_attention_bias(self) -> bool:
        """Whether the layers of query, key and value have biases. For the layer after them, `attention_bias` decides."""
        return self.attention_bias

    def _layer(self, graph: Graph, x: Value, prefix: str, rows: Rows) -> Value:
        attention_prefix = f"{prefix}self_attn."
        names = [f"{attention_prefix}{name}_proj" for name in ("q", "k", "v")]
        normed = self._norm(graph, x, f"{prefix}input_layernorm")
        attended = graph.attention(normed, names, self._attention(attention_prefix, rows), bias=self.has_attention_bias)
        output = graph.linear(attended, f"{attention_prefix}o_proj", bias=self.attention_bias)
        x = graph.add(output, graph.select(x, rows))
        normed = self._norm(graph, x, f"{prefix}post_attention_layernorm")
        gate_and_up = graph.linear(normed, f"{prefix}mlp.gate_proj", f"{prefix}mlp.up_proj", bias=self.mlp_bias)
        gated = graph.gate(gate_and_up, self.hidden_act)
        return graph.add(graph.linear(gated, f"{prefix}mlp.down_proj", bias=self.mlp_bias, wide_inputs=True), x)

    def _attention(self, prefix: str, rows: Rows) -> Attention:
        return Attention(
            heads=self.num_attention_heads,
            width=self.num_attention_heads * self._head_size,
            rows=rows,
            rotary=Rotary(float(self._rope.get("rope_theta", self.rope_theta)), self.position_count, self._scaling),
            key_heads=self.num_key_value_heads or self.num_attention_heads,
            norms=self.head_norms(prefix),
            is_causal=self.is_causal,
        )

    @property
    def _scaling(self) -> Llama3Scaling | None:
        return Llama3Scaling(**{key: self._rope[key] for key in SCALING_KEYS}) if self._rope_type == "llama3" else None

    def _norm(self, graph: Graph, x: Value, name: str) -> Value:
        return graph.rms_norm(x, name, self.rms_norm_eps, offset=self.norm_offset)


FAMILY = Family(
    name="Llama",
    model_types=("llama",),
    examples="decoders such as Llama 3.2",
    has_segments=False,
    prefix="model.",
    head_weights=("score.weight",),
    architecture=Llama,
    runtimes=("native",),
    is_decoder=True,
)
