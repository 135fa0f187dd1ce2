"""HybridSource, whose searches are generators of steps, with and without an event loop. Fusion of rankings."""

from __future__ import annotations

import asyncio

import pytest

from podium.errors import InvalidInput
from podium.sources.fusion import Hit, fuse, fused_hits
from podium.sources.hybrid import HybridSource, Page, SearchRequest
from podium.sources.stages import stage_size_for
from podium.steps import adrive, drive, immediate, result_of

TEXT = [Hit("a", 8.0, "A"), Hit("b", 4.0, "B")]
NEAREST = [Hit("b", 0.9), Hit("c", 0.5)]


class RemoteSource(HybridSource[SearchRequest]):
    """A source whose server answers the commands "text" and "vector" with hits, and a key with its document.

    `sent` are the commands so far.
    """

    text_fields = None

    def __init__(self, *, embed=len, mode=None, fusion="rrf"):
        self.sent = []
        super().__init__(embed=embed, mode=mode, fusion=fusion, text_weight=0.3)

    def search(self, query, limit, *, offset=0, mode=None):
        return drive(self.candidates(self.request(query, limit, offset, mode)), self.answer)

    async def asearch(self, query, limit, *, offset=0, mode=None):
        async def answer(command):
            await asyncio.sleep(0)
            return self.answer(command)

        return await adrive(self.candidates(self.request(query, limit, offset, mode)), answer)

    def request(self, query, limit, offset, mode):
        return SearchRequest(query=query, mode=self.checked_mode(mode or self.mode), offset=offset, count=limit)

    def answer(self, command):
        self.sent.append(command)
        return {"text": TEXT, "vector": NEAREST}.get(command, {"name": command})

    def text_hits(self, request, offset, count):
        hits = yield "text"
        return Page(hits[offset : offset + count], 2)

    def vector_hits(self, request, offset, count):
        hits = yield "vector"
        return Page(hits[offset : offset + count], 3)

    def hit_documents(self, request, hits):
        documents = []
        for hit in hits:
            documents.append((f"key:{hit.key}", (yield hit.key)))
        return documents

    def describe_text(self):
        return "words"

    def describe_vector(self):
        return "vectors"

    def document_id(self, source_key):
        return source_key.removeprefix("key:")

    def notes(self, request):
        return [f"searched for {request.query}"]


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])
def test_documents_get_key_score_and_rank(is_async):
    source = RemoteSource(mode="text")
    documents = asyncio.run(source.asearch("q", 1, offset=1)) if is_async else source.search("q", 1, offset=1)
    assert list(documents) == [{"name": "b", "source_key": "key:b", "source_score": 4.0, "source_rank": 2}]
    assert (documents.total, documents.notes) == (2, ("searched for q",))
    assert source.document_id(documents[0]["source_key"]) == "b"


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [pytest.param("rrf", ["b", "a", "c"], id="rrf"), pytest.param("weighted", ["b", "c", "a"], id="weighted")],
)
def test_hybrid_search_fuses_both_rankings(fusion, expected):
    source = RemoteSource(fusion=fusion)
    documents = source.search("q", 9)
    assert [document["name"] for document in documents] == expected
    assert documents.total == 3
    assert source.sent == ["text", "vector", *expected]
    assert [document["name"] for document in source.search("q", 1, offset=2)] == expected[2:]


def test_mode_can_differ_between_searches():
    source = RemoteSource()
    assert source.mode == "hybrid"
    assert [document["name"] for document in source.search("q", 9, mode="vector")] == ["b", "c"]
    assert [document["name"] for document in source.search("q", 9, mode="text")] == ["a", "b"]


def test_invalid_modes_are_refused():
    with pytest.raises(InvalidInput, match="mode must be text, vector or hybrid, not 'fuzzy'"):
        RemoteSource(mode="fuzzy")
    with pytest.raises(InvalidInput, match=r"mode='vector' needs vectors of queries; pass an embedder as embed="):
        RemoteSource(embed=None).search("q", 1, mode="vector")
    assert RemoteSource(embed=None).mode == "text"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "text"}, "words"),
        ({"mode": "vector"}, "vectors"),
        ({"mode": "hybrid"}, "words; vectors; fused by reciprocal rank"),
        ({"mode": "hybrid", "fusion": "weighted"}, "words; vectors; fused by a weighted sum, text 0.3"),
    ],
    ids=["text", "vector", "rrf", "weighted"],
)
def test_explain_describes_the_mode(options, expected):
    assert RemoteSource(**options).explain() == expected


def test_fuse_returns_hits_with_fused_scores():
    """For "weighted", the scores of each ranking are first divided by the best: b has 0.3 × 4 / 8 + 0.7 × 0.9."""
    assert fuse("weighted", TEXT, NEAREST, 0.3) == [
        Hit("b", pytest.approx(0.78), "B"),
        Hit("c", pytest.approx(0.35)),
        Hit("a", 0.3, "A"),
    ]
    assert fuse("rrf", TEXT, NEAREST, 0.3)[1:] == [Hit("a", 1 / 61, "A"), Hit("c", 1 / 62)]
    assert fuse("weighted", [], [], 0.3) == []
    assert fuse("weighted", [Hit("a", 0.0)], [], 0.3) == [Hit("a", 0.0)]


def test_result_of_raises_the_error_of_an_immediate_function():
    @immediate
    def fail():
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        result_of(fail())


def test_result_of_refuses_a_generator_with_steps():
    with pytest.raises(TypeError, match="has steps"):
        result_of(RemoteSource().text_hits(None, 0, 1))


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_pages_are_parts_of_one_ranking(fusion):
    text_hits = [Hit(number, 1000.0 - i) for i, number in enumerate(range(0, 600, 2))]
    vector_hits = [Hit(number * 7 % 600, 1 - number / 600) for number in range(600)]  # all keys, in another order

    def page(offset, count):
        depth = stage_size_for(offset + count)
        return fused_hits(fusion, text_hits[:depth], vector_hits[:depth], 0.3)[offset : offset + count]

    keys = [hit.key for offset in range(0, 600, 20) for hit in page(offset, 20)]
    assert sorted(keys) == list(range(600))
    assert page(0, 100) == fuse(fusion, text_hits[:100], vector_hits[:100], 0.3)[:100]
    assert [hit.key for hit in page(70, 230)] == keys[70:300]
