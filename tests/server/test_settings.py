"""The options of podium serve, and its file."""

from __future__ import annotations

import json
import os

import pytest

from loopback import Loopback, cohere
from serving import REQUEST, Process, failed_start


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines: give --api-keys-file"),
        (["--host", "::"], ":: can be reached from other machines"),
        (["--host", "203.0.113.7", "--insecure"], "cannot listen on 203.0.113.7:8080"),
        (["--api-keys-file", "no-such-file"], "the keys in no-such-file cannot be read (FileNotFoundError)"),
        (["--model", "a=podium-mini", "--model", "a=podium-mini"], "a name must be there, and once"),
        (["--model", "=x"], "a name must be there, and once"),
        (["--cors-origin", "example.com"], "--cors-origin example.com is no origin; write https://host"),
        (["--config", "no-such-file"], "no-such-file cannot be read"),
        (["--model", "no-such-model"], "there is no model 'no-such-model'"),
        (["--model", "cohre:rerank-v3.5"], "did you mean cohere:rerank-v3.5?"),
        (["--max-body", "1000", "--max-memory", "2999"], "--max-body 1000 needs at least --max-memory 3000"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(options, says):
    code, said = failed_start(*options)
    assert code == 2
    assert says in " ".join(said.split())
    assert "Traceback" not in said
    assert "listening" not in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "cohere:rerank-v3.5"], "COHERE_API_KEY"),
        (["--index", "no-such-folder"], "there is no no-such-folder"),
    ],
)
def test_what_cannot_be_loaded_ends_the_server(options, says):
    for workers in ("1", "2"):
        code, said = failed_start("--port", "0", "--workers", workers, *options)
        assert code == 1
        assert says in said


def test_a_file_says_what_options_can(tmp_path):
    with Loopback(cohere) as provider:
        file = tmp_path / "serve.toml"
        file.write_text(
            f"""
            max-documents = 2
            log_format = "json"
            model = ["mini=podium-mini"]
            [models.best]
            load = "cohere:rerank-v3.5"
            base_url = "{provider.url}"
            [models.short]
            load = "podium-mini"
            max_length = 16
            """
        )
        os.environ["COHERE_API_KEY"] = "k"
        try:
            with Process("--config", str(file)) as server:
                assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["best", "short", "mini"]
                assert server.client.post("/v2/rerank", json=REQUEST | {"documents": ["a"] * 3}).status_code == 400
                reply = server.client.post("/v2/rerank", json=REQUEST | {"model": "best"})
                assert reply.json()["results"][0]["index"] == 1
                lines = [json.loads(line) for line in server.log.splitlines()]
            with Process("--config", str(file), "--model", "podium-mini") as server:  # the command line goes before the file
                assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["podium-mini"]
        finally:
            del os.environ["COHERE_API_KEY"]
    assert [line["event"] for line in lines[:2]] == ["listening", "ready"]
    assert provider.requests[-1].json["model"] == "rerank-v3.5"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("colour = 1", "says colour, which is no option; there are"),
        ("prot = 1", "says prot, which is no option; did you mean port?"),
        ("[models]\nbest = 1", "models must be tables"),
        ("[models.best]\nload = 'podium-mini'\napi_key = 'k'", "[models.best] says api_key; it can say"),
        ("port = ", "is no TOML"),
        ("api-keys-file = 5", "the keys in 5 cannot be read"),
        ("workers = 1.5", "'1.5' is not a valid integer"),
        ("workers = true", "'True' is not a valid integer"),
        ("timeout = nan", "must be numbers of seconds"),
        ("max-body = 1979-05-27", "max-body must be a string or a number"),
        ("[timeout]", "timeout must be a string or a number"),
        ("model = 'podium-mini'", "allowed-host, cors-origin, model are lists of strings"),
        ('host = "a\\u0000b"', "host must be a string or a number"),
        ('[models."a\\nb"]', "cannot be a model's name"),
        ("port = 'x'", "'x' is not a valid integer"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, said, says):
    (tmp_path / "serve.toml").write_text(said)
    code, words = failed_start("--config", str(tmp_path / "serve.toml"))
    assert code == 2
    assert says in " ".join(words.split())
