"""EmbeddedIndex.search: modes, queries, fields, languages and pages."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from capitals import CAPITALS, IDS, index_of_capitals, source_keys
from environment import SHARED
from fakes import Letters
from podium.documents import texts_of
from podium.errors import InvalidInput
from podium.sources.embedded.index import LANGUAGES

DATA = SHARED / "data"
MODES = ("text", "vector", "hybrid")


@pytest.fixture(params=["memory", "folder"])
def index(request, tmp_path):
    return index_of_capitals(None if request.param == "memory" else tmp_path / "index")


@pytest.mark.parametrize("mode", MODES)
def test_search_returns_complete_documents_best_first(index, mode):
    documents = index.search("the capital cities", 3, mode=mode)
    scores = [document["source_score"] for document in documents]
    assert scores == sorted(scores, reverse=True)
    assert [document["source_rank"] for document in documents] == list(range(1, len(documents) + 1))
    for document in documents:
        added = CAPITALS[IDS.index(document["source_key"])]
        assert {name: value for name, value in document.items() if not name.startswith("source_")} == added


def test_only_documents_with_a_word_of_the_query_match_by_text(index):
    assert source_keys(index.search("the capital cities", 3, mode="text"))[0] == "n"
    assert len(index.search("anything", 10, mode="vector")) == 4


def test_source_score_of_vector_search_is_cosine(index):
    embed = Letters()
    query = embed(["capital"])[0]
    for document in index.search("capital", 4, mode="vector"):
        vector = embed([document["text"]])[0]
        cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        assert document["source_score"] == pytest.approx(cosine, abs=1e-5)


def test_rows_of_replaced_documents_do_not_hide_current_ones(index):
    for _ in range(30):
        index.add(CAPITALS, ids=IDS)
    assert sorted(source_keys(index.search("capital", 4, mode="vector"))) == sorted(IDS)
    assert index.delete(["n", "s"]) == 2
    assert len(index.search("capital", 1, mode="vector")) == 1
    assert sorted(source_keys(index.search("capital", 9, mode="vector"))) == ["b", "c"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("capital", {"n", "s"}, id="word"),
        pytest.param('"capital" AND -nevada:* (title:x', {"n", "s"}, id="operators"),
        pytest.param("the of is and", set(), id="stop-words"),
        pytest.param("!!! ☃", set(), id="punctuation"),
        pytest.param("東京", {"b"}, id="japanese"),
        pytest.param("\x00 \n capital", {"n", "s"}, id="control-characters"),
        pytest.param("capital " * 10_000, {"n", "s"}, id="repeated-word"),
        pytest.param("x" * 100_000, set(), id="long-word"),
        pytest.param(" ".join(f"word{i}" for i in range(10_000)) + " flour", {"b"}, id="many-words"),
    ],
)
def test_any_text_is_a_query(index, query, expected):
    assert set(source_keys(index.search(query, 5, mode="text"))) == expected
    assert len(index.search(query, 2)) == 2


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1))
def test_any_text_can_be_added_and_searched(text):
    index = podium.EmbeddedIndex.create(None)
    index.add([text, "x"])
    if texts_of([text])[0] is None:
        with pytest.raises(InvalidInput, match="query is empty"):
            index.search(text, 9)
    else:
        assert len(index.search(text, 9)) <= 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, {"n", "s"}, id="own-text"),
        pytest.param("text", {"n", "s"}, id="one-field"),
        pytest.param(["title", "text"], {"n", "s", "c"}, id="two-fields"),
    ],
)
def test_search_covers_the_fields_of_the_index(text, expected):
    index = podium.EmbeddedIndex.create(None, text=text)
    index.add(CAPITALS, ids=IDS)
    assert set(source_keys(index.search("capital", 9))) == expected


def test_weight_of_a_field_multiplies_its_score():
    index = podium.EmbeddedIndex.create(None, text={"title": 9, "text": 1})
    index.add(CAPITALS, ids=IDS)
    assert source_keys(index.search("capital", 9))[0] == "c"
    assert index.text_fields == ["title", "text"]
    assert "title × 9" in index.explain()


def test_document_needs_one_of_the_text_fields():
    index = podium.EmbeddedIndex.create(None, text=["title", "text"])
    with pytest.raises(InvalidInput, match="document 1 has no field"):
        index.add([{"title": "x"}, {"body": "y"}])
    assert len(index) == 0
    index.add([{"title": "only a title"}], ids=["t"])
    assert source_keys(index.search("title", 9)) == ["t"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_has_a_stemmer_and_stop_words(language):
    index = podium.EmbeddedIndex.create(None, language=language)
    index.add(["x"])
    assert source_keys(index.search("x", 1))


def test_without_a_language_words_match_exactly():
    index = podium.EmbeddedIndex.create(None, language=None)
    index.add(["the cities"])
    assert index.search("city", 1) == []
    assert index.search("the", 1)


def test_unknown_language_is_refused():
    with pytest.raises(InvalidInput, match="no stemmer for 'klingon'"):
        podium.EmbeddedIndex.create(None, language="klingon")


def test_repeated_words_of_a_query_count_and_cost_little():
    """A repeated word is one clause of the query. A clause for each repetition would take memory."""
    index = podium.EmbeddedIndex.create(None)
    index.add(["a red apple", "the sea", "a red red sea"])
    scores = [hit["source_score"] for hit in index.search("red", 3)]
    scores_for_two_words = [hit["source_score"] for hit in index.search("red red", 3)]
    assert scores_for_two_words == [pytest.approx(2 * score) for score in scores]
    best = index.search("red " * 100_000 + "apple", 3)[0]
    assert best["source_score"] == pytest.approx(100_000 * scores[0], rel=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_pages_are_parts_of_the_complete_ranking(index, mode):
    query = "capital of the United States"
    ranking = index.search(query, None, mode=mode)
    pages = [index.search(query, 1, offset=offset, mode=mode) for offset in range(len(ranking))]
    assert [document for page in pages for document in page] == list(ranking)
    assert {page.total for page in pages} == {len(ranking)}
    assert index.search(query, 5, offset=9, mode=mode) == []


def test_negative_offset_is_refused(index):
    with pytest.raises(InvalidInput, match="offset must be a whole number from 0"):
        index.search("capital", 5, offset=-1)


LATE_PAGE = """
import sys, podium
from pathlib import Path

