"""HostedScorer: its options, its identity in a cache, and work that must not be done on the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import httpx
import pytest

import loopback
import podium
from contracts import COHERE
from fakes import MemoryStore
from loopback import Loopback, as_json
from podium.compose.cached import CachedScorer
from podium.errors import InvalidInput, RequestRejected
from podium.hosted.providers import PROVIDERS
from podium.hosted.scorer import HostedScorer


def server_with_score(score: float) -> Loopback:
    """Return a server that replies with this score for one text, in the format of the request: TEI's or Cohere's."""
    results = [{"index": 0, "score": score, "relevance_score": score}]
    return Loopback(lambda request: as_json(results if "texts" in request.json else {"results": results}))


@pytest.mark.parametrize(("provider", "model"), [("tei", ""), ("vllm", "m"), ("cohere", "m")])
def test_cached_scores_of_one_server_are_not_used_for_another(provider, model):
    store = MemoryStore()

    def cached_score(url: str) -> tuple[float, int]:
        """Return the score of a text, and how many scores were in the store: 0 or 1."""
        scores = CachedScorer(HostedScorer(provider, model, base_url=url), store).score("q", ["a"])
        return scores.values[0], scores.remembered

    with server_with_score(0.25) as server, server_with_score(0.75) as other_server:
        assert cached_score(server.url) == (0.25, 0)
        assert cached_score(other_server.url) == (0.75, 0)
        assert cached_score(server.url) == (0.25, 1)


@pytest.mark.parametrize("row", [row for row in PROVIDERS if row.url], ids=lambda row: row.name)
def test_identity_of_a_public_server_begins_with_its_address(row):
    scorer = HostedScorer(row.name, "m", api_key="k")
    assert scorer.identity.startswith(f"{row.url}/")
    assert HostedScorer(row.name, "m", api_key="other", base_url=f"{row.url}/").identity == scorer.identity


def test_identity_has_no_login():
    scorer = HostedScorer("vllm", "m", base_url="http://user:password@127.0.0.1:9/api")
    assert scorer.identity == "http://127.0.0.1:9/api/rerank"


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": 5},
        {"base_url": "h:80"},
        {"base_url": "http://h/?a=b"},
        {"base_url": 5},
        {"base_url": "http://[::1"},
        {"base_url": "http://[zz]/"},
        {"base_url": "http://h:port"},
        {"base_url": "http:///v1"},
        {"base_url": "http://user:pass/word@h"},
        {"timeout": 0},
        {"timeout": "3"},
        {"timeout": True},
        {"retries": -1},
        {"retries": 1.5},
        {"max_documents": 0},
        {"client": object()},
        {"async_client": httpx.Client},
        {"precision": "int8"},
        {"threads": 2},
        {"revision": "main"},
    ],
    ids=lambda options: "{}={}".format(*next(iter(options.items()))).partition(" object at")[0],
)
def test_invalid_option_is_refused_by_name(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        podium.load("cohere:m", **({"api_key": "k"} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 2e6}, "timeout must be a number of seconds between 0 and 1,000,000, not 2000000.0"),
        ({"retries": 2.5}, "retries must be a whole number, 0 or more, not 2.5"),
    ],
    ids=["timeout", "retries"],
)
def test_message_about_a_number_says_which_are_valid(options, message):
    with pytest.raises(InvalidInput, match=message):
        podium.load("cohere:m", api_key="k", **options)


@pytest.mark.parametrize("url", ["h:80", "http://h/?a=b", "http://h:port"])
def test_invalid_url_in_the_environment_is_refused_by_the_name_of_the_variable(monkeypatch, url):
    monkeypatch.setenv("COHERE_BASE_URL", url)
    with pytest.raises(InvalidInput, match=r"^the environment variable COHERE_BASE_URL (must|is not)"):
        podium.load("cohere:m", api_key="k")


class ThreadRecordingTexts(Sequence[str]):
    """Texts that record which threads read them."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return self.texts[index]


class ThreadRecordingText(str):
    """A text that records which threads call `lower`. podium calls it to compare the text with an error message."""

    threads: ClassVar[set[str]] = set()

    def lower(self) -> str:
        self.threads.add(threading.current_thread().name)
        return super().lower()


class ThreadRecordingUnits(Mapping[str, str]):
    """The attribute `billed` of a Provider. It records which threads iterate over it. podium does that to read a reply."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def __getitem__(self, key: str) -> str:
        return key

    def __iter__(self) -> Iterator[str]:
        self.threads.add(threading.current_thread().name)
        return iter(["meta.units"])

    def __len__(self) -> int:
        return 1


def test_event_loop_neither_writes_requests_nor_reads_replies(server):
    server.answer = loopback.cohere
    scorer = COHERE.load(server.url).scorer
    texts = ThreadRecordingTexts(["a", "b"])
    units = ThreadRecordingUnits()
    scorer.provider = dataclasses.replace(scorer.provider, billed=units)
    asyncio.run(scorer.ascore("q", texts))
    assert texts.threads
    assert units.threads
    assert threading.current_thread().name not in texts.threads | units.threads


def test_event_loop_does_not_compare_errors_with_documents(server):
    server.answer = lambda request: as_json({"message": "the model is overloaded"}, 400)
    with pytest.raises(RequestRejected, match="overloaded"):
        asyncio.run(COHERE.load(server.url).scorer.ascore("zebra", [ThreadRecordingText("giraffe")]))
    assert ThreadRecordingText.threads
    assert threading.current_thread().name not in ThreadRecordingText.threads
