"""Every provider row against a server on loopback: its own wire format, its errors, and servers that lie."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import loopback
import podium
from contracts import CONTRACTS, QUERY, SCORES, TEXTS, Contract, reply_for
from loopback import Answer, Loopback, as_json
from podium.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    KeyRejected,
    MissingKey,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from podium.hosted.providers import PROVIDERS
from podium.hosted.retries import advised_wait, jittered_wait
from podium.hosted.wire import request_url

COHERE = CONTRACTS[0]


@pytest.fixture(params=CONTRACTS, ids=lambda contract: contract.provider)
def contract(request: pytest.FixtureRequest) -> Contract:
    return request.param


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(lambda request: as_json({})) as loop:
        yield loop


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest):
    """Rerank with a thread and with an event loop: the two must do the same."""

    def ask_now(reranker: podium.Reranker, query: str, docs: list[str]) -> podium.Ranking:
        with reranker:
            return reranker.rerank(query, docs)

    async def ask_later(reranker: podium.Reranker, query: str, docs: list[str]) -> podium.Ranking:
        async with reranker:
            return await reranker.arerank(query, docs)

    return ask_now if request.param == "sync" else lambda *args: asyncio.run(ask_later(*args))


def reranker(contract: Contract, server: Loopback, **options) -> podium.Reranker:
    options = {"api_key": "secret-key", "timeout": 5.0, "retries": 0} | options
    return podium.load(f"{contract.provider}:{contract.model}", base_url=server.url, **options)


def test_there_is_a_contract_for_every_row():
    assert [contract.provider for contract in CONTRACTS] == [row.name for row in PROVIDERS]


# ---- what each provider is sent and answers


def test_the_request_and_the_reply_are_the_providers(contract, server, ask):
    server.answer = lambda request: as_json(contract.reply)
    ranking = ask(reranker(contract, server), QUERY, TEXTS)
    (request,) = server.requests
    assert request.method == "POST"
    assert request.path == contract.path
    assert request.json == contract.body
    assert request.headers[contract.header[0]] == contract.header[1]
    assert request.headers["Content-Type"] == "application/json"
    assert [(r.index, r.score) for r in ranking] == [(1, 0.9), (2, 0.6), (0, 0.1)]
    assert ranking.usage.tokens == contract.tokens
    assert dict(ranking.usage.billed) == contract.billed
    assert ranking.model == f"{contract.provider}:{contract.model}"
    row = next(row for row in PROVIDERS if row.name == contract.provider)
    assert ranking.score_kind == row.score_kind
    assert all(request.headers.get(name) == value for name, value in row.headers.items())


def test_public_addresses_are_the_documented_ones():
    public = {row.name: request_url(row, "m.1", None) for row in PROVIDERS if row.url}
    assert public == {
        "cohere": "https://api.cohere.com/v2/rerank",
        "voyage": "https://api.voyageai.com/v1/rerank",
        "jina": "https://api.jina.ai/v1/rerank",
        "mixedbread": "https://api.mixedbread.com/v1/reranking",
        "together": "https://api.together.ai/v1/rerank",
        "fireworks": "https://api.fireworks.ai/inference/v1/rerank",
        "pinecone": "https://api.pinecone.io/rerank",
        "nvidia": "https://ai.api.nvidia.com/v1/retrieval/m_1/reranking",
        "zeroentropy": "https://api.zeroentropy.dev/v1/models/rerank",
        "contextual": "https://api.contextual.ai/v1/rerank",
        "isaacus": "https://api.isaacus.com/v1/rerankings",
    }


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h", "http://h/v2/rerank"),
        ("http://h/", "http://h/v2/rerank"),
        ("http://h/v1", "http://h/v1/rerank"),
        ("http://h/v2/", "http://h/v2/rerank"),
        ("http://h/api/v1/rerank", "http://h/api/v1/rerank"),
        ("http://h/proxy", "http://h/proxy/v2/rerank"),
    ],
)
def test_a_base_url_may_be_a_root_a_version_or_the_whole_address(base, url):
    assert request_url(PROVIDERS[0], "m", base) == url


def test_structured_documents_are_sent_as_yaml_in_the_order_of_rank_by(server):
    server.answer = loopback.cohere
    documents = [{"source": "wiki", "passage": "a: b"}, "plain"]
    ranking = reranker(COHERE, server).rerank("q", documents, rank_by=["passage", "source"])
    assert server.requests[0].json["documents"] == ["passage: 'a: b'\nsource: wiki\n", "plain"]
    assert {id(result.document) for result in ranking} == {id(document) for document in documents}


def test_documents_without_text_are_never_sent(contract, server):
    server.answer = lambda request: Answer(200, reply_for(contract, [0.5, 0.7]))
    ranking = reranker(contract, server).rerank(QUERY, ["a", None, "", "b", "  "])
    assert [result.index for result in ranking] == [3, 0, 1, 2, 4]
    sent = json.dumps(server.requests[0].json)
    assert "null" not in sent
    assert '""' not in sent.replace('"model": ""', "")


def test_nothing_is_sent_as_null(contract, server):
    server.answer = lambda request: as_json(contract.reply)
    reranker(contract, server).rerank(QUERY, TEXTS, limit=2)
    assert b"null" not in server.requests[0].content


def test_echoed_documents_are_never_trusted(server):
    reply = {"results": [{"index": 0, "relevance_score": 0.5, "document": {"text": "something else"}}]}
    server.answer = lambda request: as_json(reply)
    assert reranker(COHERE, server).rank("q", ["mine"]) == (["mine"], [0.5])


# ---- replies that are not what they should be


BAD_SCORES = [None, "0.5", True, float("nan"), float("inf"), -float("inf"), [0.5], {}, 10**400]


@pytest.mark.parametrize("score", BAD_SCORES, ids=str)
def test_a_score_that_is_no_number_is_a_bad_response(contract, server, score):
    server.answer = lambda request: Answer(200, reply_for(contract, [0.5, score, 0.2]))
    with pytest.raises(BadResponse):
        reranker(contract, server).rerank(QUERY, TEXTS)


@pytest.mark.parametrize(
    "indices", [[0, 1, 1], [0, 1, 3], [0, 1, -1], [0, 1, "2"], [0, 1, None], [0, 1, 2.0], [0, True, 2]], ids=str
)
def test_an_index_that_is_wrong_is_a_bad_response(contract, server, indices):
    server.answer = lambda request: Answer(200, reply_for(contract, SCORES, indices))
    with pytest.raises(BadResponse):
        reranker(contract, server).rerank(QUERY, TEXTS)


def test_a_missing_or_extra_result_is_a_bad_response(contract, server, ask):
    server.answer = lambda request: Answer(200, reply_for(contract, [0.1, 0.2]))
    with pytest.raises(BadResponse, match="no score for 1 of 3"):
        ask(reranker(contract, server), QUERY, TEXTS)
    server.answer = lambda request: Answer(200, reply_for(contract, [0.1, 0.2, 0.3, 0.4]))
    with pytest.raises(BadResponse):
        ask(reranker(contract, server), QUERY, TEXTS)


BAD_BODIES = [
    b"",
    b"   ",
    b"<html><body>502 Bad Gateway</body></html>",
    b'{"results": [{"index": 0, "relev',
    b"null",
    b"[]",
    b"{}",
    b'"x"',
    b"5",
    b'{"results": null, "data": null, "rankings": null}',
    b'{"results": {}, "data": {}, "rankings": {}}',
    b'{"results": [5, null, []], "data": [5], "rankings": [5]}',
    b"[" * 100_000,
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:20]))
def test_a_body_that_is_no_reply_is_a_bad_response(contract, server, body):
    server.answer = lambda request: Answer(200, body)
    with pytest.raises(BadResponse):
        reranker(contract, server).rerank(QUERY, TEXTS)


def test_a_reply_of_five_megabytes_is_read(contract, server, ask):
    reply = json.loads(reply_for(contract, SCORES))
    padded = reply if isinstance(reply, list) else reply | {"padding": "x" * 5_000_000}
    if isinstance(padded, list):
        padded[0]["text"] = "x" * 5_000_000
    server.answer = lambda request: as_json(padded)
    assert [r.index for r in ask(reranker(contract, server), QUERY, TEXTS)] == [1, 2, 0]


# ---- statuses


STATUSES = {
    400: RequestRejected,
    401: KeyRejected,
    402: RequestRejected,
    403: KeyRejected,
    404: RequestRejected,
    413: RequestRejected,
    422: RequestRejected,
    429: RateLimited,
    498: KeyRejected,
    500: ProviderUnavailable,
    501: ProviderUnavailable,
    503: ProviderUnavailable,
    529: ProviderUnavailable,
    301: RequestRejected,
    418: RequestRejected,
}


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_an_error_of_its_kind_whatever_the_body(contract, server, ask, status):
    for body in (b'{"message": "no"}', b'{"detail": [{"loc": []}]}', b"<html>", b"", b"[]"):
        server.answer = lambda request, body=body: Answer(status, body)
        with pytest.raises(STATUSES[status]) as caught:
            ask(reranker(contract, server), QUERY, TEXTS)
        assert caught.value.status == status
        assert str(status) in str(caught.value)


def test_what_the_provider_said_is_in_the_error(server):
    for body in ({"message": "model not known"}, {"detail": "model not known"}, {"error": {"message": "model not known"}}):
        server.answer = lambda request, body=body: as_json(body, 400)
        with pytest.raises(RequestRejected, match=r"answered 400 \(model not known\)"):
            reranker(COHERE, server).rerank("q", ["a"])


def test_retried_statuses_are_retried_and_others_are_not(contract, server, ask):
    for status, kind in STATUSES.items():
        server.requests.clear()
        server.answer = lambda request, status=status: Answer(status, b"{}", {"Retry-After": "0"})
        with pytest.raises(kind):
            ask(reranker(contract, server, retries=2), QUERY, TEXTS)
        assert len(server.requests) == (3 if status in (429, 500, 503, 529) else 1), status


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_trouble_that_passes_is_not_noticed(contract, server, ask, status):
    answers = iter([Answer(status, b"<html>", {"Retry-After": "0"})] * 2)
    server.answer = lambda request: next(answers, None) or as_json(contract.reply)
    ranking = ask(reranker(contract, server, retries=3), QUERY, TEXTS)
    assert [r.index for r in ranking] == [1, 2, 0]
    assert len(server.requests) == 3


def test_a_dropped_connection_is_asked_again(server, ask):
    answers = iter([Answer(drop=True), Answer(drop=True)])
    server.answer = lambda request: next(answers, None) or as_json(COHERE.reply)
    assert [r.index for r in ask(reranker(COHERE, server, retries=3), QUERY, TEXTS)] == [1, 2, 0]
    assert len(server.requests) == 3


def test_a_reply_cut_off_in_the_middle_is_asked_for_again(server, ask):
    whole = json.dumps(COHERE.reply).encode()
    answers = iter([Answer(200, whole[:30], length=len(whole))])
    server.answer = lambda request: next(answers, None) or Answer(200, whole)
    assert len(ask(reranker(COHERE, server, retries=1), QUERY, TEXTS)) == 3


def test_no_server_at_all(ask):
    free = Loopback(lambda request: Answer())
    with free:
        url = free.url
    with pytest.raises(ProviderUnavailable, match="could not be reached"):
        ask(podium.load("cohere:m", base_url=url, api_key="k", retries=1), "q", ["a"])


# ---- waiting


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"x-ratelimit-reset": "3"}, 3.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e99"}, None),
        ({}, None),
    ],
)
def test_what_the_server_advises_is_read(headers, seconds):
    assert advised_wait(headers) == seconds


def test_moments_are_read_as_the_time_until_then():
    date = email.utils.formatdate(time.time() + 7, usegmt=True)
    assert advised_wait({"retry-after": date}) == pytest.approx(7, abs=1.5)
    assert advised_wait({"x-ratelimit-reset": str(time.time() + 7)}) == pytest.approx(7, abs=1)
    assert advised_wait({"x-ratelimit-reset": str((time.time() + 7) * 1000)}) == pytest.approx(7, abs=1)


def test_waits_are_jittered_and_bounded():
    waits = [jittered_wait(attempt) for attempt in range(12) for _ in range(50)]
    assert min(waits) >= 0
    assert max(waits) <= 8
    assert len(set(waits)) > 500


def test_a_wait_that_is_advised_is_kept(server, ask):
    answers = iter([Answer(429, b"{}", {"retry-after-ms": "300"})])
    server.answer = lambda request: next(answers, None) or as_json(COHERE.reply)
    began = time.monotonic()
    ask(reranker(COHERE, server, retries=1), QUERY, TEXTS)
    assert time.monotonic() - began >= 0.3


def test_a_wait_past_the_deadline_is_not_begun(server, ask):
    server.answer = lambda request: Answer(429, b"{}", {"Retry-After": "90000"})
    with pytest.raises(RateLimited, match="no time is left"):  # a test that waits would wait for a day
        ask(reranker(COHERE, server, retries=5, timeout=80_000), QUERY, TEXTS)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"{}", seconds=30),
        Answer(200, json.dumps(COHERE.reply).encode(), drip=0.2),
        Answer(200, json.dumps(COHERE.reply).encode(), drip_headers=0.2),
    ],
    ids=["silence", "dripping body", "dripping headers"],
)
def test_the_deadline_holds_against_a_slow_server(server, ask, answer):
    """The call ends while the server is still busy with its reply, which takes it most of a minute."""
    server.answer = lambda request: answer
    with pytest.raises((DeadlineExceeded, ProviderUnavailable)):
        ask(reranker(COHERE, server, timeout=0.6, retries=3), QUERY, TEXTS)
    assert server.finished == 0


def test_a_server_that_drips_does_not_keep_the_process_alive(server):
    server.answer = lambda request: Answer(200, b"{}", drip_headers=10)  # several minutes in all
    script = f"import podium; podium.load('cohere:m', base_url={server.url!r}, timeout=0.5).rank('q', ['a'])"
    assert b"DeadlineExceeded" in subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120).stderr
    assert server.finished == 0


def test_an_interrupt_sends_nothing_more(server):
    server.answer = lambda request: Answer(200, b"{}", seconds=20)
    script = (
        "import os, signal, threading, podium\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a parent in the background leaves it ignored
        f"mine = podium.load('cohere:m', base_url={server.url!r}, max_documents=1)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "mine.rank('q', [str(at) for at in range(40)])\n"
    )
    assert b"KeyboardInterrupt" in subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120).stderr
    assert len(server.requests) <= 8


def test_the_deadline_is_the_whole_calls_however_many_requests_it_takes(server, ask):
    """Each request alone would be answered in time."""
    server.answer = lambda request: Answer(200, loopback.cohere(request).content, seconds=0.25)
    with pytest.raises(ProviderError):
        ask(reranker(COHERE, server, timeout=1.0, max_documents=1), "q", [f"text {at}" for at in range(100)])
    assert len(server.requests) < 100


def test_a_quota_window_is_no_reason_to_wait_after_a_503(server, ask):
    answers = iter([Answer(503, b"{}", {"x-ratelimit-reset": "60"})])
    server.answer = lambda request: next(answers, None) or as_json(COHERE.reply)
    assert len(ask(reranker(COHERE, server, retries=1), QUERY, TEXTS)) == 3


# ---- many documents, many calls


def test_requests_over_the_limit_are_split_and_merged(server, ask):
    def answer(request):
        texts = request.json["texts"]
        return as_json([{"index": at, "score": int(text) / 1000} for at, text in reversed(list(enumerate(texts)))])

    server.answer = answer
    texts = [str((at * 37) % 101) for at in range(101)]
    ranking = ask(podium.load("tei:", base_url=server.url), "q", texts)
    assert sorted(len(request.json["texts"]) for request in server.requests) == [5, 32, 32, 32]
    assert [result.document for result in ranking] == sorted(texts, key=int, reverse=True)
    assert "sent as 4 requests" in ranking.notes


def test_requests_are_split_by_characters_too(server):
    server.answer = loopback.voyage
    ranking = podium.load("voyage:m", base_url=server.url, api_key="k").rerank("q", ["x" * 250_000] * 5)
    assert [len(request.json["documents"]) for request in server.requests] in ([2, 2, 1], [2, 1, 2], [1, 2, 2])
    assert ranking.usage.tokens == 5, "tokens of all requests are added up"


def test_several_requests_run_at_once_but_not_all(server, ask):
    running, most, lock = 0, 0, threading.Lock()

    def answer(request):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return loopback.cohere(request)

    server.answer = answer
    ask(reranker(COHERE, server, max_documents=1), "q", [f"text {at}" for at in range(24)])
    assert 2 <= most <= 8


def test_one_failure_among_several_requests_is_the_calls_failure(server, ask):
    server.answer = lambda request: Answer(400, b"{}") if "bad" in request.json["documents"][0] else loopback.cohere(request)
    with pytest.raises(RequestRejected):
        ask(reranker(COHERE, server, max_documents=1), "q", ["a", "bad", "c", "d"])


def test_a_listwise_model_is_never_split_silently(server):
    listwise = podium.load("jina:jina-reranker-v3", base_url=server.url, api_key="k", max_documents=2)
    with pytest.raises(InvalidInput, match="compares all documents"):
        listwise.rerank("q", ["a", "b", "c"])
    assert server.requests == []


def test_a_hundred_calls_share_the_connections_and_keep_their_own_order(server):
    def answer(request):
        time.sleep(0.005)
        return loopback.cohere(request)

    server.answer = answer

    async def main():
        async with reranker(COHERE, server) as shared:
            calls = [shared.arank(f"w{at}", [f"x w{other}" for other in range(at, at + 5)]) for at in range(100)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(main())
    assert all(results[0] == f"x w{at}" for at, (results, _) in enumerate(answers))
    assert all(scores == sorted(scores, reverse=True) for _, scores in answers)
    assert len(server.connections) <= 100


def test_one_reranker_serves_several_event_loops(server):
    """Nobody closes anything, and no connection stays open: warnings are errors here."""
    server.answer = loopback.cohere
    shared = reranker(COHERE, server)
    for _ in range(3):
        assert asyncio.run(shared.arank("b", ["a", "b"]))[0] == ["b", "a"]
    shared.close()


def test_cancelling_an_async_call_ends_its_requests(server):
    server.answer = lambda request: Answer(200, b"{}", seconds=5)

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reranker(COHERE, server).arank("q", ["a"]), 0.1)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


# ---- clients, keys, secrets


def test_clients_of_ones_own_are_used_and_stay_open(server):
    server.answer = loopback.cohere
    seen = []
    with httpx.Client(
        event_hooks={"request": [lambda request: seen.append(request.headers["x-mine"])]}, headers={"X-Mine": "1"}
    ) as client:
        with reranker(COHERE, server, client=client) as mine:
            mine.rank("q", ["a"])
        assert seen == ["1"]
        assert not client.is_closed

    async def main():
        async with httpx.AsyncClient(headers={"X-Mine": "2"}) as async_client:
            async with reranker(COHERE, server, async_client=async_client) as mine:
                await mine.arank("q", ["a"])
            assert not async_client.is_closed

    asyncio.run(main())
    assert server.requests[-1].headers["x-mine"] == "2"


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: row.name)
def test_a_missing_key_names_its_variable(row):
    base = {} if row.url else {"base_url": "http://127.0.0.1:9"}
    if row.key_variable and row.url:
        with pytest.raises(MissingKey, match=row.key_variable):
            podium.load(f"{row.name}:model", **base)
    else:
        podium.load(f"{row.name}:model", **base).close()


def test_a_given_key_comes_before_the_environment(server, monkeypatch):
    server.answer = loopback.cohere
    monkeypatch.setenv("COHERE_API_KEY", "from-environment")
    for options, key in (({"api_key": "given"}, "given"), ({}, "from-environment"), ({"api_key": ""}, "from-environment")):
        with podium.load("cohere:m", base_url=server.url, **options) as mine:
            mine.rank("q", ["a"])
        assert server.requests[-1].headers["Authorization"] == f"Bearer {key}"


def test_a_server_of_ones_own_needs_no_key(server):
    server.answer = loopback.cohere
    podium.load("cohere:m", base_url=server.url).rank("q", ["a"])
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize("key", ["with\nnewline", "schlüssel", "\x00"])
def test_a_key_that_no_header_can_hold_is_an_error_that_does_not_tell_it(key):
    with pytest.raises(MissingKey) as caught:
        podium.load("cohere:m", api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": 5}, {"base_url": "h:80"}, {"base_url": "http://h/?a=b"}, {"base_url": 5}, {"timeout": 0}, {"timeout": "3"},
        {"timeout": True}, {"retries": -1}, {"retries": 1.5}, {"max_documents": 0}, {"client": object()},
        {"async_client": httpx.Client}, {"precision": "int8"}, {"threads": 2}, {"revision": "main"},
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(InvalidInput):
        podium.load("cohere:m", **({"api_key": "k"} | options))


def test_a_provider_without_a_server_or_a_model_says_what_it_needs():
    with pytest.raises(InvalidInput, match="base_url"):
        podium.load("vllm:m")
    with pytest.raises(InvalidInput, match="cohere:<model>"):
        podium.load("cohere:", api_key="k")


SECRETS = ("secret-key", "private document", "private query")


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
    ids=lambda answer: f"{answer.status} {answer.content[:12]!r}",
)
def test_keys_and_documents_are_in_no_error_traceback_log_or_repr(server, ask, answer, caplog):
    caplog.set_level(logging.DEBUG)
    server.answer = lambda request: answer
    mine = reranker(COHERE, server)
    query, document = SECRETS[2], f"a {SECRETS[1]} here"
    with pytest.raises(ProviderError) as caught:
        ask(mine, query, [document])
    told = "".join(traceback.TracebackException.from_exception(caught.value).format())
    told += repr(caught.value) + repr(mine) + repr(mine.scorer) + repr(vars(mine.scorer)) + caplog.text
    assert not [secret for secret in (*SECRETS, "PRIVATE") if secret in told]
    ours = str(Path(podium.__file__).parent)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__) if frame.f_code.co_filename.startswith(ours)]
    assert frames
    shown = repr([frame.f_locals for frame in frames])
    assert SECRETS[0] not in shown, "the key is in a local variable that a debugger shows"


def test_messages_that_repeat_nothing_are_kept(server):
    server.answer = lambda request: as_json({"message": "the model is overloaded right now"}, 400)
    with pytest.raises(RequestRejected, match="overloaded right now"):
        reranker(COHERE, server).rerank("zebra", ["giraffe"])