def embed(texts):
    return [[float(len(text)), 1.0] for text in texts]

def peak_kilobytes():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

index = podium.EmbeddedIndex.open(sys.argv[1], embed=embed)
index.search("apple", 10, mode=sys.argv[2])
before = peak_kilobytes()
assert len(index.search("apple", 10, offset=9_000, mode=sys.argv[2])) == 10
print(peak_kilobytes() - before)
"""


@pytest.fixture(scope="module")
def large_documents(tmp_path_factory):
    """The folder of an index of 10,000 documents. In memory, the documents would take 80 MB."""
    folder = tmp_path_factory.mktemp("large") / "index"
    index = podium.EmbeddedIndex.create(folder, embed=lambda texts: [[float(len(text)), 1.0] for text in texts])
    index.add({"text": f"apple {n}", "body": f"{n:08}" * 1000} for n in range(10_000))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mode", MODES)
def test_late_page_loads_only_its_own_documents(large_documents, mode):
    script = [sys.executable, "-c", LATE_PAGE, str(large_documents), mode]
    process = subprocess.run(script, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 40_000


@pytest.mark.skipif(not DATA.exists(), reason="the test collections are not beside this repository")
@pytest.mark.parametrize(("collection", "published_ndcg"), [("scifact", 0.665), ("nfcorpus-preprocessed", 0.31)])
def test_bm25_is_as_good_as_published_on_test_collections(collection, published_ndcg):
    with gzip.open(DATA / collection / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    grades = {}
    for line in (DATA / collection / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, document_id, grade = line.split("\t")
        grades.setdefault(query_id, {})[document_id] = int(float(grade))
    index = podium.EmbeddedIndex.create(None, text=["title", "text"])
    index.add(documents, ids=[document["_id"] for document in documents])
    ndcgs = []
    for line in (DATA / collection / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        query = json.loads(line)
        ideal = sorted(grades.get(query["_id"], {}).values(), reverse=True)
        if any(ideal):
            gains = [grades[query["_id"]].get(key, 0) for key in source_keys(index.search(query["text"], 10))]
            ndcgs.append(_dcg(gains) / _dcg(ideal))
    assert np.mean(ndcgs) >= published_ndcg


def _dcg(gains):
    """Return the discounted cumulative gain of the first ten results."""
    return sum(gain / np.log2(i + 2) for i, gain in enumerate(gains[:10]))


@pytest.mark.parametrize("error", [SystemExit("no key"), KeyboardInterrupt()], ids=repr)
def test_async_embedder_that_ends_the_program_does_not_block_later_calls(error):
    is_failing = False

    async def embed(texts):
        if is_failing:
            raise error
        return [[float(len(text)), 1.0] for text in texts]

    index = podium.EmbeddedIndex.create(None, embed=embed)
    index.add(["apple", "a pear"])
    is_failing = True
    with pytest.raises(type(error)):
        index.search("apple", 2)
    is_failing = False
    assert len(index.search("apple", 2)) == 2
