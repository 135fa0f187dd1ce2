"""The guide's contract: its three classes, their defaults, shapes and errors, and our notebook of it."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

import loopback
from environment import PARITY, ROOT, SHARED
from podium import CohereReranker, HFCrossEncoderReranker, VoyageAIReranker
from podium.errors import InvalidInput, MissingKey, ModelNotFound

NOTEBOOK = ROOT / "docs" / "guide.ipynb"
GUIDE = SHARED / "guide" / "rerankers.md"


@pytest.fixture(params=[(CohereReranker, loopback.cohere), (VoyageAIReranker, loopback.voyage)], ids=["cohere", "voyage"])
def hosted(request):
    kind, answer = request.param
    with loopback.Loopback(answer) as server:
        yield kind, server


def test_the_local_class_returns_strings_as_content(question, passages):
    with HFCrossEncoderReranker("podium-mini") as reranker:
        results, scores = reranker.rank(query=question, docs=passages)
        assert results[0] == {"content": passages[3]}
        assert len(results) == len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert reranker.rank(question, passages, return_score=False, limit=1) == [{"content": passages[3]}]
        assert asyncio.run(reranker.arank(query=question, docs=passages)) == (results, pytest.approx(scores, abs=1e-6))


def test_the_local_class_reads_the_fields_it_is_told(question, records):
    with HFCrossEncoderReranker(model="podium-mini", limit=2, rank_by=["passage", "source"]) as reranker:
        results, _ = reranker.rank(question, records)
        assert results[0] is records[3]
        one, _ = reranker.rank(question, records, rank_by="passage", limit=5)
        assert len(one) == 5
        mixed, _ = reranker.rank(question, [records[3], "a string", records[0]], limit=3, rank_by="passage")
        assert {"content": "a string"} in mixed


def test_the_local_class_takes_the_guides_arguments():
    parameters = inspect.signature(HFCrossEncoderReranker).parameters
    assert parameters["model"].default == "cross-encoder/ms-marco-MiniLM-L-6-v2"
    assert {name: parameters[name].default for name in ("limit", "return_score", "rank_by")} == {
        "limit": 3,
        "return_score": True,
        "rank_by": None,
    }
    with pytest.raises(TypeError):
        HFCrossEncoderReranker(model_name="podium-mini")
    with pytest.raises(ModelNotFound):
        HFCrossEncoderReranker("podium-maxi")


def test_the_hosted_classes_return_the_strings_and_the_very_records(hosted, question, passages, records):
    kind, server = hosted
    with kind(limit=3, api_config={"api_key": "k", "base_url": server.url}) as reranker:
        results, scores = reranker.rank(query=question, docs=passages)
        assert len(results) == 3
        assert all(result in passages for result in results)
        assert scores == sorted(scores, reverse=True)
        found, _ = reranker.rank(query=question, docs=records, rank_by=["passage", "source"])
        assert all(any(result is record for record in records) for result in found)
        assert server.requests[-1].json["documents"][0].startswith("passage: Carson City")
        assert asyncio.run(_closed(kind, server, question, passages)) == (results, scores)


async def _closed(kind, server, question, passages):
    async with kind(limit=3, api_config={"api_key": "k", "base_url": server.url}) as reranker:
        return await reranker.arank(question, passages)


@pytest.mark.parametrize(
    ("kind", "model", "variable"),
    [(CohereReranker, "rerank-v3.5", "COHERE_API_KEY"), (VoyageAIReranker, "rerank-2.5", "VOYAGE_API_KEY")],
)
def test_the_hosted_classes_find_their_key_and_model(kind, model, variable, monkeypatch):
    for api_config in (None, {}, {"api_key": ""}, {"api_key": None}):
        with pytest.raises(MissingKey, match=variable):
            kind(api_config=api_config)
    monkeypatch.setenv(variable, "from-environment")
    for api_config in (None, {}, {"api_key": "given"}):
        with kind(api_config=api_config) as reranker:
            assert (reranker.limit, reranker.rank_by, reranker.return_score) == (5, None, True)
            assert reranker.model.endswith(f":{model}")
    with kind("another-model", api_config={"api_key": "k"}) as reranker:
        assert reranker.model.endswith(":another-model")


@pytest.mark.parametrize("api_config", ["key", ["key"], {"apikey": "k"}, {"api_key": 5}])
def test_an_api_config_that_is_none_says_so(api_config):
    with pytest.raises(InvalidInput, match=r"api_config|api_key"):
        CohereReranker(api_config=api_config)


@pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not beside this repository")
def test_the_guides_own_code_runs_with_only_the_import_changed(tmp_path):
    """Every line of it in one process: a hub, Cohere and Voyage on loopback are found through the environment."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    code = code.replace("from redisvl.utils.rerank import", "from podium import")
    hub = loopback.Hub({"BAAI/bge-reranker-base": PARITY / "xlm-roberta-bfloat16"})
    with loopback.Loopback(hub) as h, loopback.Loopback(loopback.cohere) as c, loopback.Loopback(loopback.voyage) as v:
        environment = {"HF_ENDPOINT": h.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"COHERE_API_KEY": "k", "COHERE_BASE_URL": c.url, "VOYAGE_API_KEY": "k", "VOYAGE_BASE_URL": v.url}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    lines = [line.partition("  --  ") for line in done.stdout.splitlines()]
    scores = [float(score) for score, _, _ in lines]
    assert len(lines) == 12
    assert all(scores[at : at + 3] == sorted(scores[at : at + 3], reverse=True) for at in (0, 3, 6, 9))
    assert all(found.startswith("{'content'") for _, _, found in lines[:3])
    assert all(found.startswith("Washington, D.C.") or "'Washington, D.C." in found for _, _, found in lines[3::3])


def test_the_notebook_runs_and_prints_what_it_shows():
    """Every cell runs; what it prints is what is in the file, to the fourth digit of every score."""
    shown = nbformat.read(NOTEBOOK, as_version=4)
    run = nbformat.from_dict(shown)
    NotebookClient(run, timeout=120, coalesce_streams=True, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert _printed(run) == _printed(shown)


def _printed(notebook):
    """Return what cells print; on stderr is what the log says of this machine, such as that there is no native core."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text", "") for output in outputs if output.get("name") != "stderr"]
