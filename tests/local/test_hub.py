"""Models of the hub: the real download code against a hub on loopback.

Each load is a process with its own cache, because the hub's client reads its settings once, when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import loopback
from environment import NEEDS_ONNX, PARITY_MODELS

FOLDERS = {
    "acme/bert": PARITY_MODELS / "bert",
    "acme/sharded": PARITY_MODELS / "bert-float16-sharded",
    "acme/ettin": PARITY_MODELS / "ettin",
    "acme/exported": PARITY_MODELS / "exported-albert",
    "acme/pylate": PARITY_MODELS / "late-interaction" / "pylate-bert",
    "acme/stanford": PARITY_MODELS / "late-interaction" / "stanford-bert",
    "acme/decoder": PARITY_MODELS / "prompts" / "logit-score",
    "acme/zerank-2": PARITY_MODELS / "prompts" / "zerank-2",
    "BAAI/bge-reranker-base": PARITY_MODELS / "xlm-roberta-bfloat16",
}
LOAD_SCRIPT = """
import json, sys, podium
options = json.loads(sys.argv[2])
try:
    with podium.load(sys.argv[1], **options) as reranker:
        ranking = reranker.rerank("rank", ["query list", "red"])
    print(json.dumps({"revision": ranking.revision, "model": ranking.model, "scores": [r.score for r in ranking]}))
except podium.PodiumError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


class HubCase:
    """A hub on loopback, and an empty cache."""

    def __init__(self, server: loopback.Loopback, hub: loopback.Hub, home: Path) -> None:
        self.server, self.hub, self.home = server, hub, home

    def load(self, name: str, *, offline: bool = False, **options: Any) -> dict[str, Any]:
        """Load a model in another process. Return its revision, name and scores, or the type and message of the error."""
        environment = os.environ | {"HF_ENDPOINT": self.server.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        command = [sys.executable, "-c", LOAD_SCRIPT, name, json.dumps(options)]
        process = subprocess.run(command, env=environment, capture_output=True, timeout=240, check=True)
        return dict(json.loads(process.stdout))

    def requested_files(self) -> set[str]:
        """Return the names of the files that were requested so far, relative to their repository."""
        paths = [request.path for request in self.server.requests if "/resolve/" in request.path]
        return {path.rpartition("/resolve/")[2].partition("/")[2] for path in paths}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[HubCase]:
    hub = loopback.Hub(FOLDERS)
    with loopback.Loopback(hub) as server:
        yield HubCase(server, hub, tmp_path)


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS_ONNX if name == "acme/exported" else ()) for name in FOLDERS])
def test_model_is_downloaded_once(case, name):
    outcome = case.load(name)
    assert outcome["model"] == name
    assert outcome["revision"] == case.hub.commit(name)
    request_count = len(case.server.requests)
    assert request_count > 0
    assert case.load(name) == outcome
    assert case.load(name, offline=True) == outcome
    assert len(case.server.requests) == request_count, "a request was sent for a cached model"


def test_only_needed_files_are_downloaded(case):
    case.load("acme/bert")
    assert case.requested_files() == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    case.load("acme/ettin")
    assert {"modules.json", "2_Dense/config.json", "2_Dense/model.safetensors"} <= case.requested_files()
    case.load("acme/decoder")
    assert {"chat_template.jinja", "1_LogitScore/config.json"} <= case.requested_files()
    case.load("acme/stanford")
    assert "artifact.metadata" in case.requested_files()


def test_missing_files_are_listed_offline(case):
    outcome = case.load("acme/bert", offline=True)
    assert outcome["error"] == "ModelNotFound"
    assert "HF_HUB_OFFLINE" in outcome["message"]
    assert "config.json, tokenizer.json, model.safetensors" in outcome["message"]
    assert "hf download acme/bert" in outcome["message"]
    assert case.server.requests == []


def test_interrupted_download_is_continued(case):
    case.hub.failing.add("model.safetensors")
    outcome = case.load("acme/bert")
    assert outcome["error"] == "ModelError"
    assert "acme/bert" in outcome["message"]
    assert "Missing: model.safetensors" in case.load("acme/bert", offline=True)["message"]
    case.hub.failing.clear()
    case.server.requests.clear()
    assert "scores" in case.load("acme/bert")
    assert "config.json" not in {request.path.rpartition("/")[2] for request in case.server.requests if request.method == "GET"}


def test_unknown_model_is_an_error(case):
    assert "no model acme/none on the hub" in case.load("acme/none")["message"]


def test_gated_model_is_an_error(case):
    case.hub.gated.add("acme/bert")
    message = case.load("acme/bert")["message"]
    assert "gated" in message
    assert "HF_TOKEN" in message


def test_token_is_sent_but_never_in_a_message(case):
    case.load("acme/bert", token="hf_very_secret")
    assert any(request.headers.get("authorization") == "Bearer hf_very_secret" for request in case.server.requests)
    assert "very_secret" not in json.dumps(case.load("acme/none", token="hf_very_secret"))


def test_cache_dir_and_revision(case, tmp_path):
    outcome = case.load("acme/bert", cache_dir=str(tmp_path / "mine"), revision="v1.0")
    assert outcome["revision"] == case.hub.commit("acme/bert")
    assert (tmp_path / "mine" / "models--acme--bert").is_dir()
    assert any("/revision/v1.0" in request.path for request in case.server.requests)
    assert "scores" in case.load("acme/bert", cache_dir=str(tmp_path / "mine"), revision="v1.0", offline=True)


@pytest.mark.parametrize(
    ("model", "name"),
    [("ettin", "config_sentence_transformers.json"), ("ettin", "modules.json"), ("stanford", "artifact.metadata")],
)
def test_partly_cached_model_is_completed(case, model, name):
    """transformers downloads only the encoder's files, without those of sentence-transformers or of Stanford's code."""
    outcome = case.load(f"acme/{model}")
    (snapshot,) = (case.home / "hub" / f"models--acme--{model}" / "snapshots").iterdir()
    (snapshot / name).unlink()
    assert case.load(f"acme/{model}") == outcome


def test_hub_address_that_is_not_a_url_is_an_error(case):
    case.server.url = "http://[::1"
    outcome = case.load("acme/bert")
    assert outcome["error"] == "InvalidInput"
    assert "HF_ENDPOINT is not a valid URL; unset it" in outcome["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("etag", "../../../outside", id="etag"),
        pytest.param("etag", "..", id="etag-of-dots"),
        pytest.param("sha", "../../../outside", id="commit"),
        pytest.param("sha", "main", id="commit-that-is-a-branch"),
    ],
)
def test_reply_that_names_a_path_is_refused(case, field, value):
    """The hub's client uses the ETag and the commit as names of files."""
    setattr(case.hub, field, value)
    outcome = case.load("acme/bert")
    assert outcome["error"] == "ModelError"
    assert "check HF_ENDPOINT" in outcome["message"]
    assert "outside" not in {path.name for path in case.home.rglob("*")}


def test_hub_that_does_not_answer_is_an_error(case, monkeypatch):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    case.hub.delay = 200
    outcome = case.load("acme/bert")
    assert outcome["error"] == "ModelError"
    assert "check the connection" in outcome["message"]


def test_unreachable_hub_is_an_error(case):
    case.server.__exit__()
    outcome = case.load("acme/bert")
    assert outcome["error"] == "ModelError"
    assert "check the connection" in outcome["message"]
