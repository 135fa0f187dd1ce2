"""Setting, a composition with its options, and the grid of settings that are compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium.inputs import without_none

__all__ = ["Setting", "Space", "grid"]

WEIGHTS = (0.5, 0.7, 0.8, 0.9)  # shares of the reranker in a fusion with the first stage
NEIGHBOUR_WEIGHTS = (0.6, 0.8)  # shares of the scores in a fusion with the cosines
KEEP_COUNTS = (10, 20, 50)  # how many documents the strong scorer of a cascade scores
CANDIDATE_COUNTS = (20, 50)  # tried besides the maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A composition of a model and optional parts. The options of a part are None if the setting does not have it.

    - `model`: the model that scores; in a cascade, the strong one.
    - `candidates`: how many documents are reranked.
    - `precision`: the precision of the model, None for its default.
    - `cheap`, `keep`: the first model of a cascade, and how many documents the strong one scores.
    - `passages`: how the scores of passages become that of a document.
    - `weight`: the share of the reranker in a fusion with the first stage.
    - `embed`, `neighbour_weight`: the embedder of Neighbours, and the share of the scores there.
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
        """The number of parts besides the model."""
        return sum(part is not None for part in (self.cheap, self.passages, self.weight, self.embed))

    @property
    def complexity(self) -> tuple[float, ...]:
        """A sort key: the setting with the fewest parts is the first one, then the one that scores the fewest documents.

        A precision of float32 is the last one: it is only set for models whose default, int8, is faster.
        """
        return self.part_count, self.candidates, self.precision == "float32", self.keep or 0

    def table(self) -> dict[str, Any]:
        """Return the setting as the content of a file that podium.load accepts."""
        return {"candidates": self.candidates, "reranker": self._reranker_table()}

    def _reranker_table(self) -> dict[str, Any]:
        """Return the table of the model, inside the tables of the parts that the setting has."""
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
        options = {
            "passages": self.passages,
            "cascade after": None if self.cheap is None else f"{self.cheap}, which keeps {self.keep}",
            "fused, weight": self.weight,
            "neighbours, weight": self.neighbour_weight,
            "candidates": self.candidates,
        }
        return ", ".join([model, *(f"{label} {value}" for label, value in options.items() if value is not None)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The models, precisions and parts from which settings are formed.

    - `models`: the names of the models. The first one is the plain reranker.
    - `candidates`: the maximum number of candidates.
    - `precisions`: the precisions of each model besides its default.
    - `truncating_models`: the models that do not read all texts completely. They are also tried with passages.
    - `embed`: the embedder for Neighbours. If None, Neighbours is not tried.
    """

    models: Sequence[str]
    candidates: int
    precisions: Mapping[str, Sequence[str]]
    truncating_models: Sequence[str] = ()
    embed: str | None = None


def grid(space: Space) -> list[Setting]:
    """Return all settings in the space. The first one is the plain reranker: the first model, without parts, all candidates."""
    candidate_counts = [space.candidates, *(count for count in CANDIDATE_COUNTS if count < space.candidates)]
    weights = [None, *WEIGHTS]
    neighbour_weights = [None] if space.embed is None else [None, *NEIGHBOUR_WEIGHTS]
    settings = []
    for base, count, weight, neighbour_weight in itertools.product(
        _base_settings(space), candidate_counts, weights, neighbour_weights
    ):
        if base.keep is not None and base.keep >= count:
            continue  # the strong model would score all documents
        embed = None if neighbour_weight is None else space.embed
        settings.append(replace(base, candidates=count, weight=weight, embed=embed, neighbour_weight=neighbour_weight))
    return settings


def _base_settings(space: Space) -> Iterator[Setting]:
    """Yield the settings with all candidates and without fusion and Neighbours.

    They are each model in each precision, with and without passages, alone and as the strong one in a cascade after each other
    model.
    """
    for model in space.models:
        for precision in (None, *space.precisions.get(model, ())):
            alone = [Setting(model=model, precision=precision, candidates=space.candidates)]
            if model in space.truncating_models:
                alone.append(replace(alone[0], passages="max"))
            yield from alone
            for strong, cheap, keep in itertools.product(alone, space.models, KEEP_COUNTS):
                if cheap != model:
                    yield replace(strong, cheap=cheap, keep=keep)
