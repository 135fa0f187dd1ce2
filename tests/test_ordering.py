"""Scores with tiers, several models, passages and texts that were not scored: in the order, and in every output."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from fakes import FunctionScorer
from podium.cli.outputs import print_for_programs
from podium.cli.tables import print_ranking, shown_texts
from podium.errors import InvalidInput, PodiumError
from podium.evaluation.runs import read_run, write_run
from podium.ordering import NO_TEXT_SCORES
from podium.texts import Texts, documents_of, selected_texts
from podium.types import Passage, Scores
from serving import ServerThread

NAN = math.nan
TEXTS = ["first text", "second text", "third text", "fourth text", "fifth text"]
MIXED = Scores(
    values=[0.9, NAN, 0.2, 0.3, NAN],
    raw=[9.0, NAN, 2.0, 3.0, NAN],
    tiers=[1, 1, 0, 0, 1],
    scored_by=["cheap", None, "strong", "strong", None],
    passages=[None, None, Passage(0, 5, 0.2), None, None],
    reasons=("the budget of 5 ms was used up after 3 of 5 documents",),
)
"""Scores of TEXTS by two models, which leave two texts unscored. The order is 3, 2, 0, 1, 4."""


def reranker_of(scores: Scores) -> podium.Reranker:
    """Return a reranker whose scorer always returns these scores."""
    return podium.Reranker(FunctionScorer(lambda texts: scores, "sigmoid"))


@pytest.fixture
def mixed() -> podium.Ranking:
    return reranker_of(MIXED).rerank("q", TEXTS)


def test_order_is_by_tier_then_by_score_and_unscored_texts_are_last_in_input_order(mixed):
    assert [result.index for result in mixed] == [3, 2, 0, 1, 4]
    assert [result.scored_by for result in mixed] == ["strong", "strong", "cheap", None, None]
    assert [result.has_score for result in mixed] == [True, True, True, False, False]
    assert mixed.usage.pairs == 3
    assert mixed.degraded
    assert mixed.notes == (*MIXED.reasons, "2 of 5 documents were not scored; they are below the others, in input order")


@st.composite
def columns(draw):
    """Draw scores with tiers, of which some are missing."""
    size = draw(st.integers(0, 12))
    scored = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    values = draw(st.lists(st.integers(-3, 3).map(float), min_size=size, max_size=size))
    return Scores(
        values=[value if known else NAN for value, known in zip(values, scored, strict=True)],
        tiers=draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)),
        scored_by=["m" if known else None for known in scored],
    )


@given(scores=columns())
def test_no_document_is_lost_and_scores_stay_with_their_documents(scores):
    texts = [f"text {index}" for index in range(len(scores.values))]
    ranking = reranker_of(scores).rerank("q", texts)
    assert sorted(result.index for result in ranking) == list(range(len(texts)))
    keys = []
    for rank, result in enumerate(ranking, start=1):
        value = scores.values[result.index]
        assert result.rank == rank
        assert result.document == texts[result.index]
        assert result.score == value or (math.isnan(value) and math.isnan(result.score))
        is_unscored = scores.scored_by[result.index] is None
        keys.append((is_unscored, 0 if is_unscored else scores.tiers[result.index], 0 if is_unscored else -value, result.index))
    assert keys == sorted(keys)


def test_min_score_removes_scores_of_lower_tiers_and_unscored_documents():
    ranking = reranker_of(MIXED).rerank("q", TEXTS, min_score=0.25)
    assert [(result.rank, result.index) for result in ranking] == [(1, 3)]


def test_documents_without_text_are_below_unscored_documents():
    ranking = reranker_of(MIXED).rerank("q", [*TEXTS[:2], None, *TEXTS[2:]])
    assert [result.index for result in ranking] == [4, 3, 0, 1, 5, 2]
    assert ranking[-1].score == 0.0
    assert ranking[-1].scored_by is None


def test_every_result_names_its_model_if_there_is_only_one():
    ranking = reranker_of(Scores([1.0, 2.0])).rerank("q", ["a", "b"])
    assert [result.scored_by for result in ranking] == ["function", "function"]
    assert not ranking.degraded
    assert ranking.reasons == ()


def test_model_that_replaced_the_scorers_own_is_the_model_of_the_ranking():
    scores = Scores([1.0], model="other", revision="7", score_kind="logit", reasons=("function failed",))
    ranking = reranker_of(scores).rerank("q", ["a", ""])
    assert (ranking.model, ranking.revision, ranking.score_kind) == ("other", "7", "logit")
    assert ranking[0].scored_by == "other"
    assert ranking[1].score == NO_TEXT_SCORES["logit"]
    assert ranking.to_dict()["reasons"] == ["function failed"]


INVALID_COLUMNS = {
    "too few tiers": (Scores([1.0], tiers=[]), "1 scores for 1 texts"),
    "notes that are a number": (Scores([1.0], notes=5), "notes or reasons that are not a tuple of strings"),
    "reasons that are a string": (Scores([1.0], reasons="late"), "notes or reasons that are not a tuple of strings"),
    "total of another type": (Scores([1.0], total_tokens="9"), "a number of tokens or a cost that is not a number"),
    "cost of another type": (Scores([1.0], billed={"tokens": "9"}), "a number of tokens or a cost that is not a number"),
    "unknown kind of score": (Scores([1.0], score_kind="percent"), "must be one of logit, sigmoid"),
    "tier of a half": (Scores([1.0], tiers=[0.5]), "a tier that is not a whole number"),
    "tokens in an array": (Scores([1.0], tokens=np.array([3])), r"returned a ndarray for a column.*array\.tolist"),
    "too few models": (Scores([1.0], scored_by=[]), "1 scores for 1 texts"),
    "model is a number": (Scores([1.0], scored_by=[1]), "is not a name"),
    "NaN of a scored text": (Scores([NAN], scored_by=["m"]), "not a finite number"),
    "score of an unscored text": (Scores([1.0], scored_by=[None]), "such a score must be NaN"),
    "too many passages": (Scores([1.0], passages=[None, None]), "1 scores for 1 texts"),
    "passage is a tuple": (Scores([1.0], passages=[(0, 1, 0.5)]), "not a podium.types.Passage"),
    "empty passage": (Scores([1.0], passages=[Passage(3, 3, 0.5)]), "a passage without characters"),
}


@pytest.mark.parametrize(("scores", "message"), INVALID_COLUMNS.values(), ids=INVALID_COLUMNS)
def test_invalid_column_is_an_error(scores, message):
    with pytest.raises(PodiumError, match=message):
        reranker_of(scores).rerank("q", ["a"])


def test_counts_of_numpy_become_integers_of_python():
    ranking = reranker_of(Scores([1.0], tokens=[np.int64(3)], dropped_tokens=[np.int64(0)])).rerank("q", ["a"])
    assert json.loads(json.dumps(ranking.to_dict()))["results"][0]["tokens"] == 3


def test_scorer_gets_the_document_of_each_text():
    received = []

    def score(texts):
        received.append((texts, documents_of(texts)))
        return Scores([0.0] * len(texts))

    documents = [{"text": "a", "title": "A"}, {"text": ""}, "b"]
    podium.Reranker(FunctionScorer(score)).rerank("q", documents)
    texts, text_documents = received[0]
    assert list(texts) == ["a", "b"]
    assert text_documents == [documents[0], "b"]


def test_selected_texts_keep_their_documents():
    texts = Texts(["a", "b", "c"], [1, 2, 3])
    assert documents_of(selected_texts(texts, [2, 0])) == [3, 1]
    assert list(selected_texts(texts, [2, 0])) == ["c", "a"]
    assert selected_texts(["a", "b"], [1]) == ["b"]
    assert documents_of(["a"]) is None
    for duplicate in (copy.copy(texts), pickle.loads(pickle.dumps(texts))):
        assert (duplicate, duplicate.documents) == (texts, [1, 2, 3])


def test_json_has_null_for_a_missing_score_and_the_passage_with_its_text(mixed):
    results = json.loads(json.dumps(mixed.to_dict(), allow_nan=False))["results"]
    assert [result["score"] for result in results] == [0.3, 0.2, 0.9, None, None]
    assert results[1]["passage"] == {"start": 0, "end": 5, "score": 0.2, "text": "third"}
    assert "third" not in repr(mixed[1])


def test_repr_has_the_range_of_the_best_models_scores(mixed):
    assert "sigmoid scores 0.3 to 0.2, 2 notes" in repr(mixed)


def test_notebook_shows_models_missing_scores_and_the_passage(mixed):
    page = mixed._repr_html_()
    assert "<th>scored by</th>" in page
    assert '">cheap</td>' in page
    assert page.count("not scored</td>") == 2
    assert "<mark>third</mark>" in page
    assert MIXED.reasons[0] in page
    assert "scored by" not in reranker_of(Scores([1.0])).rerank("q", ["a"])._repr_html_()


def test_terminal_shows_models_and_missing_scores(mixed, capsys):
    print_ranking(mixed, shown_texts(enumerate(TEXTS), None))
    out, err = capsys.readouterr()
    assert [line.split()[:3] for line in out.splitlines()[1:4]] == [
        ["1", "0.3000", "strong"],
        ["2", "0.2000", "strong"],
        ["3", "0.9000", "cheap"],
    ]
    assert out.splitlines()[4].split()[:3] == ["4", "not", "scored"]
    assert f"note: {MIXED.reasons[0]}" in err


def test_csv_has_models_and_passages_and_an_empty_cell_for_a_missing_score(mixed, capsys):
    print_for_programs("csv", mixed, shown_texts(enumerate(TEXTS), None))
    header, *rows = (line.split(",") for line in capsys.readouterr().out.splitlines())
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["score"] for row in cells] == ["0.3", "0.2", "0.9", "", ""]
    assert [row["scored_by"] for row in cells] == ["strong", "strong", "cheap", "", ""]
    assert [cells[1][f"passage_{name}"] for name in ("start", "end", "score")] == ["0", "5", "0.2"]


def test_run_file_has_decreasing_scores(mixed, tmp_path):
    write_run(tmp_path / "out.run", {"q": {f"d{result.index}": result.score for result in mixed}}, "mixed")
    scores = read_run(tmp_path / "out.run")["q"]
    assert list(scores) == ["d3", "d2", "d0", "d1", "d4"]
    assert all(map(math.isfinite, scores.values()))


def test_batch_output_has_null_for_a_missing_score(tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"query": "q", "documents": TEXTS}) + "\n")
    podium.batch(tmp_path / "in.jsonl", tmp_path / "out", reranker=reranker_of(MIXED))
    rows = pq.read_table(tmp_path / "out" / "parts").to_pylist()
    assert [(row["index"], row["score"], row["scored_by"]) for row in rows] == [
        (3, 0.3, "strong"),
        (2, 0.2, "strong"),
        (0, 0.9, "cheap"),
        (1, None, None),
        (4, None, None),
    ]
    assert [(row["passage_start"], row["passage_end"], row["passage_score"]) for row in rows[:2]] == [
        (None, None, None),
        (0, 5, 0.2),
    ]


@pytest.fixture(scope="module")
def server():
    with ServerThread(rerankers={"mixed": reranker_of(MIXED)}) as server:
        yield server


def test_own_dialect_returns_the_complete_ranking(server, mixed):
    body = server.post("/rank", {"query": "q", "documents": TEXTS}).json()
    expected = mixed.to_dict()
    assert body["degraded"] is True
    assert body["reasons"] == expected["reasons"]
    extra = [{"text": TEXTS[result["index"]], "explanation": None} for result in expected["results"]]
    assert body["results"] == [result | more for result, more in zip(expected["results"], extra, strict=True)]


OTHER_REQUESTS = {
    "cohere": ("/v2/rerank", {"query": "q", "documents": TEXTS}, lambda body: body["results"], "relevance_score"),
    "tei": ("/rerank", {"query": "q", "texts": TEXTS}, lambda body: body, "score"),
    "mixedbread": ("/v1/reranking", {"query": "q", "input": TEXTS}, lambda body: body["data"], "score"),
    "vllm": ("/v1/score", {"text_1": "q", "text_2": TEXTS}, lambda body: body["data"], "score"),
}


@pytest.mark.parametrize(("path", "request_body", "results_of", "name"), OTHER_REQUESTS.values(), ids=OTHER_REQUESTS)
def test_other_dialects_return_numbers_that_sort_in_the_same_order(server, path, request_body, results_of, name):
    """The score 0.9 of the cheap model, which is in the second tier, becomes that of the result above."""
    scores = {result["index"]: result[name] for result in results_of(server.post(path, request_body).json())}
    assert scores == {3: 0.3, 2: 0.2, 0: 0.2, 1: 0.0, 4: 0.0}


def test_other_dialects_show_the_reasons_as_warnings(server):
    body = server.post("/v2/rerank", {"query": "q", "documents": TEXTS}).json()
    assert MIXED.reasons[0] in body["meta"]["warnings"]


def test_scorer_with_an_unknown_kind_of_score_is_refused():
    scorer = FunctionScorer(lambda texts: Scores([0.0] * len(texts)))
    scorer.score_kind = "percent"
    with pytest.raises(InvalidInput, match="the score_kind of FunctionScorer is 'percent'; it must be one of logit, sigmoid"):
        podium.Reranker(scorer)
