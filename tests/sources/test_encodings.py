"""Encodings that are stored with the documents of an EmbeddedIndex, so that searches need not compute them."""

from __future__ import annotations

import asyncio
import os

import pytest

import podium
from fakes import FunctionScorer, LetterCounts, MemoryStore, WordOverlap
from podium.compose.cached import CachedScorer
from podium.errors import InvalidInput, SourceError
from podium.sources.encodings import KeptModel, models_from_json, models_to_json
from podium.types import Scores

DOCUMENTS = [
    {"title": "Nevada", "body": "Carson City is the capital city of Nevada.", "n": 1},
    {"title": "Capital punishment", "body": "has existed in the United States for centuries.", "n": 2},
    {"title": "Washington", "body": "D.C. is the capital of the United States.", "n": 3},
    {"body": "the capital, without a title"},
]
IDS = ["n", "p", "w", "b"]
QUERY = "the capital of the United States"


@pytest.fixture
def scorer():
    return LetterCounts()


@pytest.fixture
def reranker(scorer):
    return podium.Reranker(scorer)


@pytest.fixture(params=["folder", "memory"])
def index(request, tmp_path):
    path = tmp_path / "index" if request.param == "folder" else None
    return podium.EmbeddedIndex.create(path, text=["title", "body"])


@pytest.fixture
def folder_index(tmp_path):
    return podium.EmbeddedIndex.create(tmp_path / "index", text=["title", "body"])


def computed_count(index, scorer=None, **options) -> int:
    """Search with a reranker that has no encodings of its own, and return how many texts it encodes."""
    scorer = scorer or LetterCounts()
    ranking = podium.Search(index, podium.Reranker(scorer), **options).search(QUERY)
    assert len(ranking) > 0
    return len(scorer.computed)


