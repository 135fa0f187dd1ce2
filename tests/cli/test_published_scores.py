"""podium check compares a model with its published scores.

The models are small random ones on a hub on loopback. Their published scores are those of sentence-transformers, in a row that
is passed to `check_model`.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

import loopback
from environment import NEEDS_CORE, PARITY_MODELS
from language_models import PROMPT_MODELS
from podium.local.known_models import KNOWN_MODELS
from podium.local.published_scores import PUBLISHED_SCORES, Comparison, PublishedScores, compare, published_scores_of
from podium.types import Scores

MODELS = {
    "acme/cross-encoder": PARITY_MODELS / "bert",
    "acme/late": PARITY_MODELS / "late-interaction" / "native-modernbert-mean",
    "acme/decoder": PROMPT_MODELS / "logit-score",
}
SCRIPT = """
import json, sys
from podium.cli.check import check_model
from podium.errors import PodiumError
from podium.local.published_scores import PublishedScores, published_scores_of
arguments = json.loads(sys.argv[1])
row = PublishedScores(**arguments["row"]) if arguments["row"] else None
table = [] if row is None else [row]
try:
    published = published_scores_of(arguments["model"], table)
    check_model(arguments["model"], "auto", arguments["options"], published, speed_seconds=0.01)
except PodiumError as error:
    print(error)
    sys.exit(1)
"""


def expected(name):
    return json.loads(gzip.decompress((MODELS[name] / "expected.json.gz").read_bytes()))


def row_of(name):
    """Return the arguments of a row with the scores of sentence-transformers."""
    results = expected(name)
    if name == "acme/cross-encoder":
        pairs = {"query": results["pairs"][4][0], "documents": [results["pairs"][4][1]], "scores": [results["scores"][4]]}
    elif name == "acme/late":
        documents = [document["text"] for document in results["documents"]]
        pairs = {"query": results["queries"][1]["text"], "documents": documents, "scores": results["scores"][1]}
        pairs["options"] = {"encoding": "float32"}
    else:
        entry = results["entries"][1]  # a short one
        pairs = {"query": entry["query"], "documents": [entry["document"]], "scores": [entry["logit"]]}
    return {"model": name, "tolerance": 1e-3, "source": "the source", **pairs}


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[dict[str, str]]:
    with loopback.Loopback(loopback.Hub(MODELS)) as server:
        yield {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path_factory.mktemp("hub")), "HF_HUB_DISABLE_XET": "1"}


def run_check(hub, name, row, **options):
    """Run check_model in another process, and return its exit code and the line about published scores, and its output."""
    arguments = json.dumps({"model": name, "row": row, "options": options})
    command = [sys.executable, "-c", SCRIPT, arguments]
    process = subprocess.run(command, env=os.environ | hub | {"COLUMNS": "1000"}, capture_output=True, timeout=240, text=True)
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("published scores")]
    return process.returncode, line.removeprefix("published scores").strip(), process.stdout


@NEEDS_CORE
@pytest.mark.parametrize("name", MODELS)
def test_model_with_the_published_scores_matches(hub, name):
    code, line, _ = run_check(hub, name, row_of(name))
    assert code == 0
    assert line.startswith("matches the published scores (largest difference")
    assert line.endswith("; the source)")


@NEEDS_CORE
@pytest.mark.parametrize("name", MODELS)
def test_model_with_other_scores_fails_and_shows_them(hub, name):
    row = row_of(name)
    row["scores"] = [score + 1 for score in row["scores"]]
    code, line, out = run_check(hub, name, row)
    assert code == 1
    assert line.startswith("differs by up to 1, in the same order: "), line
    assert "published: " in line
    assert "has other scores than those that were published for it" in out


def test_order_is_compared(hub):
    row = row_of("acme/late")
    row["scores"] = row["scores"][::-1]
    code, line, _ = run_check(hub, "acme/late", row)
    assert code == 1
    assert "IN ANOTHER ORDER" in line


def test_int8_is_reported_without_an_error(hub):
    row = row_of("acme/cross-encoder")
    row["scores"] = [score + 1 for score in row["scores"]]
    code, line, _ = run_check(hub, "acme/cross-encoder", row, precision="int8")
    assert code == 0
    assert line.startswith("in int8: differs by up to")


def test_scores_with_other_options_are_not_compared(hub):
    code, line, _ = run_check(hub, "acme/cross-encoder", row_of("acme/cross-encoder"), max_length=48)
    assert (code, line) == (0, "not compared, because of the options")


def test_model_without_published_scores_says_so(hub):
    code, line, _ = run_check(hub, "acme/cross-encoder", None)
    assert (code, line) == (0, "none are known for this name")


@pytest.mark.parametrize("row", PUBLISHED_SCORES, ids=lambda row: row.model)
def test_row_is_complete(row):
    assert len(row.scores) == len(row.documents) >= 2
    assert all(math.isfinite(score) for score in row.scores)
    assert row.tolerance > 0
    assert row.source
    assert published_scores_of(row.model) is row  # each model has one row


def test_many_recommended_models_have_published_scores():
    rows = {row.model for row in PUBLISHED_SCORES}
    assert len(rows & {model.name for model in KNOWN_MODELS}) >= 6


def test_scale_of_old_scores_is_converted():
    """zerank's code returned the sigmoid of a fifth of the logit before May 2026."""
    row = published_scores_of("zeroentropy/zerank-1-small")
    logits = [5 * math.log(score / (1 - score)) for score in row.scores]
    assert row.of(Scores(logits, raw=logits)) == pytest.approx(row.scores)


def test_comparison_of_a_number_that_is_not_finite_is_not_equal():
    row = PublishedScores(model="m", scores=(1.0, 2.0), tolerance=math.inf, source="s")
    assert not Comparison(row, (1.0, math.nan)).is_equal


def test_raw_scores_are_compared_for_a_model_with_a_sigmoid():
    class Sigmoid:
        def score(self, query, texts):
            return Scores([0.5, 0.7], raw=[0.0, 0.85])

    row = replace(published_scores_of("zeroentropy/zerank-2"), scores=(0.0, 0.85))
    assert compare(Sigmoid(), row).difference == 0
