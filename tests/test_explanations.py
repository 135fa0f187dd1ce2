"""Explanations: what each sentence of a text contributes to its score."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from commands import run_in_process
from fakes import FunctionScorer, WordOverlap
from podium.errors import InvalidInput, PodiumError
from podium.explanations import MOST_PARTS, parts_of, texts_without_each
from podium.types import Scores
from serving import ServerThread

TEXT = "The market opens early. Apples are red fruit. Dr. Smith sells bricks there."


class CountingWords(WordOverlap):
    """A scorer that counts the query's words in a text. `calls` has the number of texts of each call."""

    def __init__(self, listwise=False):
        self.listwise = listwise
        self.calls = []

    def score(self, query, texts):
        self.calls.append(len(texts))
        return super().score(query, texts)


def test_contribution_is_the_drop_of_the_raw_score_without_the_sentence(mini):
    explanation = mini.explain("a red fruit", TEXT)
    assert [sentence.text.strip() for sentence in explanation.sentences] == [
        "The market opens early.",
        "Apples are red fruit.",
        "Dr. Smith sells bricks there.",
    ]
    variants = [TEXT, *(TEXT[: sentence.start] + TEXT[sentence.end :] for sentence in explanation.sentences)]
    raw = mini.scorer.score("a red fruit", [variant.rstrip() for variant in variants]).raw
    assert [sentence.contribution for sentence in explanation.sentences] == [raw[0] - without for without in raw[1:]]
    assert explanation.score == mini.score("a red fruit", [TEXT])[0]
    assert (explanation.model, explanation.score_kind) == ("podium-mini", "sigmoid")
    assert max(explanation.sentences, key=lambda sentence: sentence.contribution).text.startswith("Apples")


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
@pytest.mark.parametrize(("listwise", "calls"), [(False, [4]), (True, [1, 1, 1, 1])], ids=["pointwise", "listwise"])
def test_variants_are_scored_in_one_call_unless_they_would_be_compared(is_async, listwise, calls):
    scorer = CountingWords(listwise)
    reranker = podium.Reranker(scorer)
    explanation = asyncio.run(reranker.aexplain("red fruit", TEXT)) if is_async else reranker.explain("red fruit", TEXT)
    assert scorer.calls == calls
    assert [sentence.contribution for sentence in explanation.sentences] == [0.0, 1.0, 0.0]


def test_fields_of_a_record_are_read():
    explanation = podium.Reranker(WordOverlap()).explain("apples", {"title": "Apples are red. Grass is not."}, rank_by="title")
    assert [sentence.contribution for sentence in explanation.sentences] == [1.0, 0.0]


def test_only_sentence_has_no_contribution():
    (sentence,) = podium.Reranker(WordOverlap()).explain("red", "a red apple").sentences
    assert sentence.contribution is None


def test_document_without_text_is_an_error():
    with pytest.raises(InvalidInput, match="nothing to explain"):
        podium.Reranker(WordOverlap()).explain("red", "  ")


def test_scores_of_several_models_are_an_error():
    other = FunctionScorer(lambda texts: Scores([1.0] * len(texts), scored_by=["a", *["b"] * (len(texts) - 1)]))
    with pytest.raises(PodiumError, match="several models"):
        podium.Reranker(other).explain("red", TEXT)


def test_text_that_was_not_scored_is_an_error():
    scorer = FunctionScorer(lambda texts: Scores([float("nan")] * len(texts), scored_by=[None] * len(texts)))
    with pytest.raises(PodiumError, match="did not score the document"):
        podium.Reranker(scorer).explain("red", TEXT)


def test_truncation_is_noted(mini):
    explanation = mini.explain("red", "An apple is red. " * 200)
    assert "tokens at the end of the text were not read" in " ".join(explanation.notes)
    assert len(explanation.sentences) <= MOST_PARTS


@given(st.text(alphabet=st.sampled_from("aA .!?\n。é"), max_size=300))
def test_parts_cover_the_text_and_are_few(text):
    parts = parts_of(text)
    assert len(parts) <= MOST_PARTS
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(parts))
    assert "".join(text[start:end] for start, end in parts).strip() == text.strip()
    assert all(texts_without_each(text)) or not text.strip()


def test_command_prints_contributions(tmp_path):
    file = tmp_path / "documents.txt"
    file.write_text(f"the sea\n{TEXT}\na brick\na car\n")
    code, out, err = run_in_process("rank", "a red fruit", file, "--explain")
    assert (code, err) == (0, "")
    assert out.count("number ") == 3  # the best three
    assert "number 1 · sigmoid" in out
    lines = [line.split() for line in out.splitlines() if "Apples are" in line]
    assert float(lines[-1][0]) > 1
    code, out, err = run_in_process("rank", "a red fruit", file, "--explain", "--limit", "1", "--json")
    (result,) = json.loads(out)["results"]
    assert [sentence["start"] for sentence in result["explanation"]["sentences"]] == [0, 24, 46]
    code, out, err = run_in_process("rank", "a red fruit", file, "--explain", "--csv")
    assert (code, "--explain has no CSV output" in err) == (2, True)


def test_server_explains_one_document(mini):
    with ServerThread(rerankers={"mini": mini}) as server:
        request = {"query": "a red fruit", "documents": [TEXT], "explain": True}
        explanation = server.post("/rank", request).json()["results"][0]["explanation"]
        assert explanation == json.loads(json.dumps(mini.explain("a red fruit", TEXT).to_dict()))
        reply = server.post("/rank", request | {"documents": ["a", "b"]})
        assert (reply.status_code, "explain needs one document" in reply.text) == (400, True)
        assert server.post("/rank", request | {"explain": False}).json()["results"][0]["explanation"] is None


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda texts: [1.0] * len(texts), "function returned a list; its method score must return podium.Scores"),
        (lambda texts: Scores([1.0]), "function returned 1 scores for 4 texts"),
        (lambda texts: Scores([float("nan")] * len(texts)), "not a finite number"),
    ],
    ids=["no Scores", "too few", "NaN"],
)
def test_invalid_scores_are_an_error(function, message, is_async):
    reranker = podium.Reranker(FunctionScorer(function))
    explain = (lambda *arguments: asyncio.run(reranker.aexplain(*arguments))) if is_async else reranker.explain
    with pytest.raises(PodiumError, match=message):
        explain("red", TEXT)
