"""Hosted rerankers against servers that waste memory, time, connections or secrets."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import logging
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import httpx
import pytest

import loopback
import podium
from contracts import CONTRACTS, QUERY, TEXTS
from loopback import Answer, Loopback, as_json, wait_until
from podium.errors import BadResponse, DeadlineExceeded, InvalidInput, KeyRejected, RequestRejected

COHERE = CONTRACTS[0]
REPLY = json.dumps(COHERE.reply).encode()
KEY = "sk-verysecret0123456789abcdefghijk5678"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(lambda request: as_json({})) as loop:
        yield loop


def reranker(server: Loopback, **options: Any) -> podium.Reranker:
    return podium.load("cohere:m", base_url=server.url, **({"api_key": "k", "timeout": 20.0, "retries": 0} | options))


@pytest.fixture(params=["sync", "async"])
def rerank(request: pytest.FixtureRequest) -> Callable[[podium.Reranker], podium.Ranking]:
    if request.param == "sync":
        return lambda mine: mine.rerank(QUERY, TEXTS)
    return lambda mine: asyncio.run(mine.arerank(QUERY, TEXTS))


# ---- memory


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(megabytes)), packer.flush()])


MEMORY_SCRIPT = """
import asyncio, resource, sys, podium
url, how = sys.argv[1:]
mine = podium.load("cohere:m", base_url=url, api_key="k", retries=0, timeout=60)
call = (lambda: mine.rank("q", ["a"])) if how == "sync" else (lambda: asyncio.run(mine.arank("q", ["a"])))
call()  # loads what any call needs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    call()
    print("answered", end=" ")
except podium.PodiumError as error:
    print(type(error).__name__, end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_compressed_reply_takes_no_more_memory_than_the_bound(server, how, layers):
    content = zeros(400)
    for _ in range(layers - 1):
        content = gzip.compress(content)
    bomb = Answer(200, content, {"Content-Encoding": ", ".join(["gzip"] * layers)})
    answers = iter([as_json({"results": [{"index": 0, "relevance_score": 0.5}]}), bomb])
    server.answer = lambda request: next(answers)
    script = [sys.executable, "-c", MEMORY_SCRIPT, server.url, how]
    outcome, kilobytes = subprocess.run(script, capture_output=True, check=True, text=True, timeout=300).stdout.split()
    assert outcome == "BadResponse"
    assert int(kilobytes) < 180_000, "64 MB of content, once more while it is copied, and some room"


def test_no_compression_is_asked_for_and_one_gzip_is_read(server, rerank):
    server.answer = lambda request: Answer(200, gzip.compress(REPLY), {"Content-Encoding": "gzip"})
    assert [result.index for result in rerank(reranker(server))] == [1, 2, 0]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("encoding", "content", "message"),
    [
        ("br", REPLY, "content encoding 'br'"),
        ("gzip, gzip", gzip.compress(gzip.compress(REPLY)), "content encoding"),
        ("gzip", REPLY, "damaged gzip"),
        ("gzip", gzip.compress(REPLY)[:-10], "is incomplete"),
    ],
)
def test_other_encodings_are_refused(server, rerank, encoding, content, message):
    server.answer = lambda request: Answer(200, content, {"Content-Encoding": encoding})
    with pytest.raises(BadResponse, match=message):
        rerank(reranker(server))


@pytest.mark.parametrize("value", ["{}", "0", "[]"])
def test_reply_of_far_more_values_than_documents_is_not_parsed(server, rerank, value):
    content = f'{{"results": [{",".join([value] * 500_000)}]}}'.encode()
    server.answer = lambda request: Answer(200, content)
    with pytest.raises(BadResponse, match="more values than 3 documents explain"):
        rerank(reranker(server))


@pytest.mark.parametrize("count", [-1, 1e300, 10**300, True])
def test_number_of_tokens_that_cannot_be_is_left_out(server, rerank, count):
    server.answer = lambda request: as_json(COHERE.reply | {"meta": {"billed_units": {"search_units": count}}})
    assert rerank(reranker(server)).usage.billed == {}


def test_error_status_counts_although_its_body_cannot_be_decoded(server, rerank):
    server.answer = lambda request: Answer(401, b"no gzip", {"Content-Encoding": "gzip"})
    with pytest.raises(KeyRejected):
        rerank(reranker(server))


# ---- connections


def request_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "podium-request"]


def test_connections_of_calls_that_were_given_up_are_closed(server):
    """More calls than there are connections: the head of each reply takes minutes, and none is waited for."""
    slow = Answer(200, b"{}", {"X-Padding": "x" * 3000}, drip_headers=0.1)
    with reranker(server, timeout=0.5, max_documents=1) as mine:
        for _ in range(14):
            server.answer = lambda request: slow
            with pytest.raises(DeadlineExceeded):
                mine.rerank("q", list("abcdefgh"))
        wait_until(lambda: not request_threads(), seconds=60)
        assert server.finished == 0, "the server was still sending all of them"
    with reranker(server, max_documents=1) as mine:
        server.answer = loopback.cohere
        assert len(mine.rerank("q", list("abcdefgh"))) == 8


def test_reranker_works_again_when_its_server_does(server):
    answers: list[Callable[[Any], Answer]] = [lambda request: Answer(200, b"{}", {"X": "x" * 3000}, drip_headers=0.1)]
    server.answer = lambda request: answers[-1](request)
    with reranker(server, timeout=1.0, max_documents=1) as mine:
        for _ in range(14):
            with pytest.raises(DeadlineExceeded):
                mine.scorer.score("q", list("abcdefgh"))
        answers.append(loopback.cohere)

        def works() -> bool:
            try:
                return len(mine.rerank("q", ["a"])) == 1
            except DeadlineExceeded:  # a busy machine may need more than a second
                return False

        wait_until(works, seconds=60)
        assert server.finished, "it was answered while the others were still being sent"


