"""LateModel, the interface of the kinds of late-interaction models: it has everything in which they differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from podium.local.files.checkpoint import Array
from podium.local.late.comparison import Comparison
from podium.local.runtimes import Runtime, Variant
from podium.local.spec import Spec
from podium.local.tokenizer import Encoded, Tokenizer

__all__ = ["LateModel", "Text", "Vectors"]


class Text(NamedTuple):
    """A query or a text that is to be encoded. The two are encoded differently."""

    text: str
    is_query: bool = False


class Vectors(NamedTuple):
    """The parts of one text's encoding, which are those of `encoding.pack`.

    The first `protected` rows are never pooled with others.
    """

    rows: Array
    ids: Array | None = None
    weights: Array | None = None
    mean: Array | None = None
    protected: int = 0


class LateModel(ABC):
    """A kind of model: how it reads texts, which vectors are stored, and how they are compared.

    `spec` describes the files. `comparison` computes the features of texts, which `score` maps to scores. `notes` are put on
    every Ranking.
    """

    spec: Spec
    comparison: Comparison
    notes: tuple[str, ...] = ()

    @abstractmethod
    def load(self, spec: Spec, variant: Variant) -> Runtime:
        """Return the network. Its result has one row per token."""

    @abstractmethod
    def tokenizer(self, spec: Spec, max_length: int) -> Tokenizer[Text]:
        """Return the tokenizer of queries and texts. `max_length` applies to texts."""

    @abstractmethod
    def vectors(self, text: Text, tokens: Encoded, result: Array) -> Vectors:
        """Return the parts of a text's encoding. `tokens` are the text's, and `result` is the network's: (tokens, width)."""

    @abstractmethod
    def score(self, features: Array) -> Array:
        """Return the raw score of each text, shape (texts,). `features` are those of `comparison`, shape (texts, features).

        A text's score must not depend on the other texts.
        """
