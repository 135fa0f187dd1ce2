"""The classes of Redis's guide: defaults, return values and errors, the guide's own code, and the notebook."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from typing import Any

import pytest

import loopback
from environment import PARITY_MODELS, ROOT, SHARED
from lazy_modules import LazyModule
from podium import CohereReranker, HFCrossEncoderReranker, VoyageAIReranker
from podium.errors import InvalidInput, MissingKey, ModelNotFound

nbclient = LazyModule("nbclient")
nbformat = LazyModule("nbformat")

NOTEBOOK = ROOT / "docs" / "guide.ipynb"
GUIDE = SHARED / "guide" / "rerankers.md"


@pytest.fixture(params=[(CohereReranker, loopback.cohere), (VoyageAIReranker, loopback.voyage)], ids=["cohere", "voyage"])
def hosted(request):
    """A hosted class and a server of its API."""
    hosted_class, answer = request.param
    with loopback.Loopback(answer) as server:
        yield hosted_class, server


def test_local_class_returns_strings_as_content(question, passages):
    with HFCrossEncoderReranker("podium-mini") as reranker:
        results, scores = reranker.rank(query=question, docs=passages)
        assert results[0] == {"content": passages[3]}
        assert len(results) == len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert reranker.rank(question, passages, return_score=False, limit=1) == [{"content": passages[3]}]
        assert asyncio.run(reranker.arank(query=question, docs=passages)) == (results, pytest.approx(scores, abs=1e-6))


def test_local_class_reads_the_fields_of_rank_by(question, records):
    with HFCrossEncoderReranker(model="podium-mini", limit=2, rank_by=["passage", "source"]) as reranker:
        results, _ = reranker.rank(question, records)
        assert results[0] is records[3]
        all_results, _ = reranker.rank(question, records, rank_by="passage", limit=5)
        assert len(all_results) == 5
        mixed_results, _ = reranker.rank(question, [records[3], "a string", records[0]], limit=3, rank_by="passage")
        assert {"content": "a string"} in mixed_results


def test_local_class_has_the_defaults_of_the_guide():
    parameters = inspect.signature(HFCrossEncoderReranker).parameters
    defaults = {name: parameters[name].default for name in ("model", "limit", "return_score", "rank_by")}
    model = "cross-encoder/ms-marco-MiniLM-L-6-v2"
    assert defaults == {"model": model, "limit": 3, "return_score": True, "rank_by": None}


def test_local_class_refuses_unknown_arguments_and_models():
    with pytest.raises(TypeError):
        HFCrossEncoderReranker(model_name="podium-mini")
    with pytest.raises(ModelNotFound):
        HFCrossEncoderReranker("podium-maxi")


def test_hosted_class_returns_the_same_strings_and_records(hosted, question, passages, records):
    hosted_class, server = hosted
    options = {"limit": 3, "api_config": {"api_key": "k", "base_url": server.url}}

    async def arank() -> tuple[list[str], list[float]]:
        async with hosted_class(**options) as reranker:
            return await reranker.arank(question, passages)

    with hosted_class(**options) as reranker:
        results, scores = reranker.rank(query=question, docs=passages)
        assert len(results) == 3
        assert all(result in passages for result in results)
        assert scores == sorted(scores, reverse=True)
        ranked_records, _ = reranker.rank(query=question, docs=records, rank_by=["passage", "source"])
        assert all(any(result is record for record in records) for result in ranked_records)
        assert server.requests[-1].json["documents"][0].startswith("passage: Carson City")
    assert asyncio.run(arank()) == (results, scores)


HOSTED_DEFAULTS = pytest.mark.parametrize(
    ("hosted_class", "model", "variable"),
    [(CohereReranker, "rerank-v3.5", "COHERE_API_KEY"), (VoyageAIReranker, "rerank-2.5", "VOYAGE_API_KEY")],
    ids=["cohere", "voyage"],
)


@HOSTED_DEFAULTS
@pytest.mark.parametrize("api_config", [None, {}, {"api_key": ""}, {"api_key": None}], ids=str)
def test_hosted_class_without_a_key_names_the_variable(hosted_class, model, variable, api_config):
    with pytest.raises(MissingKey, match=variable):
        hosted_class(api_config=api_config)


@HOSTED_DEFAULTS
@pytest.mark.parametrize("api_config", [None, {}, {"api_key": "argument"}], ids=str)
def test_hosted_class_has_the_defaults_of_the_guide(hosted_class, model, variable, api_config, monkeypatch):
    monkeypatch.setenv(variable, "from-environment")
    with hosted_class(api_config=api_config) as reranker:
        assert (reranker.limit, reranker.rank_by, reranker.return_score) == (5, None, True)
        assert reranker.model.endswith(f":{model}")
    with hosted_class("another-model", api_config=api_config) as reranker:
        assert reranker.model.endswith(":another-model")


@pytest.mark.parametrize("api_config", ["key", ["key"], {"apikey": "k"}, {"api_key": 5}], ids=str)
def test_invalid_api_config_is_refused(api_config):
    with pytest.raises(InvalidInput, match=r"api_config|api_key"):
        CohereReranker(api_config=api_config)


@pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not next to this repository")
def test_code_of_the_guide_runs_with_only_the_import_changed(tmp_path):
    """The code runs in one process, with a hub, Cohere and Voyage on loopback, whose URLs are in environment variables."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    code = code.replace("from redisvl.utils.rerank import", "from podium import")
    with (
        loopback.Loopback(loopback.Hub({"BAAI/bge-reranker-base": PARITY_MODELS / "xlm-roberta-bfloat16"})) as hub,
        loopback.Loopback(loopback.cohere) as cohere,
        loopback.Loopback(loopback.voyage) as voyage,
    ):
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"COHERE_API_KEY": "k", "COHERE_BASE_URL": cohere.url}
        environment |= {"VOYAGE_API_KEY": "k", "VOYAGE_BASE_URL": voyage.url}
        process = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120
        )
    assert process.returncode == 0, process.stderr
    lines = [line.partition("  --  ") for line in process.stdout.splitlines()]
    scores = [float(score) for score, _, _ in lines]
    documents = [document for _, _, document in lines]
    assert len(lines) == 12
    assert all(scores[start : start + 3] == sorted(scores[start : start + 3], reverse=True) for start in (0, 3, 6, 9))
    assert all(document.startswith("{'content'") for document in documents[:3])
    best = documents[3::3]  # the first of three results of each ranking, except that of the local model with random weights
    assert all(document.startswith("Washington, D.C.") or "'Washington, D.C." in document for document in best)


def test_notebook_prints_the_output_that_it_contains():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    executed = nbformat.from_dict(notebook)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(executed, timeout=120, coalesce_streams=True, resources=resources).execute()
    assert _printed(executed) == _printed(notebook)


def _printed(notebook: Any) -> list[str]:
    """Return the output of the cells without stderr, which has a log that depends on the machine."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text", "") for output in outputs if output.get("name") != "stderr"]
