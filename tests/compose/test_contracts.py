"""What every composition must do, also in nested ones: lose no document, raise errors, and stop when it is cancelled."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from compositions import COMPOSITIONS
from fakes import FunctionScorer, Letters, MemoryStore, Reader, WordOverlap
from loopback import Answer, Loopback, wait_until
from podium.compose.budget import Budget
from podium.compose.cached import CachedScorer
from podium.compose.cascade import Cascade
from podium.compose.fallback import Fallback
from podium.compose.fused import Fused
from podium.compose.neighbours import Neighbours
from podium.compose.passages import Passages
from podium.errors import ModelError, ProviderUnavailable
from podium.hosted.scorer import HostedScorer
from podium.types import Scores

TEXTS = [f"a red fruit and the sea number {number}" for number in range(6)]


@pytest.fixture(params=COMPOSITIONS.values(), ids=COMPOSITIONS)
def composition(request):
    """A function that puts a scorer into a composition."""
    return request.param


def test_error_of_a_scorer_is_raised_unchanged(composition, rerank):
    error = ModelError("its weights are damaged")

    def fail(texts):
        raise error

    with pytest.raises(ModelError) as caught:
        rerank(podium.Reranker(composition(FunctionScorer(fail))), "red fruit", TEXTS)
    assert caught.value is error


@pytest.mark.parametrize("wrong", [None, Scores([1.0] * 99), [1.0]], ids=["None", "too many", "list"])
def test_wrong_scores_of_a_scorer_are_an_error(composition, rerank, wrong):
    with pytest.raises(podium.PodiumError, match="returned"):
        rerank(podium.Reranker(composition(FunctionScorer(lambda texts: wrong))), "red fruit", TEXTS)


def test_cancelled_call_leaves_nothing_running(composition):
    async def cancel_a_call(server, scorer):
        task = asyncio.create_task(podium.Reranker(scorer).arerank("red fruit", TEXTS))
        await asyncio.to_thread(wait_until, lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await scorer.aclose()

    with Loopback(lambda request: Answer(200, b"{}", seconds=100)) as server:
        hosted = HostedScorer("cohere", "m", base_url=server.url, api_key="k", retries=3)
        asyncio.run(cancel_a_call(server, composition(hosted)))
        assert len(server.requests) == 1


def test_texts_and_their_documents_are_not_changed(composition):
    received = []

    def score(texts):
        received.append((texts, list(texts)))
        return Scores([0.5] * len(texts))

    documents = [{"text": text, "source_score": 1.0} for text in TEXTS]
    podium.Reranker(composition(FunctionScorer(score))).rerank("red fruit", documents)
    assert documents == [{"text": text, "source_score": 1.0} for text in TEXTS]
    assert all(list(texts) == copied for texts, copied in received)


def test_closing_closes_the_scorer(composition):
    closed = []

    class ClosingScorer(WordOverlap):
        def close(self):
            closed.append("close")

        async def aclose(self):
            closed.append("aclose")

    composition(ClosingScorer()).close()
    asyncio.run(composition(ClosingScorer()).aclose())
    assert closed == ["close", "aclose"]


def unavailable(texts):
    raise ProviderUnavailable("down")


LEAVES = st.sampled_from([WordOverlap, lambda: Reader(12), lambda: FunctionScorer(unavailable)])


def compositions_of(scorers):
    """Draw compositions of the drawn scorers. A cache is only around scorers that can be cached."""
    return st.one_of(
        st.builds(Cascade, scorers, scorers, keep=st.sampled_from([1, 3, "auto"])),
        st.builds(Fallback, scorers, scorers),
        st.builds(lambda scorer: Passages(scorer, size=16), scorers),
        st.builds(Fused, scorers, method=st.sampled_from(["min-max", "z-score"])),
        st.builds(lambda scorer: Neighbours(scorer, Letters()), scorers),
        st.builds(cached_if_possible, scorers),
        st.builds(lambda scorer: Budget(scorer, budget_ms=100_000), scorers),
    )


def cached_if_possible(scorer):
    is_cacheable = not getattr(scorer, "listwise", False) and not getattr(scorer, "reads_documents", False)
    return CachedScorer(scorer, MemoryStore()) if is_cacheable else Fallback(scorer)


SCORERS = st.recursive(LEAVES.map(lambda make: make()), compositions_of, max_leaves=5)
WORDS = st.lists(st.sampled_from(["red", "fruit", "sea.", "night", "a"]), min_size=1, max_size=40).map(" ".join)
DOCUMENT = st.one_of(
    WORDS,
    st.builds(lambda text, score: {"text": text, "source_score": score}, WORDS, st.floats(-3, 3)),
    st.sampled_from(["", None]),
)


@settings(max_examples=100, deadline=None)
@given(scorer=SCORERS, documents=st.lists(DOCUMENT, max_size=14), max_tokens=st.integers(1, 200))
def test_no_document_is_lost_in_a_call_with_a_budget(scorer, documents, max_tokens):
    reranker = podium.Reranker(Fallback(scorer))
    for ranking in (
        reranker.rerank("red fruit", documents, max_tokens=max_tokens),
        asyncio.run(reranker.arerank("red fruit", documents, max_tokens=max_tokens)),
        *reranker.rerank_many(["sea", "red fruit"], [documents[:3], documents], max_tokens=max_tokens)[1:],
    ):
        assert sorted(result.index for result in ranking) == list(range(len(documents)))
        assert all(result.document is documents[result.index] for result in ranking)
        groups = [(result.no_text, not result.has_score) for result in ranking]
        assert groups == sorted(groups)


@settings(max_examples=150, deadline=None)
@given(scorer=SCORERS, documents=st.lists(DOCUMENT, max_size=14))
def test_no_document_is_lost_in_any_nesting(scorer, documents):
    """Whatever fails, every document is in the ranking once, scored documents are above others, and calls agree."""
    reranker = podium.Reranker(Fallback(scorer))
    rankings = [
        reranker.rerank("red fruit", documents),
        asyncio.run(reranker.arerank("red fruit", documents)),
        reranker.rerank_many(["sea", "red fruit"], [documents[:3], documents])[1],
    ]
    for ranking in rankings:
        assert sorted(result.index for result in ranking) == list(range(len(documents)))
        assert all(result.document is documents[result.index] for result in ranking)
        groups = [(result.no_text, not result.has_score) for result in ranking]
        assert groups == sorted(groups)
        assert all((result.scored_by is None) == (result.no_text or not result.has_score) for result in ranking)
        for result in ranking:
            if result.passage is not None:
                document = result.document
                text = document if isinstance(document, str) else document["text"]
                assert result.passage.text == text[result.passage.start : result.passage.end]
    first, *others = rankings
    for ranking in others:
        assert [result.index for result in ranking] == [result.index for result in first]
        for result, expected in zip(ranking, first, strict=True):
            assert result.score == pytest.approx(expected.score, abs=1e-9) or math.isnan(result.score)
            assert result.scored_by == expected.scored_by
