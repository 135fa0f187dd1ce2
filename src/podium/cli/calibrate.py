"""podium calibrate: turn scores into probabilities. Of the documents that score 0.5, half are relevant."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import click

from podium.cli.first_stages import first_stage
from podium.cli.options import candidates_option, model_options
from podium.cli.tables import print_rows
from podium.compose.calibrated import CalibratedScorer, Calibration, write_calibration
from podium.errors import InvalidInput
from podium.evaluation.calibration import brier, expected_calibration_error, isotonic, platt
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import first_run
from podium.evaluation.runs import Run
from podium.load import load
from podium.progress import bar
from podium.scorers import BaseScorer, as_scorer
from podium.types import Progress

__all__ = ["calibrate"]

Method = Literal["platt", "isotonic"]


class ScoredDocument(NamedTuple):
    score: float
    raw: float  # before any sigmoid
    relevant: bool


@click.command()
@click.argument("model")
@click.option("--data", required=True, metavar="DATA", help="A test collection, as for podium eval.")
@click.option("--out", required=True, metavar="FILE.json", help="File to write the calibration to.")
@click.option("--method", type=click.Choice(["platt", "isotonic"]), default="platt", show_default=True)
@candidates_option
@click.option("--judged-only", is_flag=True, help="Leave out documents without a judgment; else they count as not relevant.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which half of the queries is held out.")
@model_options
def calibrate(
    model: str,
    data: str,
    out: str,
    method: Method,
    candidates: int,
    judged_only: bool,
    seed: int,
    options: dict[str, Any],
) -> None:
    """Fit a model's scores to judgments.

    Half of the queries are for fitting; the other half shows how good the calibration is. Use it with --calibration FILE.json,
    or in Python with podium.load(MODEL, calibration=FILE). With --calibration here, "before" shows how good an earlier one is.
    """
    collection = read_collection(data)
    fitted_queries, held_out_queries = _halves(collection, seed)
    with bar(len(collection.queries), True, what="searching") as advance:
        run = first_run(collection, first_stage(collection), candidates, advance).run
    with load(model, **options) as reranker:
        scorer = as_scorer(reranker.scorer)
        with bar(sum(map(len, run.values())), True, what="scoring") as advance:
            fitted, held_out = (
                [row for query in queries for row in _scored(collection, scorer, query, run, judged_only, advance)]
                for queries in (fitted_queries, held_out_queries)
            )
        calibration = _calibration(scorer, fitted, method)
        CalibratedScorer(scorer, calibration)  # raises InvalidInput if it could not be loaded
        has_sigmoid = scorer.score_kind in ("sigmoid", "probability")
    write_calibration(out, calibration)
    _print_quality(held_out, calibration, has_sigmoid)
    print(f"\nwritten to {out}: use it with --calibration {out}, or podium.load({model!r}, calibration={out!r})")


def _halves(collection: Collection, seed: int) -> tuple[list[str], list[str]]:
    """Return the queries to fit on, and those that are held out."""
    queries = sorted(collection.queries)
    if len(queries) < 2:
        raise InvalidInput(f"{collection.name} has one query; a calibration needs at least two, one to fit and one to test it")
    random.Random(seed).shuffle(queries)  # noqa: S311  not a secret
    half = len(queries) // 2
    return queries[:half], queries[half:]


def _scored(
    collection: Collection, scorer: BaseScorer, query: str, run: Run, judged_only: bool, advance: Progress
) -> list[ScoredDocument]:
    """Return the scores of a query's candidates that have text."""
    grades = collection.qrels[query]
    ids = [document for document in run[query] if document in grades or not judged_only]
    ids = [document for document in ids if collection.documents[document].strip()]
    advance(len(run[query]))
    if not ids:
        return []
    scores = scorer.score(collection.queries[query], [collection.documents[document] for document in ids])
    raw = scores.values if scores.raw is None else scores.raw
    return [
        ScoredDocument(float(score), float(raw_score), grades.get(document, 0) > 0)
        for document, score, raw_score in zip(ids, scores.values, raw, strict=True)
    ]


def _calibration(scorer: BaseScorer, documents: Sequence[ScoredDocument], method: Method) -> Calibration:
    raw = [document.raw for document in documents]
    relevant = [document.relevant for document in documents]
    if method == "isotonic":
        return Calibration(scorer.model, scorer.revision, method, points=isotonic(raw, relevant))
    slope, offset = platt(raw, relevant)
    return Calibration(scorer.model, scorer.revision, method, slope, offset)


def _print_quality(documents: Sequence[ScoredDocument], calibration: Calibration, has_sigmoid: bool) -> None:
    """Print calibration errors on held-out documents: with the calibration, and without it if scores are from 0 to 1."""
    relevant = [document.relevant for document in documents]
    probabilities = {"before": [document.score for document in documents]} if has_sigmoid else {}
    probabilities["after"] = [calibration(document.raw) for document in documents]
    print_rows(
        (f"held out: {len(documents)} documents, {sum(relevant)} relevant", "ECE", "Brier"),
        [
            (name, f"{expected_calibration_error(values, relevant):.4f}", f"{brier(values, relevant):.4f}")
            for name, values in probabilities.items()
        ],
    )
