"""Evaluations: systems, their costs and notes, and the queries for which a reranker changes most."""

from __future__ import annotations

import dataclasses
import math

import pytest

import podium
from fakes import FunctionScorer, WordOverlap
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import InvalidInput
from podium.evaluation.collections import read_collection
from podium.evaluation.evaluate import Cost, ceiling, compare_systems, first_stage_run, movements, rerank_run
from podium.evaluation.report import page
from podium.types import Scores, Usage

CANDIDATES = {"q1": [("d4", 3.0), ("d1", 2.0), ("d3", 1.0)], "q2": [("d2", 1.0)]}


def ignore_progress(count):
    pass


@pytest.fixture
def collection(folder):
    return read_collection(folder)


@pytest.fixture
def baseline(collection):
    return first_stage_run(collection, lambda query, text, count: CANDIDATES[query][:count], 100, ignore_progress)


@pytest.fixture
def reranked(collection, baseline):
    scorer = FunctionScorer(lambda texts: Scores([float("apple" in text) for text in texts]))
    return rerank_run(collection, baseline.run, podium.Reranker(scorer), "fruit", ignore_progress)


def test_reranker_and_ceiling_order_the_candidates(collection, baseline, reranked):
    assert list(reranked.run["q1"]) == ["d1", "d4", "d3"]
    assert list(ceiling(collection, baseline.run).run["q1"]) == ["d1", "d3", "d4"]


def test_reranker_gets_the_scores_and_ranks_of_the_first_stage(collection, baseline):
    """With all weight on the first stage, the order does not change, and only a fused score says so."""
    for method in ("min-max", "reciprocal-rank"):
        reranker = podium.Reranker(podium.Fused(WordOverlap(), weight=0.0, method=method))
        system = rerank_run(collection, baseline.run, reranker, "fused", ignore_progress)
        assert {query_id: list(scores) for query_id, scores in system.run.items()} == {
            query_id: list(scores) for query_id, scores in baseline.run.items()
        }
        assert system.notes == ()


def test_evaluation_equals_one_computed_by_hand(collection, baseline, reranked):
    evaluation = compare_systems(collection, baseline, [reranked, ceiling(collection, baseline.run)], ("nDCG@10",))
    means = [evaluation.mean(name, "nDCG@10") for name in ("first stage", "fruit", "ceiling")]
    assert means == sorted(set(means))
    assert means[-1] == 1
    assert set(evaluation.differences) == {"fruit"}
    assert (evaluation.differences["fruit"].wins, evaluation.differences["fruit"].ties) == (1, 1)
    helped, hurt = movements(evaluation, reranked, 5)
    assert [(movement.query_id, movement.rank_before, movement.rank_after) for movement in helped] == [("q1", 2, 1)]
    assert hurt == []


def test_candidate_that_is_not_in_the_collection_is_named(collection):
    with pytest.raises(InvalidInput, match="q1' has the candidate 'd9'"):
        rerank_run(collection, {"q1": {"d9": 1.0}}, podium.Reranker(WordOverlap()), "x", ignore_progress)


def test_costs_of_queries_are_added_up():
    usages = [
        Usage(pairs=2, tokens=10, billed={"units": 1, "dollars": 0.5}, seconds=1.0),
        Usage(pairs=3, tokens=0, seconds=9.0, remembered=3),
        Usage(pairs=1, tokens=5, billed={"units": 2}, seconds=2.0),
    ]
    assert Cost.total(usages) == Cost(seconds=(1.0, 2.0), documents=3, tokens=15, billed={"units": 3, "dollars": 0.5})
    assert Cost.total([*usages, Usage(pairs=1)]).tokens is None


def test_interrupted_evaluation_continues_without_scoring_twice(collection, baseline, tmp_path):
    scored_queries = []

    class InterruptedOnce(WordOverlap):
        def score(self, query, texts):
            scored_queries.append(query)
            if len(scored_queries) == 2:
                raise KeyboardInterrupt
            return super().score(query, texts)

    def run():
        store = SqliteScores(tmp_path / "scores.db")
        try:
            reranker = podium.Reranker(CachedScorer(InterruptedOnce(), store))
            return rerank_run(collection, baseline.run, reranker, "words", ignore_progress)
        finally:
            store.close()

    with pytest.raises(KeyboardInterrupt):
        run()
    system = run()
    assert scored_queries == ["red fruit", "night sea", "night sea"]
    assert len(system.cost.seconds) == 1


def test_report_leaves_out_scores_of_documents_that_were_not_scored(collection, baseline):
    """A Budget may leave documents without a score."""
    scorer = podium.Budget(FunctionScorer(lambda texts: Scores([float("apple" in text) for text in texts])), max_tokens=1)
    system = rerank_run(collection, baseline.run, podium.Reranker(scorer), "fruit", ignore_progress)
    assert any(math.isnan(score) for scores in system.run.values() for score in scores.values())
    evaluation = compare_systems(collection, baseline, [system], ("nDCG@10",))
    assert "nan" not in page(evaluation)


def test_report_leaves_out_scores_of_documents_without_text(collection, baseline):
    """Their score is the lowest float32, so all other scores would be in one bin."""
    blank = dataclasses.replace(collection, documents={**collection.documents, "d3": "\u200b"})
    scorer = FunctionScorer(lambda texts: Scores([float("apple" in text) for text in texts]))
    system = rerank_run(blank, baseline.run, podium.Reranker(scorer), "fruit", ignore_progress)
    assert system.run["q1"]["d3"] < -1e38
    html = page(compare_systems(blank, baseline, [system], ("nDCG@10",)))
    assert "Distribution of scores" in html
    assert "e+38" not in html
