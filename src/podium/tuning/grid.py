"""Setting, a composition with its options, and the plain grid of settings that are compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium.inputs import without_none

__all__ = ["Setting", "Space", "grid"]

WEIGHTS = (0.5, 0.7, 0.8, 0.9)  # shares of the reranker in a fusion with the first stage
NEIGHBOUR_WEIGHTS = (0.6, 0.8)  # shares of the scores in a fusion with the cosines
CUTS = (10, 20, 50)  # how many documents the strong scorer of a cascade scores
DEPTHS = (20, 50)  # numbers of candidates besides the maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A composition with its options. None means that it does not have this part.

    - `model`, `precision`: the model that scores; the strong one of a cascade. `precision` None is the model's default.
    - `cheap`, `keep`: the first model of a cascade, and how many documents the other one scores.
    - `passages`: how the scores of passages become that of a document.
    - `weight`: the share of the reranker in a fusion with the first stage.
    - `embed`, `neighbour_weight`: the embedder of Neighbours, and the share of the scores there.
    - `candidates`: how many documents are reranked.
    """

    model: str
    candidates: int
    precision: str | None = None
    cheap: str | None = None
    keep: int | None = None
    passages: str | None = None
    weight: float | None = None
    embed: str | None = None
    neighbour_weight: float | None = None

    @property
    def part_count(self) -> int:
        """The number of parts besides the model. Fewer are simpler."""
        return sum(part is not None for part in (self.cheap, self.passages, self.weight, self.embed))

    @property
    def simplicity(self) -> tuple[float, ...]:
        """A key by which the simplest and cheapest setting is the first one."""
        return self.part_count, self.candidates, self.precision == "float32", self.keep or 0

    def table(self) -> dict[str, Any]:
        """Return the content of the configuration file."""
        return {"candidates": self.candidates, "reranker": self._reranker()}

    def _reranker(self) -> dict[str, Any]:
        scorer: dict[str, Any] = without_none({"model": self.model, "precision": self.precision})
        if self.passages is not None:
            scorer = {"use": "Passages", "aggregate": self.passages, "scorer": scorer}
        if self.cheap is not None:
            scorer = {"use": "Cascade", "keep": self.keep, "cheap": {"model": self.cheap}, "strong": scorer}
        if self.weight is not None:
            scorer = {"use": "Fused", "weight": self.weight, "scorer": scorer}
        if self.embed is not None:
            scorer = {"use": "Neighbours", "embed": self.embed, "weight": self.neighbour_weight, "scorer": scorer}
        return scorer

    def __str__(self) -> str:
        """The setting in one line, without parts that it does not have."""
        model = self.model if self.precision is None else f"{self.model} ({self.precision})"
        parts = {
            "passages": self.passages,
            "cascade after": None if self.cheap is None else f"{self.cheap}, which keeps {self.keep}",
            "fused, weight": self.weight,
            "neighbours, weight": self.neighbour_weight,
            "candidates": self.candidates,
        }
        return ", ".join([model, *(f"{name} {value}" for name, value in parts.items() if value is not None)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What can be selected.

    - `models`: the names of the models, first the one that is used without tuning.
    - `precisions`: the precisions of each model besides its default.
    - `has_passages`: the models that do not read all texts completely.
    - `embed`: the embedder for Neighbours, None for none.
    - `candidates`: the maximum number of candidates.
    - `has_first_stage`: whether the first stage has scores that can be fused.
    """

    models: Sequence[str]
    candidates: int
    precisions: dict[str, tuple[str, ...]]
    has_passages: Sequence[str] = ()
    embed: str | None = None
    has_first_stage: bool = True


def grid(space: Space) -> list[Setting]:
    """Return all settings in the space. The first one is the plain reranker with all candidates."""
    depths = [space.candidates, *(depth for depth in DEPTHS if depth < space.candidates)]
    weights = [None, *WEIGHTS] if space.has_first_stage else [None]
    neighbour_weights = [None] if space.embed is None else [None, *NEIGHBOUR_WEIGHTS]
    settings = []
    for base, depth, weight, neighbour_weight in itertools.product(list(_bases(space)), depths, weights, neighbour_weights):
        if base.keep is not None and base.keep >= depth:
            continue  # the strong model would score all documents
        embed = None if neighbour_weight is None else space.embed
        settings.append(replace(base, candidates=depth, weight=weight, embed=embed, neighbour_weight=neighbour_weight))
    return settings


def _bases(space: Space) -> Iterator[Setting]:
    """Yield the scorers without fusion and neighbours: each model, its passages, and cascades of two models."""
    for model in space.models:
        for precision in (None, *space.precisions.get(model, ())):
            plain = Setting(model=model, precision=precision, candidates=space.candidates)
            variants = [plain]
            if model in space.has_passages:
                variants.append(replace(plain, passages="max"))
            yield from variants
            for variant, cheap, keep in itertools.product(variants, space.models, CUTS):
                if cheap != model:
                    yield replace(variant, cheap=cheap, keep=keep)
