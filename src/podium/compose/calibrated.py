"""CalibratedScorer: convert scores to the probability that a document is relevant, by a function fitted to judgments."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from podium.atomic import atomic_write
from podium.compose.components import Component
from podium.compose.stepwise import CallStep, ScoreStep, Steps, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.errors import Argument, InvalidInput, unreadable
from podium.inputs import refuse_unknown_names
from podium.json_values import load_json
from podium.logistic import sigmoid
from podium.options import Option
from podium.ordering import first_tier, raw_scores
from podium.scorers import HasScorer
from podium.types import Progress, ScoreKind, Scorer, Scores

__all__ = ["COMPONENT", "CalibratedScorer", "Calibration", "read_calibration", "write_calibration"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """An increasing function from a model's raw scores (before any sigmoid) to probabilities.

    The method "platt" computes 1 / (1 + exp(-(slope × score + offset))). The method "isotonic" interpolates linearly between
    `points`, which are (score, probability) pairs in ascending order. Below the first and above the last, it is constant.

    A calibration is valid only for the `model` and `revision` that it was fitted on, and for its kind of scores (`score_kind`,
    None in files of earlier versions). The server of a hosted model is not compared. So name the model even if a server has
    only one ("tei:BAAI/bge-reranker-v2-m3"). Otherwise the calibration would be accepted for the model of another server.
    """

    model: str
    revision: str | None
    method: Literal["platt", "isotonic"]
    slope: float = 1.0
    offset: float = 0.0
    points: tuple[tuple[float, float], ...] = ()
    score_kind: ScoreKind | None = None

    def __call__(self, score: float) -> float:
        if self.method == "platt":
            return sigmoid(self.slope * score + self.offset)
        index = bisect.bisect_right(self.points, (score, math.inf))
        if index == 0:
            return self.points[0][1]
        if index == len(self.points):
            return self.points[-1][1]
        (x, y), (next_x, next_y) = self.points[index - 1], self.points[index]
        return min(y + (next_y - y) * (score - x) / (next_x - x), next_y)  # rounding could exceed it


class CalibratedScorer(StepwiseScorer, WrappedScorer):
    """A scorer whose values are probabilities. It keeps the order of the wrapped scorer, even if two values become equal.

    Raises InvalidInput if the calibration was fitted on another model.
    """

    score_kind: ScoreKind = "probability"

    @refuse_unknown_names
    def __init__(self, scorer: Scorer | HasScorer, calibration: Calibration) -> None:
        super().__init__(scorer)
        if (calibration.model, calibration.revision) != (self.model, self.revision):
            raise InvalidInput(
                f"this calibration is for {calibration.model} ({calibration.revision or 'no revision'}), not for {self.model} "
                f"({self.revision or 'no revision'}); fit one with podium calibrate"
            )
        if calibration.score_kind not in (None, self.scorer.score_kind):
            raise InvalidInput(
                f"this calibration is for scores of the kind {calibration.score_kind}, and {self.model} has scores of the kind "
                f"{self.scorer.score_kind}; load it with the same ",
                Argument("score"),
                " as for podium calibrate, or fit another calibration",
            )
        self.calibration = calibration
        self.file: str | None = None  # the path of the calibration, None if unknown

    def settings(self) -> dict[str, Any]:
        return {"use": "Calibrated", "calibration": self.file or "unknown", "scorer": self.scorer}

    @property
    def identity(self) -> str:
        function = json.dumps(asdict(self.calibration), sort_keys=True)
        digest = hashlib.blake2b(function.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
        return f"{self.scorer.identity} calibration {digest}"

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        scores_per_query = yield ScoreStep(self.scorer, queries, texts_per_query, progress)
        calibrated: list[Scores] = yield CallStep(lambda: list(map(self._calibrated, scores_per_query)))
        return calibrated

    def _calibrated(self, scores: Scores) -> Scores:
        """Return the scores as probabilities. Scores of other models do not change: the calibration is not valid for them."""
        if scores.model is not None:
            note = f"the calibration is not for {scores.model}, so its scores are not probabilities"
            return replace(scores, score_kind=scores.score_kind or self.scorer.score_kind, notes=(*scores.notes, note))
        raw = raw_scores(scores)
        values = [
            self.calibration(float(raw_score)) if is_comparable else score
            for score, raw_score, is_comparable in zip(scores.values, raw, first_tier(scores), strict=True)
        ]
        return replace(scores, values=values, raw=raw)


def _calibrated(scorer: Scorer, calibration: str) -> CalibratedScorer:
    """Return a scorer with the calibration in a file. `calibration` is its path."""
    calibrated = CalibratedScorer(scorer, read_calibration(calibration))
    calibrated.file = calibration
    return calibrated


COMPONENT = Component(
    name="Calibrated",
    create=_calibrated,
    scorers=("scorer",),
    options=(Option("calibration", str),),
    required=("calibration",),
    files=("calibration",),
)


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write a calibration as JSON. Raises OSError."""
    with atomic_write(Path(path)) as file:
        file.write((json.dumps(asdict(calibration), indent=1) + "\n").encode())


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Return the calibration in a file. Raises InvalidInput if it cannot be read or its function is not increasing."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"a calibration is a file that podium calibrate wrote, not {path!r:.40}; pass its path")
    try:
        fields: dict[str, Any] = load_json(Path(path))
        points = tuple((float(x), float(y)) for x, y in fields.pop("points", ()))
        calibration = Calibration(**fields, points=points)
        if not _is_increasing(calibration):
            raise ValueError("the function is not increasing")
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"{os.fspath(path)} is not a calibration; fit one with podium calibrate") from error
    return calibration


def _is_increasing(calibration: Calibration) -> bool:
    """Whether the method is known, all numbers are finite, and a higher score never has a lower probability."""
    xs = [x for x, _ in calibration.points]
    ys = [y for _, y in calibration.points]
    numbers = [calibration.slope, calibration.offset, *xs, *ys]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        return False
    if calibration.method == "platt":
        return calibration.slope > 0
    if calibration.method != "isotonic" or not xs:
        return False
    are_increasing = sorted(set(xs)) == xs and sorted(ys) == ys
    return are_increasing and 0 <= ys[0] <= ys[-1] <= 1
