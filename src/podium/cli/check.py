"""podium check: what a model is, whether it would run here, how fast, and whether it ranks a known pair right."""

from __future__ import annotations

import time
from typing import Any, Literal

import click

from podium.cli.demo import DOCUMENTS, QUERY
from podium.cli.options import model_options
from podium.cli.tables import print_rows
from podium.compose.calibrated import CalibratedScorer
from podium.errors import InvalidInput, ModelError
from podium.load import load, provider_of
from podium.local.files import hub
from podium.local.files.checkpoint import Checkpoint
from podium.local.known_models import licence_of
from podium.local.runtimes import NO_CORE, native_core
from podium.local.scorer import LocalScorer

__all__ = ["check"]

# Whoever was taught to rank puts the answer before a sentence that only shares the query's words.
KNOWN_QUERY = "how many people live in Berlin"
KNOWN_WRONG, KNOWN_RIGHT = "Berlin is a city of museums.", "Berlin had a population of 3,520,031 registered inhabitants."
SECONDS = 2.0


@click.command()
@click.argument("model")
@click.option("--runtime", type=click.Choice(["native", "onnx", "auto"]), default="auto", show_default=True)
@click.option("--download/--no-download", default=True, help="Bring a model that is not here, or only say what it would take.")
@model_options
def check(model: str, runtime: Literal["native", "onnx", "auto"], download: bool, options: dict[str, Any]) -> None:
    """Describe a model, run it, measure it.

    MODEL is podium-mini, org/model or ./folder. Exits with 1 if it orders a known pair wrong.
    """
    if provider_of(model):
        raise InvalidInput(f"{model} is a hosted API; check looks at models on this machine")
    if not download and hub.is_hub_name(model):
        _print_plan(model)
        return
    began = time.perf_counter()
    with load(model, runtime=runtime, **options) as reranker:
        loaded = time.perf_counter() - began
        scorer = reranker.scorer
        if isinstance(scorer, CalibratedScorer):
            scorer = scorer.scorer
        assert isinstance(scorer, LocalScorer)  # noqa: S101  for the type checker: hosted ones were refused above
        right = [result.index for result in reranker.rerank(KNOWN_QUERY, [KNOWN_WRONG, KNOWN_RIGHT])] == [1, 0]
        rows = [
            *_description(scorer),
            ("loaded in", f"{loaded:.2f} s"),
            ("runtime", f"{scorer.runtime}, {scorer.precision}; {scorer.choice}"),
            ("native core", f"{native.instruction_sets()[0]} here" if (native := native_core()) else f"none: {NO_CORE}"),
            ("speed here", f"{_speed(scorer):.0f} pairs/s of about 60 tokens, {scorer.precision}, {scorer.threads} threads"),
            ("known pair", "ordered right" if right else "ORDERED WRONG"),
        ]
    print_rows(("model", model), rows)
    if not right:
        raise ModelError(f"{model} puts a sentence about museums before the answer; don't rank with it before you know why")


def _description(scorer: LocalScorer) -> list[tuple[str, str]]:
    spec, found = scorer.spec, scorer.files
    head = " → ".join(step.kind for step in spec.modules) if spec.modules else f"classifier on {spec.pooling}"
    return [
        ("revision", scorer.revision or "(a folder)"),
        ("family", f"{spec.family.name} ({spec.model_type})" if spec.family else "its own ONNX file"),
        ("head", head if spec.family else "its own"),
        ("activation", f"{spec.activation.name}, so scores are of kind {spec.activation.kind}"),
        ("maximum length", f"{scorer.max_length} tokens, query and text together"),
        ("stored as", _stored(scorer)),
        ("licence", licence_of(found.folder) or "not said in its README.md"),
        ("download", "nothing; its files are here"),
    ]


def _stored(scorer: LocalScorer) -> str:
    megabytes = sum(file.stat().st_size for file in scorer.spec.weights) / 1e6
    if scorer.spec.family is None:
        return f"ONNX, {megabytes:.0f} MB"
    checkpoint = Checkpoint(scorer.spec.weights)
    kinds = sorted(checkpoint.dtypes())
    checkpoint.close()
    return f"{' and '.join(kinds)}, {megabytes:.0f} MB; computed in {scorer.precision}"


def _speed(scorer: LocalScorer) -> float:
    """Return pairs per second over about two seconds of the guide's documents, each made a text of its own."""
    texts = [document["passage"] for document in DOCUMENTS]
    scored, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        scorer.score(QUERY, [f"{text} {scored + at}" for at, text in enumerate(texts * 4)])
        scored += 4 * len(texts)
    return scored / took


def _print_plan(model: str) -> None:
    plan = hub.download_plan(model)
    print_rows(("would be downloaded", "size"), [(name, f"{size / 1e6:.1f} MB") for name, size in plan.items()])
    print(f"in all {sum(plan.values()) / 1e6:.1f} MB, less what is in the cache")
