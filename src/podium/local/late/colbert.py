"""Colbert, a LateModel whose score is the sum of the highest similarities of a query's tokens (Khattab & Zaharia 2020).

spec.py describes these checkpoints, and the reference that podium follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from podium.encodings import Buffer
from podium.errors import UnsupportedModel
from podium.local.build import add_dense, load_network
from podium.local.families.family import Architecture, Family
from podium.local.files.checkpoint import Array
from podium.local.graph import Graph, Value
from podium.local.late.comparison import MaxSim
from podium.local.late.encoding import unpack
from podium.local.late.models import LateModel, Text, Vectors
from podium.local.late.spec import LateSpec, ScoreOption
from podium.local.late.tokenizer import LateEncoded, LateTokenizer
from podium.local.runtimes import Runtime, Variant
from podium.local.spec import Activation, Spec
from podium.local.tokenizer import Encoded

__all__ = ["Colbert", "MeanMaxSim"]

ACTIVATIONS: dict[ScoreOption, Activation] = {
    "sum": Activation("sum of similarities", "similarity_sum", float),
    "mean": Activation("mean similarity", "similarity", float),
}
SUM_NOTE = (
    "a score is a sum of similarities, one for each token of the query, so it grows with the query's length; "
    "compare scores of one query only, or load the model with score='mean'"
)


class MeanMaxSim:
    """The mean, over a query's vectors, of each vector's highest product with a vector of the text."""

    def __init__(self) -> None:
        self._max_sim = MaxSim()

    def compare(self, query: Buffer, documents: Sequence[Buffer]) -> Array:
        sums = self._max_sim.compare(query, documents)
        means: Array = sums / np.float32(len(unpack(query).rows))
        return means


class Colbert(LateModel):
    """A ColBERT model.

    `score`: whether the similarities of a query's tokens are added up or averaged. By default the model's files decide.
    """

    def __init__(self, spec: LateSpec, score: ScoreOption | None = None) -> None:
        score = score or spec.score
        self.late_spec = spec
        self.spec: Spec = replace(spec, activation=ACTIVATIONS[score])
        self.comparison = MaxSim() if score == "sum" else MeanMaxSim()
        self.notes = (SUM_NOTE,) if score == "sum" else ()

    def load(self, spec: Spec, variant: Variant) -> Runtime:
        if not spec.family or not spec.architecture:
            raise UnsupportedModel(f"{spec.folder} has an architecture that podium does not have; use another model")
        return load_network(spec, spec.family, spec.architecture, variant, self._add_encoder)

    def tokenizer(self, spec: Spec, max_length: int) -> LateTokenizer:
        return LateTokenizer(self.late_spec, max_length)

    def vectors(self, text: Text, tokens: Encoded, result: Array) -> Vectors:
        """Return the vectors of the tokens that are compared. The first one, [CLS]'s, is not pooled with others."""
        if not isinstance(tokens, LateEncoded):
            raise TypeError("tokens must come from a LateTokenizer")
        return Vectors(result[tokens.is_compared], protected=1)

    def score(self, features: Array) -> Array:
        scores: Array = features[:, 0]
        return scores

    def _add_encoder(self, graph: Graph, spec: Spec, family: Family, architecture: Architecture) -> Value:
        """Add the encoder and its projection, and return one row per token. `pack` normalises the rows."""
        expansion = self.late_spec.expansion
        graph.hides_segment_1 = expansion is not None and not expansion.is_attended
        x = architecture.encode(graph, "all")
        if self.late_spec.has_inline_projection:
            x = graph.linear(x, "linear", bias="linear.bias" in graph.checkpoint, exact=True)
        for module in spec.modules:
            x = add_dense(graph, x, module)
        return x
