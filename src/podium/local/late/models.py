"""LateModel, what differs between the kinds of models with late interaction."""

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
    """A text on its way to its encoding. Queries are encoded differently."""

    text: str
    is_query: bool = False


class Vectors(NamedTuple):
    """What is packed of one text: see `encoding.pack`. The first `protected` rows are never pooled with others."""

    rows: Array
    ids: Array | None = None
    weights: Array | None = None
    mean: Array | None = None
    protected: int = 0


class LateModel(ABC):
    """A kind of model: how it reads texts, which vectors are stored, and how they are compared.

    `spec` describes the files. `score` maps the features of texts, shape (texts, features), to the numbers that decide their
    order, shape (texts,); a text's number must not depend on the other texts. `notes` are put on every Ranking.
    """

    spec: Spec
    comparison: Comparison
    notes: tuple[str, ...] = ()

    @abstractmethod
    def load(self, spec: Spec, variant: Variant) -> Runtime:
        """Return the network, whose result has one row per token."""

    @abstractmethod
    def tokenizer(self, spec: Spec, max_length: int) -> Tokenizer[Text]:
        """Return the tokenizer of queries and texts. `max_length` applies to texts."""

    @abstractmethod
    def vectors(self, text: Text, tokens: Encoded, result: Array) -> Vectors:
        """Return what is packed of a text. `result` is the network's, shape (tokens, width)."""

    @abstractmethod
    def score(self, features: Array) -> Array: ...
