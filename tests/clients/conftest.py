"""Servers for clients that are installed in other environments than podium, and the scores that the clients should return.

PODIUM_PYTHON is the Python that has podium. PODIUM_CLIENTS is the name of the list of the clients in this environment.
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
CLIENT_LIST = Path(__file__).parent / f"{os.environ.get('PODIUM_CLIENTS', 'frameworks')}.txt"
PACKAGES = {re.split(r"[=\[]", line)[0] for line in CLIENT_LIST.read_text(encoding="utf-8").splitlines()}
MODEL = "podium-mini"
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
    """`podium serve` as a process, on a free port."""

    def __init__(self, *options: str) -> None:
        command = [PYTHON, "-m", "podium", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if match := re.search(r"url=(http://\S+)/ ", line):
                self.url = match[1]
            if "ready models=" in line:
                break
        # If nothing read the log, it would fill the pipe and block the server.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="session")
def server_url():
    """The URL of a server without keys."""
    server = Server()
    assert httpx.get(f"{server.url}/ready").status_code == 200
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def small_server_url():
    """The URL of a server that accepts at most two documents, so that a request can be too large."""
    server = Server("--max-documents", "2")
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def url_and_key(tmp_path_factory):
    """The URL of a server that requires a key, and the key."""
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    command = [PYTHON, "-m", "podium", "key", "clients", "--file", str(path)]
    key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    server = Server("--api-keys-file", str(path))
    yield server.url, key
    server.stop()


@pytest.fixture(scope="session")
def expected():
    """podium's own ranking of TEXTS: indices and scores, best first."""
    script = (
        "import json, sys, podium; query, texts = json.load(sys.stdin); "
        f"print(json.dumps([(r.index, r.score) for r in podium.load('{MODEL}').rerank(query, texts)]))"
    )
    command = [PYTHON, "-c", script]
    output = subprocess.run(command, input=json.dumps([QUERY, TEXTS]), check=True, capture_output=True, text=True).stdout
    return [(index, pytest.approx(score, abs=1e-9)) for index, score in json.loads(output)]


@pytest.fixture
def expected_texts(expected):
    """podium's own ranking of TEXTS: texts and scores, best first."""
    return [(TEXTS[index], score) for index, score in expected]
