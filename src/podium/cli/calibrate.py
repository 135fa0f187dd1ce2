"""podium calibrate: fit a conversion of a model's scores to probabilities, and show how good the probabilities are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import click

from podium.cli.first_stages import first_stage
from podium.cli.options import candidates_option, model_options
from podium.cli.tables import print_rows
from podium.compose.calibrated import CalibratedScorer, Calibration, write_calibration
from podium.errors import InvalidInput, PodiumError
from podium.evaluation.calibration import brier, expected_calibration_error, isotonic, platt
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import first_stage_run
from podium.evaluation.runs import Run
from podium.load import load
from podium.ordering import first_tier
from podium.progress import bar
from podium.scorers import BaseScorer, as_scorer
from podium.types import Progress, Scores

__all__ = ["calibrate"]

Method = Literal["platt", "isotonic"]


class ScoredDocument(NamedTuple):
    """A document of a query. `raw_score` is its score before any sigmoid, from which a calibration computes probabilities."""

    score: float
    raw_score: float
    is_relevant: bool


@click.command()
@click.argument("model")
@click.option("--data", required=True, metavar="DATA", help="Test collection, as for podium eval.")
@click.option("--out", required=True, metavar="FILE.json", help="File for the calibration.")
@click.option(
    "--method", type=click.Choice(["platt", "isotonic"]), default="platt", show_default=True, help="Kind of conversion."
)
@candidates_option
@click.option(
    "--judged-only", is_flag=True, help="Leave out documents without a judgment, instead of counting them as not relevant."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Number that decides which queries are held out.")
@model_options
def calibrate(
    model: str,
    data: str,
    out: str,
    method: Method,
    candidates: int,
    judged_only: bool,
    seed: int,
    load_options: dict[str, Any],
) -> None:
    """Fit a model's scores to judgments.

    Half of the queries are for fitting. The other half shows how good the calibration is. Use the calibration with
    --calibration FILE.json, or in Python with podium.load(MODEL, calibration=FILE). If this command gets --calibration, the row
    "before" shows how good that earlier calibration is.
    """
    collection = read_collection(data)
    fitted_query_ids, held_out_query_ids = _halves(collection, seed)
    with first_stage(collection) as stage, bar(len(collection.queries), is_shown=True, label="searching") as advance:
        run = first_stage_run(collection, stage, candidates, advance).run
    with load(model, **load_options) as reranker:
        scorer = as_scorer(reranker.scorer)
        with bar(sum(map(len, run.values())), is_shown=True, label="scoring") as advance:
            fitted = _scored_documents(collection, scorer, fitted_query_ids, run, judged_only=judged_only, advance=advance)
            held_out = _scored_documents(collection, scorer, held_out_query_ids, run, judged_only=judged_only, advance=advance)
        calibration = _calibration(scorer, fitted, method)
        CalibratedScorer(scorer, calibration)  # raises InvalidInput if the model cannot use it
        has_sigmoid = scorer.score_kind in ("sigmoid", "probability")
    write_calibration(out, calibration)
    _print_quality(held_out, calibration, has_sigmoid)
    print(f"\nwritten to {out}: use it with --calibration {out}, or podium.load({model!r}, calibration={out!r})")


def _halves(collection: Collection, seed: int) -> tuple[list[str], list[str]]:
    """Return two lists of query ids: the calibration is fitted to the first half, and the second half is held out."""
    query_ids = sorted(collection.queries)
    if len(query_ids) < 2:
        raise InvalidInput(f"{collection.name} has one query; a calibration needs at least two, one to fit and one to test it")
    random.Random(seed).shuffle(query_ids)  # noqa: S311  not a secret
    half = len(query_ids) // 2
    return query_ids[:half], query_ids[half:]


def _scored_documents(
    collection: Collection, scorer: BaseScorer, query_ids: Sequence[str], run: Run, *, judged_only: bool, advance: Progress
) -> list[ScoredDocument]:
    """Score the candidates of the queries. Candidates without text are left out.

    If `judged_only`, candidates without a judgment are left out, too. `advance` is called with the number of candidates of each
    query, including those that are left out.
    """
    scored_documents = []
    for query_id in query_ids:
        grades = collection.qrels[query_id]
        ids = [
            document_id
            for document_id in run[query_id]
            if (document_id in grades or not judged_only) and collection.documents[document_id].strip()
        ]
        advance(len(run[query_id]))
        texts = [collection.documents[document_id] for document_id in ids]
        scores = scorer.score(collection.queries[query_id], texts) if texts else Scores(())
        if scores.model is not None:
            raise PodiumError(
                f"{scores.model} scored query {query_id!r:.60} in the place of {scorer.model}, whose scores a calibration "
                f"needs ({'; '.join(scores.reasons)}); try again later, or calibrate {scores.model} itself"
            )
        raw_scores = scores.values if scores.raw is None else scores.raw
        is_comparable = first_tier(scores)  # the others were not scored, or by the cheap model of a cascade
        rows = itertools.compress(zip(ids, scores.values, raw_scores, strict=True), is_comparable)
        for document_id, score, raw_score in rows:
            scored_documents.append(ScoredDocument(float(score), float(raw_score), grades.get(document_id, 0) > 0))
    return scored_documents


def _calibration(scorer: BaseScorer, documents: Sequence[ScoredDocument], method: Method) -> Calibration:
    """Return a calibration of the scorer that was fitted to these documents."""
    raw_scores = [document.raw_score for document in documents]
    relevant = [document.is_relevant for document in documents]
    if method == "isotonic":
        points = isotonic(raw_scores, relevant)
        return Calibration(scorer.model, scorer.revision, method, points=points, score_kind=scorer.score_kind)
    slope, offset = platt(raw_scores, relevant)
    return Calibration(scorer.model, scorer.revision, method, slope, offset, score_kind=scorer.score_kind)


def _print_quality(documents: Sequence[ScoredDocument], calibration: Calibration, has_sigmoid: bool) -> None:
    """Print how well the probabilities of the held-out documents match the judgments.

    If `has_sigmoid`, the scores before the calibration are also like probabilities, and are printed for comparison.
    """
    relevant = [document.is_relevant for document in documents]
    probabilities = {"before": [document.score for document in documents]} if has_sigmoid else {}
    probabilities["after"] = [calibration(document.raw_score) for document in documents]
    print_rows(
        (f"held out: {len(documents)} documents, {sum(relevant)} relevant", "ECE", "Brier"),
        [
            (name, f"{expected_calibration_error(values, relevant):.4f}", f"{brier(values, relevant):.4f}")
            for name, values in probabilities.items()
        ],
    )
