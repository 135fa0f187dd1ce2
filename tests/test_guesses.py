"""What people try first when they come from other libraries, and rerankers in other processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle

import pytest

import podium
from fakes import WordOverlap
from podium.errors import InvalidInput

TEXTS = ["the sea at night", "a ripe red apple"]


@pytest.mark.parametrize("name", ["top_n", "top_k", "device"])
def test_arguments_of_other_libraries_are_refused_with_podiums_own(mini, name):
    search = podium.Search(WordSource(), mini)
    calls = [
        lambda **named: podium.load("podium-mini", **named),
        lambda **named: mini.rank("q", TEXTS, **named),
        lambda **named: mini.rerank("q", TEXTS, **named),
        lambda **named: mini.rerank_many(["q"], [TEXTS], **named),
        lambda **named: mini.arerank("q", TEXTS, **named),
        lambda **named: search.search("q", **named),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match=f"has no argument {name}; .*(limit=|threads=)"):
            call(**{name: 1})


class WordSource:
    def search(self, query, limit):
        return TEXTS[:limit]


def test_a_name_in_the_place_of_a_scorer_is_refused_with_the_call_that_loads_it():
    with pytest.raises(InvalidInput, match=r"use podium.load\('podium-mini'\)"):
        podium.Reranker("podium-mini")
    with pytest.raises(InvalidInput, match="a scorer has a score"):
        podium.Reranker(object())


def test_an_index_made_by_its_class_is_refused_with_the_calls_that_make_one(tmp_path):
    with pytest.raises(InvalidInput, match=r"EmbeddedIndex.create\(path\).*EmbeddedIndex.open\(path\)"):
        podium.EmbeddedIndex(tmp_path / "i")


def test_a_loaded_reranker_works_in_a_spawned_process(mini):
    reranker = podium.load("podium-mini", limit=1, precision="int8", max_length=64)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(reranker.rerank, "a red fruit", TEXTS).result()
    assert there.results == reranker.rerank("a red fruit", TEXTS).results
    assert len(there) == 1
    pickled = pickle.dumps(reranker)
    assert len(pickled) < 1_000  # no weights
    again = pickle.loads(pickled)
    assert (again.limit, again.scorer.precision) == (1, "int8")
    assert isinstance(pickle.loads(pickle.dumps(podium.Reranker(WordOverlap()))).scorer, WordOverlap)


def test_a_pickled_hosted_reranker_reads_its_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("COHERE_API_KEY", "very-secret")
    pickled = pickle.dumps(podium.load("cohere:m", timeout=3))
    assert b"very-secret" not in pickled
    assert pickle.loads(pickled).model == "cohere:m"
    monkeypatch.delenv("COHERE_API_KEY")
    with pytest.raises(podium.MissingKey):
        pickle.loads(pickled)


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        ({"api_key": "very-secret"}, "api_key"),
        ({"api_key": "k", "base_url": "http://me:very-secret@127.0.0.1:9"}, "api_key, base_url"),
    ],
)
def test_a_reranker_that_was_given_a_secret_is_not_pickled(options, secret):
    with pytest.raises(
        InvalidInput, match=rf"loaded with a secret \({secret}\) cannot be pickled; put the secret into the env"
    ):
        pickle.dumps(podium.load("cohere:m", **options))
    with pytest.raises(InvalidInput, match=r"loaded with a secret \(api_key\)"):
        pickle.dumps(podium.CohereReranker(api_config={"api_key": "very-secret"}))


def test_a_ranking_in_a_notebook_is_a_table_with_everything_escaped(mini):
    documents = ["<script>alert(1)</script> & red", {"_id": '"><b>', "text": "an apple"}, {"title": "<i>none</i>", "text": ""}]
    page = mini.rerank("<u>red", documents)._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; red" in page
    assert "&quot;&gt;&lt;b&gt;" in page
    assert "documents have no text" in page
    for tag in ("<script", "<b>", "<i>", "<u>"):
        assert tag not in page


def test_the_repr_of_a_ranking_says_what_is_in_it_without_documents(mini):
    said = repr(mini.rerank("a red fruit", TEXTS))
    assert said.startswith("<Ranking of 2 results by podium-mini, sigmoid scores 0.")
    assert not any(word in said for text in TEXTS for word in text.split() if len(word) > 3)
    assert repr(mini.rerank("q", [])) == "<Ranking of 0 results by podium-mini, 0 notes; iterate over it, or use to_dict()>"
