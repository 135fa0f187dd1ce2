"""The endpoint /search."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import podium
from loopback import wait_until
from podium.local.cpu import cores
from podium.server.dialects.call import Refusal
from podium.server.http.admission import Admission
from podium.server.settings import Settings
from podium.server.threads import ThreadPool
from podium.sources.memory import is_limited, limited_by
from redisearch import TEXT_INFO, answering, source_at
from resp import FakeRedis
from serving import REQUEST, ServerProcess, ServerThread, rerankers


@pytest.fixture(scope="module")
def server_with_index():
    index = podium.EmbeddedIndex.create(None)
    index.add(["a green apple", "the red sea at night", "a ripe red apple"])
    with ServerThread(rerankers=rerankers(), source=index) as server:
        yield server


def test_search_returns_the_best_documents(server_with_index):
    documents = server_with_index.post("/search", {"query": "red apple", "candidates": 2}).json()["documents"]
    expected = [("a ripe red apple", 1), ("a green apple", 2)]
    assert [(document["text"], document["source_rank"]) for document in documents] == expected
    assert server_with_index.client.get("/v1/models").json()["search"] is True


def test_search_continues_after_the_offset(server_with_index):
    pages = [
        server_with_index.post("/search", {"query": "red apple", "candidates": 1, "offset": offset}).json() for offset in (0, 1)
    ]
    one_page = server_with_index.post("/search", {"query": "red apple", "candidates": 2}).json()
    assert [document for page in pages for document in page["documents"]] == one_page["documents"]
    assert [page["total"] for page in pages] == [3, 3]


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ({"query": " "}, "the query is empty"),
        ({}, "query is missing; it must be a string"),
        ({"query": "apple " * 2000}, "the query has 12,000 characters; /search accepts 10,000"),
        ({"query": "apple", "offset": 10_001}, "offset must be at most 10,000"),
        ({"query": "apple", "offset": -1}, "offset must be a whole number from 0"),
    ],
    ids=["blank query", "no query", "long query", "large offset", "negative offset"],
)
def test_invalid_search_is_400(server_with_index, request_body, message):
    reply = server_with_index.post("/search", request_body)
    assert reply.status_code == 400
    assert message in reply.json()["message"]


def test_search_without_index_is_404():
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.post("/search", {"query": "a"})
        assert reply.status_code == 404
        assert "--index" in reply.text


class BlockingEmbedder:
    """An embedder that embeds "wait" only after `release` is set.

    `running_count` calls embed "wait" at this time, and at most `max_running_count` did so at the same time.
    """

    def __init__(self) -> None:
        self.release = threading.Event()
        self.running_count = 0
        self.max_running_count = 0
        self._lock = threading.Lock()

    def __call__(self, texts):
        if "wait" in texts:
            with self._lock:
                self.running_count += 1
                self.max_running_count = max(self.max_running_count, self.running_count)
            self.release.wait(60)
            with self._lock:
                self.running_count -= 1
        return [[1.0, 2.0] for _ in texts]


def test_embedded_index_has_no_more_threads_than_processors():
    """Searches hold the GIL, so more threads would only delay the event loop and other requests."""
    embedder = BlockingEmbedder()
    index = podium.EmbeddedIndex.create(None, embed=embedder)
    index.add(["a green apple"])
    count = cores() + 8
    with ServerThread(rerankers=rerankers(), source=index) as server, ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(httpx.post, f"{server.url}/search", json={"query": "wait"}, timeout=60) for _ in range(count)]
        wait_until(lambda: server.state.admission.request_count == count and embedder.running_count >= cores())
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        embedder.release.set()
        assert [future.result().status_code for future in futures] == [200] * count
    assert embedder.max_running_count == cores()


def test_limit_on_memory_also_holds_on_threads_of_a_pool():
    async def is_limited_on_thread():
        with limited_by(lambda count: None):
            return await ThreadPool(1).run(is_limited)

    assert asyncio.run(is_limited_on_thread())


class RecordingSource:
    """A source that records how many bytes of memory the server has counted when it is searched."""

    def __init__(self) -> None:
        self.admission = None  # set by the test, because it belongs to the server
        self.used_bytes = 0

    def search(self, query, limit):
        self.used_bytes = self.admission.used_bytes
        return ["a document"] * limit


def test_memory_is_counted_before_the_search():
    """The size of a user's documents is only known when they are in memory, so memory is reserved for them before."""
    source = RecordingSource()
    with ServerThread(Settings(max_memory=1_000_000), rerankers=rerankers(), source=source) as server:
        source.admission = server.state.admission
        assert server.post("/search", {"query": "a", "candidates": 50}).status_code == 200
        assert source.used_bytes > 500_000
        assert server.post("/search", {"query": "a", "candidates": 500}).status_code == 413
        wait_until(lambda: server.state.admission.used_bytes == 0)


