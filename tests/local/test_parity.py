"""The same logits as sentence-transformers 6.2, for every family, from 1 token to the maximum length and beyond."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import podium
from environment import NEEDS_CORE, PARITY
from podium.local.families import FAMILIES
from podium.local.files.folder import from_folder
from podium.local.scorer import LocalScorer

FIXTURES = sorted(path.parent.name for path in PARITY.glob("*/expected.json.gz"))


NATIVE = {kind for family in FAMILIES if family.native for kind in family.model_types}


def model_type(name):
    return json.loads((PARITY / name / "config.json").read_text())["model_type"]


def fixtures():
    """Every checkpoint in every runtime that runs it."""
    for name in FIXTURES:
        yield pytest.param((name, "onnx"), id=f"{name}-onnx")
        if model_type(name) in NATIVE:
            yield pytest.param((name, "native"), id=f"{name}-native", marks=NEEDS_CORE)


@pytest.fixture(scope="module", params=fixtures())
def fixture(request):
    name, runtime = request.param
    expected = json.loads(gzip.decompress((PARITY / name / "expected.json.gz").read_bytes()))
    scorer = LocalScorer(from_folder(PARITY / name), runtime=runtime)
    yield scorer, expected
    scorer.close()


def test_there_is_a_fixture_for_every_family():
    types = {model_type(name) for name in FIXTURES}
    assert all(set(family.model_types) & types for family in FAMILIES)


def test_logits_scores_and_lengths_are_the_references(fixture):
    scorer, expected = fixture
    queries, texts = zip(*expected["pairs"], strict=True)
    scores = scorer.score_many(queries, [[text] for text in texts])
    assert scorer.spec.max_length == expected["max_length"]
    assert [each.total_tokens for each in scores] == expected["lengths"]
    np.testing.assert_allclose([each.raw[0] for each in scores], expected["logits"], atol=1e-4, rtol=0)
    np.testing.assert_allclose([each.values[0] for each in scores], expected["scores"], atol=1e-4, rtol=0)


def test_a_score_is_the_same_whatever_ran_beside_it_and_in_whatever_order(fixture):
    scorer, expected = fixture
    query = expected["pairs"][4][0]
    texts = [text for _, text in expected["pairs"]]
    together = scorer.score(query, texts).raw
    backwards = scorer.score(query, texts[::-1]).raw[::-1]
    alone = [scorer.score(query, [text]).raw[0] for text in texts]
    assert together == alone == backwards


def test_every_token_is_accounted_for(fixture):
    scorer, expected = fixture
    query, texts = expected["pairs"][0][0], [text for _, text in expected["pairs"]]
    scores = scorer.score(query, texts)
    whole = [len(scorer.tokenizer._ids([text])[0]) for text in texts]
    assert [seen + dropped for seen, dropped in zip(scores.tokens, scores.dropped_tokens, strict=True)] == whole
    assert any(scores.dropped_tokens)


def test_truncation_is_on_the_ranking(fixture):
    scorer, expected = fixture
    longest = max((text for _, text in expected["pairs"]), key=len)
    ranking = podium.Reranker(scorer).rerank("rank", [longest, "short"])
    assert ranking.usage.truncated == 1
    assert any("longer than the model reads" in note for note in ranking.notes)
