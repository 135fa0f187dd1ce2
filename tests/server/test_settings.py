"""The options of podium serve, and its TOML file."""

from __future__ import annotations

import json
import socket
from dataclasses import fields

import pytest

from commands import run_in_process
from loopback import Loopback, cohere
from podium.errors import InvalidInput
from podium.places import SourceOptions
from podium.server.settings import OPTIONS, SOURCE_OPTIONS, Settings
from serving import REQUEST, ServerProcess, failed_start


@pytest.fixture
def used_port():
    """A port that is in use. A server that starts by mistake in the test's own process fails to listen, so the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "other machines can reach 0.0.0.0; set --api-keys-file"),
        (["--host", "::"], "other machines can reach ::; set --api-keys-file"),
        (["--host", ""], "--host must be an address or a name"),
        (["--api-keys-file", "no-such-file"], "the keys in no-such-file cannot be read (FileNotFoundError)"),
        (["--model", "a=podium-mini", "--model", "a=podium-mini"], "--model a: there are two models of this name"),
        (["--model", "=x"], "--model '=x' must be NAME or AS=NAME"),
        (["--cors-origin", "example.com"], "--cors-origin example.com is not an origin; write https://host"),
        (["--config", "no-such-file"], "there is no file no-such-file"),
        (["--model", "no-such-model"], "there is no model 'no-such-model'"),
        (["--model", "cohre:rerank-v3.5"], "did you mean cohere:rerank-v3.5?"),
        (["--max-body", "1000", "--max-memory", "2999"], "--max-body 1000 needs at least --max-memory 3000"),
        (["--port", "70000"], "--port must be a whole number from 0 to 65,535, not '70000'"),
        (["--timeout", "0"], "--timeout must be a number above 0, not '0.0'"),
        (["--timeout", "inf"], "--timeout must be a number above 0, not 'inf'"),
        (["--workers", "1.5"], "'1.5' is not a valid integer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_server_with_an_invalid_option_does_not_listen(used_port, options, message):
    code, _, output = run_in_process("serve", "--port", used_port, *options)
    assert code == 2
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert "listening" not in output


def test_address_of_another_machine_is_refused():
    code, output = failed_start("--host", "203.0.113.7", "--insecure")
    assert code == 2
    assert "cannot listen on 203.0.113.7:8080" in output
    assert "Traceback" not in output
    assert "listening" not in output


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "cohere:rerank-v3.5"], "COHERE_API_KEY"),
        (["--index", "no-such-folder"], "there is no no-such-folder"),
    ],
    ids=["model", "index"],
)
def test_server_ends_if_loading_fails(options, message, workers):
    code, output = failed_start("--port", "0", "--workers", workers, *options)
    assert code == 1
    assert message in output


def test_file_contains_options_and_models(tmp_path, monkeypatch):
    monkeypatch.setenv("COHERE_API_KEY", "k")
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
        with ServerProcess("--config", str(file)) as server:
            assert model_names(server) == ["best", "short", "mini"]
            assert server.client.post("/v2/rerank", json=REQUEST | {"documents": ["a"] * 3}).status_code == 400
            reply = server.client.post("/v2/rerank", json=REQUEST | {"model": "best"})
            assert reply.json()["results"][0]["index"] == 1
            lines = [json.loads(line) for line in server.log.splitlines()]
        with ServerProcess("--config", str(file), "--model", "podium-mini", "--max-documents", "3") as server:
            assert model_names(server) == ["podium-mini"]  # the command line replaces the models of the file
            assert server.client.post("/v2/rerank", json=REQUEST | {"documents": ["a"] * 3}).status_code == 200
    assert [line["event"] for line in lines[:2]] == ["listening", "ready"]
    assert provider.requests[-1].json["model"] == "rerank-v3.5"


def test_number_of_threads_is_also_for_the_models_of_a_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('[models.a]\nload = "podium-mini"\nthreads = 2\n[models.podium-mini]\n')
    for options, threads in (((), 2), (("--model", "podium-mini"), 1)):
        with ServerProcess("--config", str(file), "--threads", "1", *options) as server:
            assert server.client.get("/info").json()["tokenization_workers"] == threads
    file.write_text("[models.podium-mini]\n")
    with ServerProcess("--config", str(file), "--threads", "1") as server:
        assert server.client.get("/info").json()["tokenization_workers"] == 1


def test_model_of_a_file_is_kept_beside_a_table_like_the_default(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('model = ["fast=podium-mini"]\n[models.podium-mini]\n')
    with ServerProcess("--config", str(file)) as server:
        assert model_names(server) == ["podium-mini", "fast"]


def model_names(server):
    return [model["id"] for model in server.client.get("/v1/models").json()["data"]]


def test_file_sets_options_of_every_type(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text(
        """
        port = 80
        timeout = 5
        api-keys-file = "keys.txt"
        cors-origin = ["https://a.example"]
        insecure = true
        precision = "int8"
        text = "title^2,body"
        return-fields = "title, body"
        index-timeout = 3
        """
    )
    settings = Settings.from_toml(file)
    assert (settings.port, settings.timeout, settings.insecure) == (80, 5.0, True)
    assert (settings.keys_file.name, settings.cors_origins) == ("keys.txt", ("https://a.example",))
    assert settings.model_options == {"precision": "int8"}
    assert settings.source == SourceOptions(text={"title": 2.0, "body": 1.0}, return_fields=["title", "body"], timeout=3.0)
    assert settings.models == Settings().models


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("colour = 1", "there is no option colour; the options are"),
        ("prot = 1", "there is no option prot; did you mean port?"),
        ("[models]\nbest = 1", "models must be tables"),
        ("[models.best]\nload = 'podium-mini'\napi_key = 'k'", "[models.best] has api_key; it can have"),
        ("[models.best]\nload = 1", "[models.best]: load must be a string, not '1'"),
        ("[models.best]\nload = 'podium-mini'\ncalibration = 1", "[models.best]: calibration must be a string, not '1'"),
        ("port = ", "is not TOML"),
        ("port = 'x'", "port must be a whole number from 0 to 65,535, not 'x'"),
        ("api-keys-file = 5", "api-keys-file must be a path, not '5'"),
        ("workers = 1.5", "workers must be a whole number from 1 to 1,024, not '1.5'"),
        ("workers = true", "workers must be a whole number from 1 to 1,024, not 'True'"),
        ("insecure = 1", "insecure must be true or false, not '1'"),
        ("timeout = nan", "timeout must be a number above 0, not 'nan'"),
        ("max-body = 1979-05-27", "max-body must be a whole number from 1, not '1979-05-27'"),
        ("[timeout]", "timeout must be a number above 0, not '{}'"),
        ("model = 'podium-mini'", "model must be a list of strings, not 'podium-mini'"),
        ("log-format = 'xml'", "log-format must be text or json, not 'xml'"),
        ("mode = 'best'", "mode must be text or vector or hybrid, not 'best'"),
        ("text-weight = 2", "text-weight must be a number from 0 to 1, not '2.0'"),
        ("index-timeout = 0", "index-timeout must be a number above 0, not '0.0'"),
        ("text = ['title']", "text must be a string"),
        ('host = "a\\u0000b"', "host must be a string"),
        ('[models."a\\nb"]', "cannot be the name of a model"),
    ],
    ids=lambda value: value if "=" in value or "[" in value else "",
)
def test_invalid_file_is_refused(tmp_path, toml, message):
    file = tmp_path / "serve.toml"
    file.write_text(toml)
    with pytest.raises(InvalidInput) as error:
        Settings.from_toml(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)


def test_server_with_an_invalid_file_does_not_listen(tmp_path, used_port):
    (tmp_path / "serve.toml").write_text("prot = 1")
    code, _, output = run_in_process("serve", "--port", used_port, "--config", tmp_path / "serve.toml")
    assert code == 2
    assert "did you mean port?" in output


def test_every_setting_is_an_option_except_four():
    exceptions = {"models", "model_options", "source", "read_timeout"}
    assert {option.attribute for option in OPTIONS} == {field.name for field in fields(Settings)} - exceptions


def test_every_option_of_a_source_is_an_option_of_the_server():
    assert {option.attribute for option in SOURCE_OPTIONS} == {field.name for field in fields(SourceOptions)}
