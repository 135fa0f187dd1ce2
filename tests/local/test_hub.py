"""Models of the hub: the real download code against a hub on loopback. Each test has processes and a cache of its own,

because the hub's client reads its settings once, when it is imported.
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
from environment import PARITY

NAMES = {
    "acme/bert": PARITY / "bert",
    "acme/sharded": PARITY / "bert-float16-sharded",
    "acme/ettin": PARITY / "ettin",
    "acme/exported": PARITY / "exported-albert",
    "BAAI/bge-reranker-base": PARITY / "xlm-roberta-bfloat16",
}
LOAD = """
import json, sys, podium
options = json.loads(sys.argv[2])
try:
    with podium.load(sys.argv[1], **options) as reranker:
        ranking = reranker.rerank("rank", ["query list", "red"])
    print(json.dumps({"revision": ranking.revision, "model": ranking.model, "scores": [r.score for r in ranking]}))
except podium.PodiumError as error:
    print(json.dumps({"error": type(error).__name__, "says": str(error)}))
"""


class HubCase:
    def __init__(self, server: loopback.Loopback, hub: loopback.Hub, home: Path) -> None:
        self.server, self.hub, self.home = server, hub, home

    def load(self, name: str, *, offline: bool = False, **options: Any) -> dict[str, Any]:
        environment = os.environ | {"HF_ENDPOINT": self.server.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        command = [sys.executable, "-c", LOAD, name, json.dumps(options)]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
        return dict(json.loads(done.stdout))

    def asked_for(self) -> set[str]:
        paths = [request.path for request in self.server.requests if "/resolve/" in request.path]
        return {path.rpartition("/resolve/")[2].partition("/")[2] for path in paths}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[HubCase]:
    hub = loopback.Hub(NAMES)
    with loopback.Loopback(hub) as server:
        yield HubCase(server, hub, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_downloaded_once_and_then_needs_no_request(case, name):
    first = case.load(name)
    assert first["model"] == name
    assert first["revision"] == case.hub.commit(name)
    asked = len(case.server.requests)
    assert asked > 0
    assert case.load(name) == first
    assert case.load(name, offline=True) == first
    assert len(case.server.requests) == asked, "a cached model made a request"


def test_only_what_is_needed_is_downloaded(case):
    case.load("acme/bert")
    assert case.asked_for() == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    case.load("acme/ettin")
    assert {"modules.json", "2_Dense/config.json", "2_Dense/model.safetensors"} <= case.asked_for()


def test_offline_without_a_cache_lists_what_is_missing(case):
    said = case.load("acme/bert", offline=True)
    assert said["error"] == "ModelNotFound"
    assert "HF_HUB_OFFLINE" in said["says"]
    assert "config.json, tokenizer.json, model.safetensors" in said["says"]
    assert "hf download acme/bert" in said["says"]
    assert case.server.requests == []


def test_a_download_cut_short_goes_on_where_it_was(case):
    case.hub.failing.add("model.safetensors")
    said = case.load("acme/bert")
    assert said["error"] == "ModelError"
    assert "acme/bert" in said["says"]
    assert "Missing: model.safetensors" in case.load("acme/bert", offline=True)["says"]
    case.hub.failing.clear()
    case.server.requests.clear()
    assert "scores" in case.load("acme/bert")
    assert "config.json" not in {r.path.rpartition("/")[2] for r in case.server.requests if r.method == "GET"}


def test_a_name_that_is_not_there_or_is_gated_says_so(case):
    assert "no model acme/none on the hub" in case.load("acme/none")["says"]
    case.hub.gated.add("acme/bert")
    said = case.load("acme/bert")["says"]
    assert "gated" in said
    assert "HF_TOKEN" in said


def test_a_token_is_sent_and_never_told(case):
    case.load("acme/bert", token="hf_very_secret")
    assert any(request.headers.get("authorization") == "Bearer hf_very_secret" for request in case.server.requests)
    assert "very_secret" not in json.dumps(case.load("acme/none", token="hf_very_secret"))


def test_a_cache_of_ones_own_and_a_revision(case, tmp_path):
    said = case.load("acme/bert", cache_dir=str(tmp_path / "mine"), revision="v1.0")
    assert said["revision"] == case.hub.commit("acme/bert")
    assert (tmp_path / "mine" / "models--acme--bert").is_dir()
    assert any("/revision/v1.0" in request.path for request in case.server.requests)
    assert "scores" in case.load("acme/bert", cache_dir=str(tmp_path / "mine"), revision="v1.0", offline=True)


def test_a_cache_that_others_filled_in_part_is_made_whole(case):
    """As transformers leaves it: the encoder without what sentence-transformers put on top."""
    first = case.load("acme/ettin")
    (snapshot,) = (case.home / "hub" / "models--acme--ettin" / "snapshots").iterdir()
    for name in ("config_sentence_transformers.json", "modules.json"):
        (snapshot / name).unlink()
        assert case.load("acme/ettin") == first


def test_a_hub_that_does_not_answer_is_one_error(case):
    case.server.__exit__()
    said = case.load("acme/bert")
    assert said["error"] == "ModelError"
    assert "check the connection" in said["says"]
