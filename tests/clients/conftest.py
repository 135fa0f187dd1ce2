"""A server of podium's for clients in other environments.

PODIUM_PYTHON says which Python has podium, PODIUM_CLIENTS which list of clients this environment has.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

PYTHON = os.environ.get("PODIUM_PYTHON", sys.executable)
LIST = Path(__file__).parent / f"{os.environ.get('PODIUM_CLIENTS', 'frameworks')}.txt"
LISTED = {re.split(r"[=\[]", line)[0] for line in LIST.read_text(encoding="utf-8").splitlines()}
QUERY = "capital of the USA"
TEXTS = [
    "Carson City is the capital of Nevada.",
    "Capital punishment has existed in the United States for centuries.",
    "Washington, D.C. is the capital of the United States.",
    "The sea at night.",
]
KEY = "client-key"
os.environ.update(NO_PROXY="127.0.0.1,localhost", LITELLM_LOCAL_MODEL_COST_MAP="True", ANONYMIZED_TELEMETRY="False")


class Server:
    """`podium serve` as a process, on a port of its own."""

    def __init__(self, *options: str) -> None:
        command = [PYTHON, "-m", "podium", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"url=(http://\S+)/ ", line):
                self.url = found[1]
            if "ready models=" in line:
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()  # or its log would fill the pipe

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="session")
def base():
    server = Server()
    assert httpx.get(f"{server.url}/ready").status_code == 200
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def small():
    """A server that takes two documents at most, which makes errors easy to come by."""
    server = Server("--max-documents", "2")
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def keyed(tmp_path_factory):
    """A server that asks for a key, and the key."""
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    key = subprocess.run(
        [PYTHON, "-m", "podium", "key", "clients", "--file", str(path)], check=True, capture_output=True, text=True
    ).stdout.strip()
    server = Server("--api-keys-file", str(path))
    yield server.url, key
    server.stop()


@pytest.fixture(scope="session")
def offline():
    """What the offline call gives: (index, score), best first."""
    script = (
        "import json, sys, podium; query, texts = json.load(sys.stdin); "
        "print(json.dumps([(r.index, r.score) for r in podium.load('podium-mini').rerank(query, texts)]))"
    )
    said = subprocess.run([PYTHON, "-c", script], input=json.dumps([QUERY, TEXTS]), check=True, capture_output=True, text=True)
    return [(index, pytest.approx(score, abs=1e-9)) for index, score in json.loads(said.stdout)]
