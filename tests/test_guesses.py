"""Arguments that users guess from other libraries, rerankers in other processes, and rankings in a notebook."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle

import pytest

import podium
from fakes import WordOverlap
from podium.errors import InvalidInput, ModelNotFound

TEXTS = ["the sea at night", "a ripe red apple"]


class ConstantSource:
    def search(self, query, limit):
        return TEXTS[:limit]


CALLS = {
    "load": lambda mini, **options: podium.load("podium-mini", **options),
    "rank": lambda mini, **options: mini.rank("q", TEXTS, **options),
    "rerank": lambda mini, **options: mini.rerank("q", TEXTS, **options),
    "rerank_many": lambda mini, **options: mini.rerank_many(["q"], [TEXTS], **options),
    "arerank": lambda mini, **options: mini.arerank("q", TEXTS, **options),
    "search": lambda mini, **options: podium.Search(ConstantSource(), mini).search("q", **options),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("name", ["top_n", "top_k", "device"])
def test_argument_of_another_library_is_refused_with_podiums_name_for_it(mini, name, call):
    with pytest.raises(InvalidInput, match=f"has no argument {name}; .*(limit=|threads=)"):
        call(mini, **{name: 1})


@pytest.mark.parametrize(
    ("call", "name", "advice"),
    [
        ("rerank", "max_length", "it is an argument of podium.load"),
        ("load", "min_score", "it is an argument of rerank"),
        ("rerank", "threshold", "use min_score="),
        ("rerank", "fields", "use rank_by="),
        ("load", "passages", r"podium.Reranker\(podium.Passages\("),
    ],
)
def test_argument_of_another_function_is_refused_with_its_place(mini, call, name, advice):
    with pytest.raises(InvalidInput, match=f"has no argument {name}; .*{advice}"):
        CALLS[call](mini, **{name: 1})


@pytest.mark.parametrize("name", [None, 3, ["podium-mini"], b"podium-mini", ""])
def test_model_is_named_by_a_string(name):
    with pytest.raises(InvalidInput, match="a model is named by a string"):
        podium.load(name)


@pytest.mark.parametrize("name", ["cohere/rerank-v3.5", "Cohere:rerank-v3.5", "coher:rerank-v3.5"])
def test_name_like_that_of_a_hosted_model_has_a_suggestion(name):
    with pytest.raises(ModelNotFound, match=r"did you mean cohere:rerank-v3\.5"):
        podium.load(name, api_key="none")


@pytest.mark.parametrize("options", [{}, {"api_key": "none"}], ids=["no-key", "key"])
def test_suggestion_keeps_the_name_of_the_model(options):
    with pytest.raises(ModelNotFound, match=r"did you mean together:Salesforce/Llama-Rank"):
        podium.load("togther:Salesforce/Llama-Rank", **options)


@pytest.mark.parametrize("cache", ["memry", "scores.db", True, 3])
def test_cache_is_memory_or_a_url(cache):
    with pytest.raises(InvalidInput, match="scores are cached in 'memory' or in the Redis at a URL"):
        podium.load("podium-mini", cache=cache)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_misspelled_argument_is_refused_with_the_right_name(mini, call):
    with pytest.raises(InvalidInput, match=r"has no argument (limt; did you mean limit|limt; it has)") as error:
        call(mini, limt=1)
    assert isinstance(error.value, TypeError)


def test_misspelled_argument_of_a_constructor_is_refused(mini):
    with pytest.raises(InvalidInput, match=r"Search has no argument mode; it has source, reranker"):
        podium.Search(ConstantSource(), mini, mode="text")


@pytest.mark.parametrize(
    "call",
    [
        lambda **options: podium.EmbeddedIndex.create(None, **options),
        lambda **options: podium.EmbeddedIndex.open("nowhere", **options),
        lambda **options: podium.RedisSource.from_url("redis://127.0.0.1:9", index="i", **options),
    ],
    ids=["EmbeddedIndex.create", "EmbeddedIndex.open", "RedisSource.from_url"],
)
def test_misspelled_argument_of_a_source_is_refused_with_the_right_name(call):
    with pytest.raises(InvalidInput, match="has no argument fussion; did you mean fusion"):
        call(fussion="rrf")


def test_query_and_documents_in_the_wrong_order_are_refused_with_their_order(mini):
    with pytest.raises(InvalidInput, match=r"docs must be a list of documents, not one str; pass the query, then a list"):
        mini.rerank(TEXTS, "q")
    with pytest.raises(InvalidInput, match="the query must be a string, not list; it comes before the documents"):
        mini.rerank(TEXTS, TEXTS)
    with pytest.raises(InvalidInput, match="docs is None"):
        mini.rerank("q", None)


def test_hosted_model_named_like_one_of_the_hub_is_recognized():
    with pytest.raises(podium.ModelError, match=r"for the hosted model, write cohere:rerank-v3\.5"):
        podium.load("Cohere/rerank-v3.5")


def test_name_instead_of_a_scorer_is_refused_with_the_call_that_loads_it():
    with pytest.raises(InvalidInput, match=r"use podium.load\('podium-mini'\)"):
        podium.Reranker("podium-mini")


def test_object_that_is_not_a_scorer_is_refused():
    with pytest.raises(InvalidInput, match="a scorer has a score"):
        podium.Reranker(object())


def test_constructor_of_an_index_is_refused_with_the_calls_that_return_an_index(tmp_path):
    with pytest.raises(InvalidInput, match=r"EmbeddedIndex.create\(path\).*EmbeddedIndex.open\(path\)"):
        podium.EmbeddedIndex(tmp_path / "i")


def test_loaded_reranker_works_in_a_spawned_process():
    reranker = podium.load("podium-mini", limit=1, precision="int8", max_length=64)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ranking = pool.submit(reranker.rerank, "a red fruit", TEXTS).result()
    assert ranking.results == reranker.rerank("a red fruit", TEXTS).results
    assert len(ranking) == 1


def test_pickle_has_the_options_but_no_weights():
    pickled = pickle.dumps(podium.load("podium-mini", limit=1, precision="int8", max_length=64))
    assert len(pickled) < 1_000
    reranker = pickle.loads(pickled)
    assert (reranker.limit, reranker.scorer.precision, reranker.scorer.max_length) == (1, "int8", 64)


def test_copy_has_the_same_model_and_does_not_load_it_again(mini):
    assert copy.copy(mini).scorer is mini.scorer
    loaded = podium.load("podium-mini", limit=1, keep=0)
    assert loaded.with_scorer(mini.scorer).scorer is mini.scorer
    assert copy.copy(loaded).scorer is loaded.scorer


def test_pickle_has_the_present_scorer_and_defaults(mini):
    loaded = podium.load("podium-mini", limit=2, keep=0)
    assert pickle.loads(pickle.dumps(loaded.with_scorer(WordOverlap()))).model == WordOverlap().model
    loaded.limit = 1
    assert pickle.loads(pickle.dumps(loaded)).limit == 1


def test_reranker_of_a_users_scorer_is_pickled_with_the_scorer():
    assert isinstance(pickle.loads(pickle.dumps(podium.Reranker(WordOverlap()))).scorer, WordOverlap)


def test_pickled_hosted_reranker_reads_its_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("COHERE_API_KEY", "very-secret")
    pickled = pickle.dumps(podium.load("cohere:m", timeout=3))
    assert b"very-secret" not in pickled
    assert pickle.loads(pickled).model == "cohere:m"
    monkeypatch.delenv("COHERE_API_KEY")
    with pytest.raises(podium.MissingKey):
        pickle.loads(pickled)


@pytest.mark.parametrize(
    ("load", "secrets"),
    [
        (lambda: podium.load("cohere:m", api_key="very-secret"), "api_key"),
        (
            lambda: podium.load("cohere:m", api_key="k", base_url="http://me:very-secret@127.0.0.1:9"),
            "api_key, base_url",
        ),
        (lambda: podium.CohereReranker(api_config={"api_key": "very-secret"}), "api_key"),
    ],
    ids=["api_key", "login in base_url", "api_config"],
)
def test_reranker_with_a_secret_argument_is_not_pickled(load, secrets):
    message = rf"loaded with a secret \({secrets}\) cannot be pickled; put the secret into the env"
    with pytest.raises(InvalidInput, match=message) as caught:
        pickle.dumps(load())
    assert "very-secret" not in str(caught.value)


def test_ranking_in_a_notebook_is_an_escaped_table(mini):
    documents = ["<script>alert(1)</script> & red", {"_id": '"><b>', "text": "an apple"}, {"title": "<i>none</i>", "text": ""}]
    page = mini.rerank("<u>red", documents)._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; red" in page
    assert "&quot;&gt;&lt;b&gt;" in page
    assert "documents have no text" in page
    for tag in ("<script", "<b>", "<i>", "<u>"):
        assert tag not in page


def test_repr_of_a_ranking_has_no_documents(mini):
    text = repr(mini.rerank("a red fruit", TEXTS))
    assert text.startswith("<Ranking of 2 results by podium-mini, sigmoid scores 0.")
    assert not any(word in text for document in TEXTS for word in document.split() if len(word) > 3)
    assert repr(mini.rerank("q", [])) == "<Ranking of 0 results by podium-mini, 0 notes; iterate over it, or use to_dict()>"
    assert ", 1 note; iterate" in repr(mini.rerank("q", [""]))