class CompactingScorer(LetterCounts):
    """A scorer that tries to compact an index before it encodes texts. `errors` are the messages of failed attempts."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.errors = []

    def encode(self, texts, *, progress=None):
        try:
            podium.EmbeddedIndex.open(self.folder).compact()
        except SourceError as error:
            self.errors.append(str(error))
        return super().encode(texts, progress=progress)


def stored_bytes(folder) -> int:
    return sum(path.stat().st_size for path in (folder / "encodings").glob("*.data"))


def test_search_does_not_encode_documents_again(index, reranker, scorer):
    index.add(DOCUMENTS, ids=IDS, keep=reranker)
    assert len(scorer.computed) == 4
    assert computed_count(index) == 0


def test_scores_are_the_same_with_and_without_stored_encodings(index, reranker):
    index.add(DOCUMENTS, ids=IDS)
    computed = podium.Search(index, podium.Reranker(LetterCounts())).search(QUERY)
    index.keep(DOCUMENTS, reranker)
    stored = podium.Search(index, podium.Reranker(LetterCounts())).search(QUERY)
    assert [(result.index, result.score) for result in stored] == [(result.index, result.score) for result in computed]


def test_asearch_does_not_encode_documents_again(index, reranker):
    index.add(DOCUMENTS, keep=reranker)
    scorer = LetterCounts()
    asyncio.run(podium.Search(index, podium.Reranker(scorer)).asearch(QUERY))
    assert scorer.computed == []


def test_search_of_documents_without_encodings_computes_them(index, reranker):
    index.add(DOCUMENTS[:2], keep=reranker)
    index.add(DOCUMENTS[2:])
    assert computed_count(index) == 2


def test_search_does_not_write_to_the_index(folder_index, tmp_path):
    folder_index.add(DOCUMENTS)
    assert computed_count(folder_index) == 4
    assert not (tmp_path / "index" / "encodings").exists()


def test_search_remembers_what_it_computed(index, scorer, reranker):
    index.add(DOCUMENTS)
    search = podium.Search(index, reranker)
    search.search(QUERY)
    search.search(QUERY + " of America")
    assert len(scorer.computed) == 4


def test_documents_with_one_of_the_fields_are_encoded_as_that_field_alone(index, reranker):
    """No candidate has a title, so Search scores the body alone."""
    index.add([DOCUMENTS[3], {"body": "another capital"}], keep=reranker)
    assert computed_count(index) == 0


def test_fields_of_the_reranker_are_encoded(index):
    index.add(DOCUMENTS[:3], keep=podium.Reranker(LetterCounts(), rank_by="body"))
    scorer = LetterCounts()
    podium.Search(index, podium.Reranker(scorer, rank_by="body")).search(QUERY)
    podium.Search(index, podium.Reranker(scorer), rank_by=["body"]).search(QUERY)
    assert scorer.computed == []
    assert computed_count(index) == 3


@pytest.mark.parametrize(
    "document",
    ["the capital", {"text": "the capital"}, {"passage": "the capital", "year": 1}, {"content": {"the": ["capital", 1.5]}}],
    ids=["string", "text", "passage", "nested"],
)
def test_text_of_a_document_is_encoded_if_the_index_has_no_text_fields(document, reranker, tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "index")
    index.add([document], keep=reranker)
    assert computed_count(index) == 0


@pytest.mark.parametrize(
    "document",
    [
        {"title": "the capital", "body": ("a", 1, None)},
        {"title": "the capital", "body": {"x": 1.0}},
        {"title": "capital\ud800", "body": ""},
    ],
    ids=["tuple", "dict", "surrogate"],
)
def test_texts_are_those_of_documents_as_they_are_stored(document, index, reranker):
    index.add([document, DOCUMENTS[0]], keep=reranker)
    assert computed_count(index) == 0


@pytest.mark.parametrize("method", ["add", "keep"])
def test_no_compaction_runs_while_documents_are_encoded(method, folder_index):
    """A compaction would remove the encodings of documents that are not committed yet."""
    scorer = CompactingScorer(folder_index.path)
    reranker = podium.Reranker(scorer)
    if method == "add":
        folder_index.add(DOCUMENTS, keep=reranker)
    else:
        folder_index.add(DOCUMENTS)
        folder_index.keep(DOCUMENTS, reranker)
    assert ["another process is adding" in error for error in scorer.errors] == [True]
    assert computed_count(folder_index) == 0


class FailingScorer(LetterCounts):
    def encode(self, texts, *, progress=None):
        raise ValueError("no memory on the device")


def test_error_of_an_encoder_is_not_an_error_of_the_index(folder_index):
    with pytest.raises(ValueError, match="no memory on the device"):
        folder_index.add(DOCUMENTS, keep=podium.Reranker(FailingScorer()))
    assert len(folder_index) == 0
    folder_index.add(DOCUMENTS)


def test_changed_documents_get_new_encodings(folder_index, reranker, tmp_path):
    folder_index.add(DOCUMENTS, ids=IDS, keep=reranker)
    folder_index.add([{"title": "Nevada", "body": "is a state; its capital is Carson City"}], ids=["n"], keep=reranker)
    assert computed_count(folder_index) == 0


def test_compaction_removes_encodings_of_documents_that_are_gone(folder_index, reranker, tmp_path):
    folder_index.add(DOCUMENTS, ids=IDS, keep=reranker)
    size = stored_bytes(tmp_path / "index")
    folder_index.delete(["p"])
    folder_index.add([DOCUMENTS[0] | {"body": "the capital is Carson City"}], ids=["n"], keep=reranker)
    assert stored_bytes(tmp_path / "index") > size
    folder_index.compact()
    assert stored_bytes(tmp_path / "index") < size
    assert computed_count(podium.EmbeddedIndex.open(tmp_path / "index")) == 0
    folder_index.compact()


def test_compaction_keeps_the_encodings_of_each_model(folder_index, tmp_path):
    for model in ("one", "two"):
        folder_index.keep(DOCUMENTS, podium.Reranker(LetterCounts(model)))
    folder_index.add(DOCUMENTS, ids=IDS)
    folder_index.compact()
    assert [computed_count(folder_index, LetterCounts(model)) for model in ("one", "two", "three")] == [0, 0, 4]


def test_compaction_without_encodings_does_nothing(index):
    index.add(DOCUMENTS)
    index.compact()
    assert computed_count(index) == 4


@pytest.mark.parametrize("content", ["[{}]", "5", "[" * 200_000], ids=["no model", "number", "nested"])
def test_compaction_leaves_encodings_if_their_models_are_unknown(folder_index, reranker, tmp_path, content):
    folder_index.add(DOCUMENTS, keep=reranker)
    (tmp_path / "index" / "encodings" / "models.json").write_text(content)
    assert folder_index.kept_models == []
    folder_index.compact()
    assert computed_count(folder_index) == 0


def test_lock_that_is_not_a_file_is_named(folder_index, reranker, tmp_path, caplog):
    (tmp_path / "index" / "encodings" / "lock").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"could not be written to .*; solve the problem that the log names"):
        folder_index.add(DOCUMENTS, keep=reranker)
    assert "lock is not a file; delete or rename it" in caplog.text
    with pytest.raises(SourceError, match="lock is not a file; delete or rename it"):
        folder_index.compact()


def test_damaged_encodings_are_computed(folder_index, reranker, tmp_path):
    folder_index.add(DOCUMENTS, keep=reranker)
    path = tmp_path / "index" / "encodings" / "0.data"
    path.write_bytes(path.read_bytes()[:40] + bytes(path.stat().st_size - 40))
    assert computed_count(podium.EmbeddedIndex.open(tmp_path / "index")) == 4
    folder_index = podium.EmbeddedIndex.open(tmp_path / "index")
    folder_index.keep(DOCUMENTS, reranker)
    assert computed_count(folder_index) == 0


def test_drop_deletes_encodings(folder_index, reranker, tmp_path):
    folder_index.add(DOCUMENTS, keep=reranker)
    podium.places.kind_of("folder").drop(str(tmp_path / "index"))
    assert not (tmp_path / "index").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_encodings_that_cannot_be_written_are_an_error(folder_index, reranker, tmp_path):
    (tmp_path / "index" / "encodings").mkdir(mode=0o500)
    with pytest.raises(SourceError, match="cannot be written"):
        folder_index.add(DOCUMENTS, keep=reranker)
    assert len(folder_index) == 0


def test_model_without_encodings_is_refused(index):
    for scorer in (WordOverlap(), FunctionScorer(lambda texts: Scores([0.0] * len(texts)))):
        with pytest.raises(InvalidInput, match="keep needs a model with late interaction, such as podium-mini"):
            index.add(DOCUMENTS, keep=podium.Reranker(scorer))
    assert len(index) == 0


def test_keep_takes_a_reranker(index):
    with pytest.raises(InvalidInput, match=r"keep takes a Reranker, as podium\.load returns, not a str"):
        index.add(DOCUMENTS, keep="podium-mini")


def test_wrapped_scorer_uses_stored_encodings(index, reranker):
    index.add(DOCUMENTS, keep=reranker)
    scorer = LetterCounts()
    podium.Search(index, podium.Reranker(CachedScorer(scorer, MemoryStore()))).search(QUERY)
    assert scorer.computed == []


def test_closed_reranker_stays_closed(index, reranker):
    index.add(DOCUMENTS, keep=reranker)
    search = podium.Search(index, reranker)
    reranker.close()
    with pytest.raises(podium.PodiumError, match="was closed"):
        search.search(QUERY)


def test_models_are_recorded_by_name():
    old = KeptModel("m", "1", None)
    new = KeptModel("m", "2", ("title",))
    other = KeptModel("o", "1", None)
    models = new.added_to(other.added_to(old.added_to(())))
    assert models == (other, new)
    assert models_from_json(models_to_json(models)) == models


@pytest.mark.parametrize("values", [None, 1, "ab", [{}], [1], [{"model": "m", "identity": "i", "rank_by": 1}]], ids=repr)
def test_damaged_record_of_models_is_an_error(values):
    with pytest.raises((ValueError, TypeError, KeyError)):
        models_from_json(values)
