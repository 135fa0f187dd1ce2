"""CalibratedScorer: turn scores into the probability that a document is relevant, as fitted on judged pairs."""

from __future__ import annotations

import asyncio
import bisect
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from podium.atomic import atomic_write
from podium.compose.wrapped import WrappedScorer
from podium.errors import InvalidInput
from podium.json_values import load_json
from podium.logistic import sigmoid
from podium.types import Progress, ScoreKind, Scorer, Scores

__all__ = ["CalibratedScorer", "Calibration", "read_calibration", "write_calibration"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """An increasing function from a model's raw scores (before any sigmoid) to probabilities.

    "platt" is 1 / (1 + exp(-(slope × score + offset))). "isotonic" interpolates linearly between `points` and is constant
    outside of them. It is valid only for the `model` and `revision` that it was fitted on, on any server of a
    hosted model. Name the model even if a server has only one ("tei:BAAI/bge-reranker-v2-m3"), so that the calibration of
    another model is refused.
    """

    model: str
    revision: str | None
    method: Literal["platt", "isotonic"]
    slope: float = 1.0
    offset: float = 0.0
    points: tuple[tuple[float, float], ...] = ()

    def __call__(self, score: float) -> float:
        if self.method == "platt":
            return sigmoid(self.slope * score + self.offset)
        index = bisect.bisect_right(self.points, (score, math.inf))
        if index in (0, len(self.points)):
            return self.points[0 if index == 0 else -1][1]
        (x, y), (next_x, next_y) = self.points[index - 1], self.points[index]
        return y + (next_y - y) * (score - x) / (next_x - x)


class CalibratedScorer(WrappedScorer):
    """A scorer whose values are probabilities. The order is the wrapped scorer's, even if two values become equal.

    Raises InvalidInput if the calibration was fitted on another model.
    """

    score_kind: ScoreKind = "probability"

    def __init__(self, scorer: Scorer, calibration: Calibration) -> None:
        super().__init__(scorer)
        if (calibration.model, calibration.revision) != (self.model, self.revision):
            raise InvalidInput(
                f"this calibration is for {calibration.model} ({calibration.revision or 'no revision'}), not for {self.model} "
                f"({self.revision or 'no revision'}); fit one with podium calibrate"
            )
        self.calibration = calibration

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self._calibrated(self.scorer.score(query, texts))

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        return await asyncio.to_thread(self._calibrated, await self.scorer.ascore(query, texts))

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        scores_per_query = self.scorer.score_many(queries, texts_per_query, progress=progress)
        return [self._calibrated(scores) for scores in scores_per_query]

    def _calibrated(self, scores: Scores) -> Scores:
        raw = scores.values if scores.raw is None else scores.raw
        return replace(scores, values=[self.calibration(float(score)) for score in raw], raw=raw)


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    with atomic_write(Path(path)) as file:
        file.write((json.dumps(asdict(calibration), indent=1) + "\n").encode())


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Return the calibration in a file. Raises InvalidInput unless it is increasing."""
    try:
        fields: dict[str, Any] = load_json(Path(path))
        points = tuple((float(x), float(y)) for x, y in fields.pop("points", ()))
        calibration = Calibration(**fields, points=points)
        if not _is_increasing(calibration):
            raise ValueError("the function is not increasing")
    except OSError as error:
        raise InvalidInput(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"{os.fspath(path)} is not a calibration; fit one with podium calibrate") from error
    return calibration


def _is_increasing(calibration: Calibration) -> bool:
    """Whether the function is finite and increasing."""
    xs, ys = [x for x, _ in calibration.points], [y for _, y in calibration.points]
    numbers = [calibration.slope, calibration.offset, *xs, *ys]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        return False
    if calibration.method == "platt":
        return calibration.slope > 0
    are_points_increasing = bool(xs) and sorted(set(xs)) == xs and sorted(ys) == ys and 0 <= ys[0] <= ys[-1] <= 1
    return calibration.method == "isotonic" and are_points_increasing
