"""podium check: describe a model, measure its speed on this machine, and test whether it orders a known pair correctly."""

from __future__ import annotations

import time
from typing import Any, Literal

import click

from podium.cli.examples import DOCUMENTS, QUERY
from podium.cli.options import model_options
from podium.cli.tables import print_rows
from podium.compose.calibrated import CalibratedScorer
from podium.errors import InvalidInput, ModelError
from podium.load import is_stack, load, provider_of
from podium.local.decoders.scorer import DecoderScorer
from podium.local.files import hub
from podium.local.files.checkpoint import Checkpoint
from podium.local.known_models import licence_of
from podium.local.late.scorer import LateInteraction
from podium.local.published_scores import Comparison, PublishedScores, compare, published_scores_of
from podium.local.runtimes import NO_CORE, native_core
from podium.local.scorer import ModelScorer
from podium.types import Scorer

__all__ = ["check", "check_model"]

Runtime = Literal["native", "onnx", "auto"]

# The known pair: a trained reranker ranks the answer above the distractor, a sentence that only shares words with the query.
KNOWN_QUERY = "how many people live in Berlin"
KNOWN_ANSWER = "Berlin had a population of 3,520,031 registered inhabitants."
KNOWN_DISTRACTOR = "Berlin is a city of museums."
SPEED_TEST_SECONDS = 1.0


@click.command()
@click.argument("model")
@click.option("--runtime", type=click.Choice(["native", "onnx", "auto"]), default="auto", show_default=True)
@click.option("--download/--no-download", default=True, help="Download a missing model, or only show its size.")
@model_options
def check(model: str, runtime: Runtime, download: bool, load_options: dict[str, Any]) -> None:
    """Describe a model, run it, and measure its speed.

    MODEL is podium-mini, org/model or ./folder. If scores of MODEL were published, they are compared. Exits with 1 if they
    differ, or if the model orders a known pair wrong.
    """
    if provider_of(model):
        raise InvalidInput(f"{model} is a hosted API; check describes models on this machine; try it with podium rank")
    if is_stack(model):
        raise InvalidInput(f"{model} is a configuration file; check describes one model, so name one of those in the file")
    if not download and hub.is_hub_name(model):
        _print_download_size(model)
        return
    check_model(model, runtime, load_options, published_scores_of(model))


def check_model(
    model: str,
    runtime: Runtime,
    load_options: dict[str, Any],
    published: PublishedScores | None,
    *,
    speed_seconds: float = SPEED_TEST_SECONDS,
) -> None:
    """Print the description of a model, its speed, measured for `speed_seconds`, and its comparison with published scores.

    Published scores are those of the default options, so they are compared unless there is another option than a precision.
    Raises ModelError if they differ in float32, or if the model orders a known pair wrong.
    """
    if load_options.keys() - {"precision"}:
        published = None
    options = load_options | dict(published.options if published else {})
    start = time.perf_counter()
    with load(model, runtime=runtime, **options) as reranker:
        load_seconds = time.perf_counter() - start
        scorer = _local_scorer(reranker.scorer)
        ranking = reranker.rerank(KNOWN_QUERY, [KNOWN_DISTRACTOR, KNOWN_ANSWER])
        is_correct = [result.document for result in ranking] == [KNOWN_ANSWER, KNOWN_DISTRACTOR]
        speed = _speed(scorer, speed_seconds)
        rows = [
            *_description(scorer),
            ("loaded in", f"{load_seconds:.2f} s"),
            ("runtime", f"{scorer.runtime}, {scorer.precision}; {scorer.choice}"),
            ("native core", _core_description()),
            ("speed here", f"{speed:.0f} pairs/s of about 60 tokens, {scorer.precision}, {scorer.threads} threads"),
            ("known pair", "ordered right" if is_correct else "ORDERED WRONG"),
        ]
        comparison = compare(scorer, published) if published else None
        rows.append(("published scores", _comparison_text(comparison, scorer, load_options)))
    print_rows(("model", model), rows)
    if comparison and not comparison.is_equal and scorer.precision == "float32":
        raise ModelError(
            f"{model} has other scores than those that were published for it; download its files again, and report it if the "
            "difference remains"
        )
    if not is_correct:
        raise ModelError(f"{model} ranks a sentence about museums above the answer; find out why before you use it")