def test_connections_are_reused(server):
    server.answer = loopback.cohere
    with reranker(server) as mine:
        for _ in range(5):
            mine.rank("q", ["a"])
    assert len(server.connections) == 1


def test_call_that_is_under_way_survives_a_close(server):
    arrived, may_answer = threading.Event(), threading.Event()

    def answer(request: Any) -> Answer:
        arrived.set()
        may_answer.wait(60)
        return loopback.cohere(request)

    server.answer = answer
    mine, rankings = reranker(server), []
    thread = threading.Thread(target=lambda: rankings.append(mine.rerank("q", ["a"])))
    thread.start()
    assert arrived.wait(60)
    mine.close()
    may_answer.set()
    thread.join(60)
    assert len(rankings) == 1


# ---- the event loop


class Watched(Sequence[str]):
    """Texts that remember which threads read them."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.threads = texts, set[str]()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return self.texts[index]


class Lowered(str):
    """A text that remembers which threads turned it into lower case, as comparing it with an error message does."""

    threads: ClassVar[set[str]] = set()

    def lower(self) -> str:
        self.threads.add(threading.current_thread().name)
        return super().lower()


class Billed(Mapping[str, str]):
    """Names of billed units that remember which threads read a reply by them."""

    def __init__(self) -> None:
        self.threads = set[str]()

    def __getitem__(self, key: str) -> str:
        return key

    def __iter__(self) -> Iterator[str]:
        self.threads.add(threading.current_thread().name)
        return iter(["meta.units"])

    def __len__(self) -> int:
        return 1


def test_requests_are_written_and_replies_read_outside_the_event_loop(server):
    server.answer = loopback.cohere
    scorer = reranker(server).scorer
    texts, billed = Watched(["a", "b"]), Billed()
    scorer.provider = dataclasses.replace(scorer.provider, billed=billed)
    loop_thread = threading.current_thread().name
    asyncio.run(scorer.ascore("q", texts))
    assert texts.threads
    assert billed.threads
    assert loop_thread not in texts.threads | billed.threads


def test_errors_are_compared_with_documents_outside_the_event_loop(server):
    server.answer = lambda request: as_json({"message": "the model is overloaded"}, 400)
    with pytest.raises(RequestRejected, match="overloaded"):
        asyncio.run(reranker(server).scorer.ascore("zebra", [Lowered("giraffe")]))
    assert Lowered.threads
    assert threading.current_thread().name not in Lowered.threads


def test_large_reply_is_read_as_a_small_one(server):
    reply = json.dumps(COHERE.reply | {"padding": ['ä \\ "' * 10, None, True, -1.5e3, {}] * 15_000}).encode()
    assert len(reply) > 1 << 20
    server.answer = lambda request: Answer(200, reply)
    assert [result.index for result in reranker(server).rerank(QUERY, TEXTS)] == [1, 2, 0]
    for damaged in (reply[:-1], b"[" * (2 << 20), b"\xff" * (2 << 20)):
        server.answer = lambda request, damaged=damaged: Answer(200, damaged)
        with pytest.raises(BadResponse):
            reranker(server).rerank(QUERY, TEXTS)


# ---- secrets


@pytest.mark.parametrize(
    "message",
    [
        f"bad key {KEY[:11]}...{KEY[-4:]}",
        "bad key ending in 5678",
        "bad key " + " ".join(KEY),
        "bad key " + KEY.upper(),
        f"bad key {KEY[12:20]}",
    ],
)
def test_parts_of_a_key_are_not_quoted(server, rerank, message):
    server.answer = lambda request: as_json({"message": message}, 401)
    with pytest.raises(KeyRejected) as caught:
        rerank(reranker(server, api_key=KEY))
    assert "bad key" not in str(caught.value)


def test_message_that_shares_only_the_key_prefix_is_quoted(server):
    server.answer = lambda request: as_json({"message": "jina has no model of this name"}, 404)
    with pytest.raises(RequestRejected, match="jina has no model of this name"):
        reranker(server, api_key="jina_0123456789abcdef").rerank(QUERY, TEXTS)


def test_login_in_base_url_is_sent_and_never_shown(server, rerank, caplog):
    caplog.set_level(logging.DEBUG)
    server.answer = lambda request: Answer(200, REPLY)
    url = server.url.replace("http://", "http://us%40er:pass-word@")
    with podium.load("cohere:m", base_url=url, api_key="k") as mine:
        assert len(rerank(mine)) == 3
        shown = caplog.text + repr(mine) + repr(vars(mine.scorer))
    assert httpx.BasicAuth("us@er", "pass-word")._auth_header == server.requests[0].headers["Authorization"]
    assert "HTTP Request: POST" in caplog.text
    assert "pass-word" not in shown
    assert "us%40er" not in shown
    server.answer = lambda request: as_json({"message": "pass-word is wrong"}, 401)
    with pytest.raises(KeyRejected) as caught:
        podium.load("cohere:m", base_url=url, api_key="k", retries=0).rerank(QUERY, TEXTS)
    assert "pass-word" not in str(caught.value)


# ---- the environment


@pytest.mark.parametrize(
    ("variable", "value"), [("HTTP_PROXY", "nonsense://user:hidden@h"), ("SSL_CERT_FILE", "/does/not/exist")]
)
def test_environment_that_no_client_can_use_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput, match=variable) as caught:
        podium.load("cohere:m", api_key="k")
    assert "hidden" not in str(caught.value)
