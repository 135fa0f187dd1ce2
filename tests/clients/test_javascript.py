"""JavaScript clients, run by Node.js, return the expected scores. They are called in javascript/rerank.mjs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import KEY, QUERY, TEXTS

FOLDER = Path(__file__).parent / "javascript"
CLIENTS = [
    "cohere-ai v2",
    "cohere-ai v1",
    "voyageai",
    "@ai-sdk/cohere",
    "@ai-sdk/togetherai",
    "voyage-ai-provider",
    "together-ai",
    "@pinecone-database/pinecone",
    "@mixedbread/sdk",
    "@langchain/cohere",
    "@llamaindex/cohere",
]


def run(client, url, key=KEY):
    """Rerank TEXTS with a client of javascript/rerank.mjs. Return the index and score of each result."""
    command = ["node", "rerank.mjs", client, url, key]
    request = json.dumps({"query": QUERY, "texts": TEXTS})
    process = subprocess.run(command, cwd=FOLDER, input=request, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("client", CLIENTS)
def test_client_returns_the_expected_scores(server_url, expected, client):
    assert [tuple(result) for result in run(client, server_url)] == expected


@pytest.mark.parametrize("client", CLIENTS)
def test_client_sends_its_key(url_and_key, expected, client):
    url, key = url_and_key
    assert [tuple(result) for result in run(client, url, key)] == expected


def test_cohere_checks_a_key(server_url, url_and_key):
    assert run("cohere-ai checkApiKey", server_url) is True
    assert run("cohere-ai checkApiKey", *url_and_key) is True


def test_every_client_of_the_script_is_tested():
    script = (FOLDER / "rerank.mjs").read_text(encoding="utf-8")
    table = script[script.index("const clients = {") : script.index("console.log")]
    names = [line.split(":")[0].strip(' "') for line in table.splitlines() if line.startswith("  ") and line[2] not in " }"]
    assert set(names) == {*CLIENTS, "cohere-ai checkApiKey"}
