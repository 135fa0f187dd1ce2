"""Calibrated: another scorer's scores as probabilities that a document is relevant, as judged pairs have shown them to be."""

from __future__ import annotations

import bisect
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from podium.compose.wrapped import Wrapped
from podium.errors import InvalidInput
from podium.types import AsyncScorer, ManyScorer, Progress, ScoreKind, Scorer, Scores

__all__ = ["CalibratedScorer", "Calibration", "read_calibration", "write_calibration"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising function from a model's scores, before any sigmoid where it has one, to probabilities.

    "platt": 1 / (1 + exp(-(slope × score + offset))). "isotonic": straight lines between `points`, level outside them.
    `model` and `revision` are what it was fitted on; its scores are no one else's.
    """

    model: str
    revision: str | None
    method: Literal["platt", "isotonic"]
    slope: float = 1.0
    offset: float = 0.0
    points: tuple[tuple[float, float], ...] = ()

    def __call__(self, score: float) -> float:
        if self.method == "platt":
            return _sigmoid(self.slope * score + self.offset)
        at = bisect.bisect_right(self.points, (score, math.inf))
        if at in (0, len(self.points)):
            return self.points[0 if at == 0 else -1][1]
        (x, y), (next_x, next_y) = self.points[at - 1], self.points[at]
        return y + (next_y - y) * (score - x) / (next_x - x)


class CalibratedScorer(Wrapped):
    """A scorer whose values are probabilities; the order stays the other's, ties that a calibration makes included."""

    score_kind: ScoreKind = "probability"

    def __init__(self, scorer: Scorer, calibration: Calibration) -> None:
        if (calibration.model, calibration.revision) != (scorer.model, scorer.revision):
            raise InvalidInput(
                f"this calibration is of {calibration.model} ({calibration.revision or 'no revision'}), not of {scorer.model} "
                f"({scorer.revision or 'no revision'}); fit one with podium calibrate"
            )
        super().__init__(scorer)
        self.calibration = calibration

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self._calibrated(self.scorer.score(query, texts))

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        import asyncio

        if isinstance(self.scorer, AsyncScorer):
            return await asyncio.to_thread(self._calibrated, await self.scorer.ascore(query, texts))
        return await asyncio.to_thread(self.score, query, texts)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        if isinstance(self.scorer, ManyScorer):
            given = self.scorer.score_many(queries, texts_per_query, progress=progress)
            return [self._calibrated(each) for each in given]
        scores = []
        for query, texts in zip(queries, texts_per_query, strict=True):
            scores.append(self.score(query, texts))
            if progress:
                progress(len(texts))
        return scores

    def _calibrated(self, given: Scores) -> Scores:
        keys = given.values if given.raw is None else given.raw
        return Scores(
            values=[self.calibration(float(key)) for key in keys],
            raw=keys,
            tokens=given.tokens,
            dropped_tokens=given.dropped_tokens,
            total_tokens=given.total_tokens,
            billed=given.billed,
            notes=given.notes,
        )


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    unfinished = Path(f"{os.fspath(path)}.unfinished")
    unfinished.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Return a calibration from its file. Raises InvalidInput where it is none, or doesn't rise."""
    try:
        said: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        points = tuple((float(x), float(y)) for x, y in said.pop("points", ()))
        calibration = Calibration(**said, points=points)
        _check(calibration)
    except OSError as error:
        raise InvalidInput(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{os.fspath(path)} is no calibration; fit one with podium calibrate") from error
    return calibration


def _check(calibration: Calibration) -> None:
    xs, ys = [x for x, _ in calibration.points], [y for _, y in calibration.points]
    numbers = [calibration.slope, calibration.offset, *xs, *ys]
    if calibration.method not in ("platt", "isotonic") or not all(
        isinstance(n, int | float) and math.isfinite(n) for n in numbers
    ):
        raise ValueError("method or numbers")
    if calibration.method == "platt" and calibration.slope <= 0:
        raise ValueError("it would turn the order around")
    if calibration.method == "isotonic" and (
        not xs or sorted(set(xs)) != xs or sorted(ys) != ys or not 0 <= ys[0] <= ys[-1] <= 1
    ):
        raise ValueError("it does not rise")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
