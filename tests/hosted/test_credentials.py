"""API keys and logins: where they come from. Keys, logins and documents appear in no error, log or repr."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import httpx
import pytest

import loopback
import podium
from contracts import COHERE, KEY, QUERY, TEXTS
from loopback import Answer, as_json
from podium.errors import KeyRejected, MissingKey, ProviderError, RequestRejected
from podium.hosted.providers import PROVIDERS

LONG_KEY = "sk-verysecret0123456789abcdefghijk5678"


@pytest.mark.parametrize("row", [row for row in PROVIDERS if row.url], ids=lambda row: row.name)
def test_error_of_a_missing_key_names_its_variable(row):
    with pytest.raises(MissingKey, match=row.key_variable):
        podium.load(f"{row.name}:model")


@pytest.mark.parametrize("row", [row for row in PROVIDERS if not row.url], ids=lambda row: row.name)
def test_provider_without_public_server_needs_no_key(row):
    podium.load(f"{row.name}:model", base_url="http://127.0.0.1:9").close()


@pytest.mark.parametrize(
    ("options", "key"),
    [({"api_key": "argument"}, "argument"), ({}, "from-environment"), ({"api_key": ""}, "from-environment")],
    ids=["argument", "no argument", "empty argument"],
)
def test_api_key_argument_takes_precedence_over_the_environment(server, monkeypatch, options, key):
    server.answer = loopback.cohere
    monkeypatch.setenv("COHERE_API_KEY", "from-environment")
    with podium.load("cohere:m", base_url=server.url, **options) as reranker:
        reranker.rank("q", ["a"])
    assert server.requests[0].headers["Authorization"] == f"Bearer {key}"


def test_server_of_the_user_needs_no_key(server):
    server.answer = loopback.cohere
    podium.load("cohere:m", base_url=server.url).rank("q", ["a"])
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize("key", ["with\nnewline", "schlüssel", "\x00"], ids=["newline", "umlaut", "null"])
def test_key_that_no_header_can_contain_is_refused_without_showing_it(key):
    with pytest.raises(MissingKey) as caught:
        podium.load("cohere:m", api_key=key)
    assert key not in str(caught.value)


SENT_DOCUMENT = "a private document here"
SENT_QUERY = "private query"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b'{"message": "your key secret-key and document: a private document here, for private query"}'),
        Answer(401, b'{"message": "Bearer secret-key is wrong"}'),
        Answer(500, b"private document secret-key private query"),
        Answer(422, b'{"detail": "private query"}'),
        Answer(400, b'{"message": "not a good one: A PRIVATE DOCUM"}'),
        Answer(401, b'{"message": "secret-key is wrong"}'),
        Answer(200, b'{"results": [{"index": "a private document here", "relevance_score": 1}]}'),
        Answer(200, b'{"results": [{"index": 0, "relevance_score": "a private document here"}]}'),
        Answer(200, b"a private document here"),
        Answer(drop=True),
    ],
    ids=[
        "key, document and query",
        "header",
        "plain text",
        "query",
        "part of document in capitals",
        "key",
        "document as index",
        "document as score",
        "document as reply",
        "no reply",
    ],
)
def test_keys_and_documents_are_not_in_errors_tracebacks_logs_or_reprs(server, rerank, answer, caplog):
    caplog.set_level(logging.DEBUG)
    server.answer = lambda request: answer
    reranker = COHERE.load(server.url)
    with pytest.raises(ProviderError) as caught:
        rerank(reranker, SENT_QUERY, [SENT_DOCUMENT])
    shown = "".join(traceback.TracebackException.from_exception(caught.value).format())
    shown += repr(caught.value) + repr(reranker) + repr(reranker.scorer) + repr(vars(reranker.scorer)) + caplog.text
    assert not [secret for secret in (KEY, "private document", SENT_QUERY, "PRIVATE") if secret in shown]
    package = str(Path(podium.__file__).parent)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    own_frames = [frame for frame in frames if frame.f_code.co_filename.startswith(package)]
    assert own_frames
    assert KEY not in repr([frame.f_locals for frame in own_frames]), "a local variable contains the key"


def test_message_without_key_and_documents_is_quoted(server):
    server.answer = lambda request: as_json({"message": "the model is overloaded right now"}, 400)
    with pytest.raises(RequestRejected, match="overloaded right now"):
        COHERE.load(server.url).rerank("zebra", ["giraffe"])


@pytest.mark.parametrize(
    "message",
    [
        f"bad key {LONG_KEY[:11]}...{LONG_KEY[-4:]}",
        "bad key ending in 5678",
        "bad key " + " ".join(LONG_KEY),
        "bad key " + LONG_KEY.upper(),
        f"bad key {LONG_KEY[12:20]}",
    ],
    ids=["both ends", "last four", "spaced", "capitals", "middle"],
)
def test_message_with_part_of_a_key_is_not_quoted(server, rerank, message):
    server.answer = lambda request: as_json({"message": message}, 401)
    with pytest.raises(KeyRejected) as caught:
        rerank(COHERE.load(server.url, api_key=LONG_KEY), QUERY, TEXTS)
    assert "bad key" not in str(caught.value)


def test_message_that_shares_only_the_prefix_of_a_key_is_quoted(server):
    server.answer = lambda request: as_json({"message": "jina has no model of this name"}, 404)
    with pytest.raises(RequestRejected, match="jina has no model of this name"):
        COHERE.load(server.url, api_key="jina_0123456789abcdef").rerank(QUERY, TEXTS)


def test_login_in_base_url_is_sent_and_not_shown(server, rerank, caplog):
    caplog.set_level(logging.DEBUG)
    server.answer = lambda request: as_json(COHERE.reply)
    with COHERE.load(server.url.replace("http://", "http://us%40er:pass-word@")) as reranker:
        assert len(rerank(reranker, QUERY, TEXTS)) == 3
        shown = caplog.text + repr(reranker) + repr(vars(reranker.scorer))
    assert httpx.BasicAuth("us@er", "pass-word")._auth_header == server.requests[0].headers["Authorization"]
    assert "HTTP Request: POST" in caplog.text
    assert "pass-word" not in shown
    assert "us%40er" not in shown


def test_message_that_repeats_the_password_is_not_quoted(server, rerank):
    server.answer = lambda request: as_json({"message": "pass-word is wrong"}, 401)
    with pytest.raises(KeyRejected) as caught:
        rerank(COHERE.load(server.url.replace("http://", "http://user:pass-word@")), QUERY, TEXTS)
    assert "pass-word" not in str(caught.value)
