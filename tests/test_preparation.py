"""Documents of asynchronous calls: small calls do not wait for large ones, and errors are those of blocking calls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import podium
from fakes import AsyncWordOverlap
from podium.errors import InvalidInput
from podium.preparation import MAX_TIME, STEP_TIME, reading_time

RECORD = {"text": {"a": 1}}
LARGE_RECORD = {"text": {str(number): number for number in range(400)}}


class BlockingDocument:
    """A document whose text cannot be read before `release` is set. `begun` is set when a thread begins to read the text."""

    def __init__(self):
        self.begun = threading.Event()
        self.release = threading.Event()

    @property
    def page_content(self):
        self.begun.set()
        self.release.wait(60)
        return "a"


async def wait_for_event(event):
    while not event.is_set():
        await asyncio.sleep(0.005)


@pytest.fixture
def reranker():
    with podium.Reranker(AsyncWordOverlap()) as reranker:
        yield reranker


def test_short_strings_do_not_wait_for_other_calls(reranker):
    """The event loop's executor has one thread, as if all its threads were reading large documents."""

    async def small_ranking():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        document = BlockingDocument()
        large_call = asyncio.ensure_future(reranker.arerank("a", [document]))
        try:
            await wait_for_event(document.begun)
            return await asyncio.wait_for(reranker.arerank("red", ["the sea", "red"]), 30)
        finally:
            document.release.set()
            await large_call

    assert [result.index for result in asyncio.run(small_ranking())] == [1, 0]


def test_small_call_ends_before_a_large_one_that_began_first(reranker):
    finished_calls = []

    async def rank(name, documents):
        await reranker.arerank("a", documents)
        finished_calls.append(name)

    async def rank_both():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        document = BlockingDocument()
        large_call = asyncio.ensure_future(rank("large", [document, *[LARGE_RECORD] * 250]))
        await wait_for_event(document.begun)
        small_call = asyncio.ensure_future(rank("small", [RECORD] * 100))
        await asyncio.sleep(0)
        document.release.set()
        await asyncio.gather(large_call, small_call)

    asyncio.run(rank_both())
    assert finished_calls == ["small", "large"]


def test_error_is_that_of_the_first_invalid_document(reranker):
    documents = [*[RECORD] * 3000, {"title": "a"}, *[RECORD] * 3000, {"body": "b"}]
    for rank in (reranker.rerank, lambda query, docs: asyncio.run(reranker.arerank(query, docs))):
        with pytest.raises(InvalidInput, match="document 3000 has none of the fields"):
            rank("a", documents)


class Document:
    page_content = "a"


def test_refused_documents_are_released_at_once(reranker):
    """If the error and the work referred to each other, the documents would stay in memory until garbage is collected."""

    async def is_released():
        document = Document()
        reference = weakref.ref(document)
        with contextlib.suppress(InvalidInput):
            await reranker.arerank("a", [document, {"title": "a"}])
        del document
        for _ in range(1000):  # the thread that read the documents ends its step
            if reference() is None:
                return True
            await asyncio.sleep(0.005)
        return False

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(is_released())
    finally:
        gc.enable()


def test_field_that_only_a_later_document_has_is_known(reranker):
    documents = [*[{"title": {"a": 1}}] * 1000, {"body": "red"}]
    ranking = asyncio.run(reranker.arerank("red", documents, rank_by=["title", "body"]))
    assert ranking[0].index == 1000
    with pytest.raises(InvalidInput, match="which no document has"):
        asyncio.run(reranker.arerank("red", documents, rank_by=["title", "body", "year"]))


def document_in_itself():
    document = {}
    document["text"] = [document, document]
    return document


@pytest.mark.parametrize(
    ("documents", "is_short"),
    [
        (["a red apple"] * 100, True),
        (["a" * 10_000] * 10, True),
        ([{"title": "a", "text": "b"}] * 20, True),
        ([" " * 10_000], False),
        (["\ud83d" * 10_000], False),
        ([{"text": {str(number): number for number in range(20)}}] * 10, False),
        (["a"] * 2000, False),
        ([BlockingDocument()], False),
        ([document_in_itself()], False),
    ],
    ids=["strings", "long strings", "records", "space", "surrogates", "nested", "many", "object", "in itself"],
)
def test_only_short_documents_are_read_on_the_event_loop(documents, is_short):
    assert (reading_time(documents, STEP_TIME) < STEP_TIME) == is_short
    assert 0 < reading_time(documents, MAX_TIME) <= MAX_TIME


def test_lists_that_contain_each_other_take_little_memory():
    cyclic: list[object] = []
    cyclic.extend([cyclic] * 1_000)
    tracemalloc.start()
    assert reading_time([{"text": cyclic}], 10_000) == 10_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1_000_000