def _comparison_text(comparison: Comparison | None, scorer: ModelScorer, load_options: dict[str, Any]) -> str:
    if comparison is None:
        return "not compared, because of the options" if load_options.keys() - {"precision"} else "none are known for this name"
    return f"{comparison}" if scorer.precision == "float32" else f"in {scorer.precision}: {comparison}"


def _local_scorer(scorer: Scorer) -> ModelScorer:
    """Return the scorer of a model on this machine, without its calibration. Raises InvalidInput for any other scorer."""
    uncalibrated = scorer.scorer if isinstance(scorer, CalibratedScorer) else scorer
    if not isinstance(uncalibrated, ModelScorer):
        raise InvalidInput(f"check describes models on this machine, and {scorer.model} is not one; try it with podium rank")
    return uncalibrated


def _description(scorer: ModelScorer) -> list[tuple[str, str]]:
    """Return the rows that describe a model: names and values. A model that is an ONNX file has no family."""
    spec = scorer.spec
    is_late = isinstance(scorer, LateInteraction)
    head = "a vector per token" if is_late else f"classifier on {spec.pooling}"
    if isinstance(scorer, DecoderScorer) and scorer.compares_tokens:
        head = "logits of the last token"
    elif spec.modules:
        head = " → ".join(step.kind for step in spec.modules)
    return [
        ("revision", scorer.revision or "(a folder)"),
        ("family", f"{spec.family.name} ({spec.model_type})" if spec.family else "its own ONNX file"),
        ("head", head if spec.family else "its own"),
        *([("prompt", _prompt(scorer))] if isinstance(scorer, DecoderScorer) else []),
        ("activation", f"{spec.activation.name}, so scores are of kind {spec.activation.kind}"),
        ("maximum length", f"{scorer.max_length} tokens, {_length_scope(scorer)}"),
        ("stored as", _storage(scorer)),
        ("licence", licence_of(scorer.files.folder) or "not in its README.md"),
        ("download", "nothing; all files are here"),
    ]


def _length_scope(scorer: ModelScorer) -> str:
    """Describe what the maximum length counts."""
    if isinstance(scorer, LateInteraction):
        return "a text"
    return "prompt, query and text together" if isinstance(scorer, DecoderScorer) else "query and text together"


def _prompt(scorer: DecoderScorer) -> str:
    instruction = "reads instructions" if scorer.reads_instructions else "reads no instructions"
    return f"{scorer.prompt_name}; {instruction}"


def _storage(scorer: ModelScorer) -> str:
    """Describe the weights: their types, their size, and the precision in which the model computes."""
    megabytes = sum(file.stat().st_size for file in scorer.spec.weights) / 1e6
    if scorer.spec.family is None:
        return f"ONNX, {megabytes:.0f} MB"
    checkpoint = Checkpoint(scorer.spec.weights)
    dtypes = sorted(checkpoint.dtypes())
    checkpoint.close()
    return f"{' and '.join(dtypes)}, {megabytes:.0f} MB; computed in {scorer.precision}"


def _core_description() -> str:
    core = native_core()
    return f"{core.instruction_sets()[0]} here" if core else f"none: {NO_CORE}"


def _speed(scorer: ModelScorer, speed_seconds: float) -> float:
    """Return the number of pairs scored per second. The pairs are the guide's query and its texts.

    Each text ends in a different number, so that no stored encoding of it can be used.
    """
    texts = [document["passage"] for document in DOCUMENTS] * 4
    pair_count = 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < speed_seconds:
        scorer.score(QUERY, [f"{text} {pair_count + index}" for index, text in enumerate(texts)])
        pair_count += len(texts)
    return pair_count / seconds


def _print_download_size(model: str) -> None:
    sizes = hub.download_plan(model)
    print_rows(("would be downloaded", "size"), [(name, f"{size / 1e6:.1f} MB") for name, size in sizes.items()])
    print(f"{sum(sizes.values()) / 1e6:.1f} MB in total, less what is in the cache")
