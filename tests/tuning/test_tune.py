"""podium tune: on a collection whose first stage knows something that the reranker does not."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import podium
from commands import run_in_process
from environment import ROOT
from podium.evaluation.collections import read_collection
from podium.evaluation.runs import read_run
from podium.tuning.grid import Setting
from podium.tuning.scoring import Workbench
from podium.tuning.tune import tune

WORDS = ["apple", "brick", "sea", "night", "road", "market", "cold", "old", "red", "fruit", "boat", "paint"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A collection and a run that knows more than the texts: the relevant document usually has the best score."""
    path = tmp_path_factory.mktemp("collection")
    generator = random.Random(0)
    documents, queries, qrels, run = [], [], ["query-id\tcorpus-id\tscore"], []
    for number in range(60):
        words = generator.sample(WORDS, 3)
        queries.append({"_id": f"q{number}", "text": " ".join(words)})
        qrels.append(f"q{number}\td{number}-0\t1")
        scores = {}
        for copy in range(8):
            text = " ".join([generator.choice(words), *generator.choices(WORDS, k=3), f"{number}"])
            documents.append({"_id": f"d{number}-{copy}", "title": "", "text": text})
            scores[f"d{number}-{copy}"] = generator.gauss(3.0 if copy == 0 else 0.0, 1.0)
        ranked = sorted(scores.items(), key=lambda item: -item[1])
        run += [f"q{number} Q0 {key} {rank} {score} run" for rank, (key, score) in enumerate(ranked, start=1)]
    (path / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    (path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (path / "qrels.tsv").write_text("\n".join(qrels), encoding="utf-8")
    (path / "first.run").write_text("\n".join(run) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def baseline(folder):
    return read_run(folder / "first.run")


@contextlib.contextmanager
def no_bar(total, label):
    yield lambda count: None


def test_command_selects_fusion_and_eval_confirms_it(folder, tmp_path):
    out = tmp_path / "stack.toml"
    options = ("--run", folder / "first.run", "--scores", tmp_path / "scores")
    code, output, err = run_in_process("tune", folder, "--out", out, *options)
    assert code == 0, err
    assert "selected" in output
    assert "gain in nDCG@10 on queries that were not used to select: +" in output
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# podium tune ")
    assert 'use = "Fused"' in text
    with podium.load(out) as reranker:
        assert isinstance(reranker.scorer, podium.Fused)
    code, output, err = run_in_process("eval", folder, "--reranker", "podium-mini", "--reranker", out, *options)
    assert code == 0, err
    code, _, err = run_in_process("tune", folder, "--out", out, *options)
    assert out.read_text(encoding="utf-8") == text


def test_each_pair_is_scored_once(folder, baseline):
    """The grid has many settings, but every text of a query is scored once by each model."""
    collection = read_collection(folder)
    counts = []

    @contextlib.contextmanager
    def counting_bar(total, label):
        yield lambda count: counts.append((label, count))

    tuned = tune(collection, baseline, ["podium-mini"], candidates=30, open_bar=counting_bar)
    assert len(tuned.settings) > 10
    assert tuned.means[0] < tuned.means[tuned.selection.selected_index]
    pairs = sum(map(len, baseline.values()))
    assert sum(count for label, count in counts if label == "scoring with podium-mini") == pairs
    assert tuned.selection.gain.mean > 0
    assert tuned.plain_seconds > 0


def test_workbench_has_the_same_order_as_the_loaded_file(folder, baseline, tmp_path):
    from podium.tuning.tune import write_stack

    setting = Setting(model="podium-mini", weight=0.7, candidates=10)
    write_stack(tmp_path / "stack.toml", setting, ["a comment"])
    collection = read_collection(folder)
    with Workbench(collection, baseline) as workbench, podium.load(tmp_path / "stack.toml") as reranker:
        run = workbench.ranked_run(workbench.scores(setting), None)
        for query_id in list(run)[:10]:
            ids = list(baseline[query_id])[:10]
            documents = [
                {"text": collection.documents[document_id], "source_score": baseline[query_id][document_id]}
                for document_id in ids
            ]
            ranking = reranker.rerank(collection.queries[query_id], documents, rank_by="text")
            assert list(run[query_id]) == [ids[result.index] for result in ranking]


def test_cascades_are_tried_with_two_models(folder, baseline):
    collection = read_collection(folder)
    ids = list(collection.queries)[:8]
    small = replace(
        collection,
        queries={query_id: collection.queries[query_id] for query_id in ids},
        qrels={query_id: collection.qrels[query_id] for query_id in ids},
    )
    parity = str(ROOT / "tests" / "parity" / "bert")
    tuned = tune(small, baseline, ["podium-mini", parity], candidates=30, folds=2, open_bar=no_bar)
    assert any(setting.cheap == "podium-mini" and setting.model == parity for setting in tuned.settings)


ERRORS = {
    "out": (("--out", "stack.json"), 2, "--out must be a file whose name ends with .toml"),
    "folder": (("--out", "missing/stack.toml"), 1, "--out: cannot write"),
    "metric": (("--out", "stack.toml", "--metric", "nope"), 2, "ir_measures knows no metric"),
    "model": (("--out", "stack.toml", "--reranker", "podium-mimi"), 2, "there is no model 'podium-mimi'"),
    "twice": (("--out", "stack.toml", "--reranker", "podium-mini", "--reranker", "podium-mini"), 2, "must be named once"),
    "stack": (("--out", "stack.toml", "--reranker", "other.toml"), 2, "is a configuration file"),
    "embedder": (("--out", "stack.toml", "--embed", "nofolder"), 2, "podium: --embed: there is no embedder 'nofolder'"),
    "folds": (("--out", "stack.toml", "--folds", "99"), 2, "--folds must be from 2"),
}


@pytest.mark.parametrize(("arguments", "expected_code", "message"), ERRORS.values(), ids=ERRORS)
def test_wrong_argument_is_an_error(folder, tmp_path, monkeypatch, arguments, expected_code, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_in_process("tune", folder, *arguments)
    assert (code, message in err) == (expected_code, True), err