def test_search_that_outlives_its_request_loads_no_more_documents():
    admission = Admission(max_requests=1, max_bytes=1_000)
    with admission.request_memory() as memory:
        memory.grow(100)
    with pytest.raises(Refusal, match="the request is over"):
        memory.grow(100)
    assert admission.used_bytes == 0


def test_nan_and_infinity_are_null_in_the_reply():
    index = podium.EmbeddedIndex.create(None)
    index.add([{"text": "apple", "x": float("inf"), "y": [float("nan")]}])
    with ServerThread(rerankers=rerankers(), source=index) as server:
        [document] = server.post("/search", {"query": "apple"}).json()["documents"]
        assert (document["x"], document["y"]) == (None, [None])


class DeepSource:
    """A source that returns a document with 900 levels of lists. Another program could have stored such a document."""

    def search(self, query, limit):
        value = []
        for _ in range(900):
            value = [value]
        return [{"text": "a", "x": value, "source_key": "docs:7"}]


def test_error_names_the_document_that_is_nested_too_deeply():
    with ServerThread(rerankers=rerankers(), source=DeepSource()) as server:
        reply = server.post("/search", {"query": "apple"})
        assert reply.status_code == 503
        assert "document 'docs:7' of the index is nested too deeply" in reply.json()["message"]


def test_memory_of_the_reply_is_counted_in_addition_to_the_documents():
    """Twenty of these documents fit into the memory, but not their reply, for which every character counts as an escape."""
    index = podium.EmbeddedIndex.create(None)
    index.add([{"text": "apple", "padding": "b" * 20_000}] * 20)
    with ServerThread(Settings(max_memory=1_500_000), rerankers=rerankers(), source=index) as server:
        assert server.post("/search", {"query": "apple", "candidates": 2}).status_code == 200
        assert server.post("/search", {"query": "apple", "candidates": 20}).status_code == 413
        wait_until(lambda: server.state.admission.used_bytes == 0)


def test_large_reply_of_redis_is_413():
    hits = [part for number in range(5) for part in (f"k:{number}", "2.5", ["content", "a" * 200_000])]
    with (
        FakeRedis(answering({"FT.INFO": TEXT_INFO, "FT.SEARCH": [5, *hits]}, 2)) as fake,
        source_at(fake.url, connection={"protocol": 2}) as source,
        ServerThread(Settings(max_memory=1_500_000), rerankers=rerankers(), source=source) as server,
    ):
        reply = server.post("/search", {"query": "apple"})
        assert reply.status_code == 413
        assert "more memory" in reply.json()["message"]
        wait_until(lambda: server.state.admission.used_bytes == 0)


def test_search_reads_the_fields_of_the_option_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"title": "sourdough", "content": "bread"}\n{"title": "sea", "content": "water"}\n')
    with ServerProcess("--index", str(tmp_path / "a.jsonl"), "--text", "title,content") as server:
        reply = server.client.post("/search", json={"query": "sourdough"}).json()
        assert [document["content"] for document in reply["documents"]] == ["bread"]
        assert reply["fields"] == ["title", "content"]


def test_search_is_filtered_by_the_option_filter(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "bread", "year": 1990}\n{"content": "bread", "year": 2000}\n')
    with ServerProcess("--index", str(tmp_path / "a.jsonl"), "--filter", "@year>1995") as server:
        reply = server.client.post("/search", json={"query": "bread"}).json()
        assert [document["year"] for document in reply["documents"]] == [2000]
