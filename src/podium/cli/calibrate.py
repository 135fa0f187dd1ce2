"""podium calibrate: turn scores into probabilities: of the documents that score 0.5, half are relevant."""

from __future__ import annotations

import random
from typing import Any, Literal

import click

from podium.cli.first_stages import first_stage
from podium.cli.options import model_options
from podium.cli.tables import print_rows
from podium.compose.calibrated import CalibratedScorer, Calibration, write_calibration
from podium.errors import InvalidInput
from podium.evaluation.calibration import brier, expected_calibration_error, isotonic, platt
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import first_run
from podium.load import load
from podium.progress import bar
from podium.ranking import Reranker

__all__ = ["calibrate"]

Judged = list[tuple[float, float, bool]]
"""Score as it is, score before any sigmoid, whether judged relevant."""


@click.command()
@click.argument("model")
@click.option("--data", required=True, metavar="DATA", help="A collection, as for podium eval.")
@click.option("--out", required=True, metavar="FILE.json", help="Where the calibration goes.")
@click.option("--method", type=click.Choice(["platt", "isotonic"]), default="platt", show_default=True)
@click.option(
    "--candidates", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="Documents a query."
)
@click.option("--judged-only", is_flag=True, help="Leave out documents that nobody judged; else they count as not relevant.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which half of the queries is held out.")
@model_options
def calibrate(
    model: str,
    data: str,
    out: str,
    method: Literal["platt", "isotonic"],
    candidates: int,
    judged_only: bool,
    seed: int,
    options: dict[str, Any],
) -> None:
    """Fit a model's scores to judgments.

    Half of the queries fit, the other half shows what it is worth. Use it with --calibration FILE.json, or in Python with
    podium.load(MODEL, calibration=FILE). With --calibration here, "before" shows what an earlier one is worth.
    """
    collection = read_collection(data)
    with bar(len(collection.queries), True, what="searching") as advance:
        run = first_run(collection, first_stage(collection, None, None, None), candidates, advance).run
    queries = sorted(collection.queries)
    random.Random(seed).shuffle(queries)  # noqa: S311  no secret
    if len(queries) < 2:
        raise InvalidInput(
            f"{collection.name} has one query; a calibration needs some to fit and others to show what it is worth"
        )
    with load(model, **options) as reranker:
        pairs = sum(len(found) for found in run.values())
        with bar(pairs, True, what="scoring") as advance:
            half = len(queries) // 2
            parts = [
                [row for query in part for row in _judged(collection, reranker, query, list(run[query]), judged_only, advance)]
                for part in (queries[:half], queries[half:])
            ]
        calibration = _fitted(reranker, parts[0], method)
        kind = reranker.scorer.score_kind
        CalibratedScorer(reranker.scorer, calibration)  # refuses what could not be loaded again
    write_calibration(out, calibration)
    _print(parts[1], calibration, kind in ("sigmoid", "probability"))
    print(f"\nwritten to {out}: use it with --calibration {out}, or podium.load({model!r}, calibration={out!r})")


def _judged(
    collection: Collection, reranker: Reranker, query: str, found: list[str], judged_only: bool, advance: object
) -> Judged:
    grades = collection.qrels[query]
    listed = [name for name in found if name in grades or not judged_only]
    texts = [collection.documents[name] for name in listed]
    kept = [(name, text) for name, text in zip(listed, texts, strict=True) if text.strip()]
    if callable(advance):
        advance(len(found))
    if not kept:
        return []
    scores = reranker.scorer.score(collection.queries[query], [text for _, text in kept])
    raw = scores.values if scores.raw is None else scores.raw
    return [
        (float(value), float(key), grades.get(name, 0) > 0)
        for (name, _), value, key in zip(kept, scores.values, raw, strict=True)
    ]


def _fitted(reranker: Reranker, judged: Judged, method: Literal["platt", "isotonic"]) -> Calibration:
    keys, relevant = [key for _, key, _ in judged], [hit for _, _, hit in judged]
    model, revision = reranker.model, reranker.scorer.revision
    if method == "isotonic":
        return Calibration(model, revision, "isotonic", points=isotonic(keys, relevant))
    slope, offset = platt(keys, relevant)
    return Calibration(model, revision, "platt", slope, offset)


def _print(held_out: Judged, calibration: Calibration, from_0_to_1: bool) -> None:
    relevant = [hit for _, _, hit in held_out]
    after = [calibration(key) for _, key, _ in held_out]
    rows = [("after", after)]
    if from_0_to_1:
        rows.insert(0, ("before", [value for value, _, _ in held_out]))
    print_rows(
        (f"held out: {len(held_out)} documents, {sum(relevant)} relevant", "ECE", "Brier"),
        [(name, f"{expected_calibration_error(p, relevant):.4f}", f"{brier(p, relevant):.4f}") for name, p in rows],
    )
