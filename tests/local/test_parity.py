"""For every family, logits are those of sentence-transformers 6.2, from 1 token to the maximum length and beyond."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import podium
from environment import NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS
from podium.local.families import FAMILIES
from podium.local.files.folder import from_folder
from podium.local.scorer import LocalScorer

FIXTURES = sorted(path.parent.name for path in PARITY_MODELS.glob("*/expected.json.gz"))
NATIVE_TYPES = {model_type for family in FAMILIES if "native" in family.runtimes for model_type in family.model_types}


def model_type_of(name):
    return json.loads((PARITY_MODELS / name / "config.json").read_text())["model_type"]


def cases():
    """Yield (name of a cross-encoder, runtime that can run it). The tests of late interaction are in tests/local/late."""
    for name in FIXTURES:
        if model_type_of(name) == "podium-late":
            continue
        yield pytest.param((name, "onnx"), id=f"{name}-onnx", marks=NEEDS_ONNX)
        if model_type_of(name) in NATIVE_TYPES:
            yield pytest.param((name, "native"), id=f"{name}-native", marks=NEEDS_CORE)


@pytest.fixture(scope="module", params=cases())
def scorer_and_expected(request):
    """A scorer, and the results of sentence-transformers in its expected.json.gz."""
    name, runtime = request.param
    expected = json.loads(gzip.decompress((PARITY_MODELS / name / "expected.json.gz").read_bytes()))
    scorer = LocalScorer(from_folder(PARITY_MODELS / name), runtime=runtime)
    yield scorer, expected
    scorer.close()


def test_every_family_is_tested():
    types = {model_type_of(name) for name in FIXTURES}
    encoders = [family for family in FAMILIES if "onnx" in family.runtimes]  # the others are in test_decoders.py
    assert all(set(family.model_types) & types for family in encoders)


def test_logits_scores_and_lengths_are_those_of_sentence_transformers(scorer_and_expected):
    scorer, expected = scorer_and_expected
    queries, texts = zip(*expected["pairs"], strict=True)
    scores = scorer.score_many(queries, [[text] for text in texts])
    assert scorer.max_length == expected["max_length"]
    assert [pair.total_tokens for pair in scores] == expected["lengths"]
    np.testing.assert_allclose([pair.raw[0] for pair in scores], expected["logits"], atol=1e-4, rtol=0)
    np.testing.assert_allclose([pair.values[0] for pair in scores], expected["scores"], atol=1e-4, rtol=0)


def test_score_does_not_depend_on_other_texts_or_their_order(scorer_and_expected):
    scorer, expected = scorer_and_expected
    query = expected["pairs"][4][0]
    texts = [text for _, text in expected["pairs"]]
    together = scorer.score(query, texts).raw
    backwards = scorer.score(query, texts[::-1]).raw[::-1]
    alone = [scorer.score(query, [text]).raw[0] for text in texts]
    assert together == alone == backwards


def test_every_token_is_counted_as_read_or_dropped(scorer_and_expected):
    scorer, expected = scorer_and_expected
    texts = [text for _, text in expected["pairs"]]
    scores = scorer.score(expected["pairs"][0][0], texts)
    lengths = [len(ids) for ids in scorer.tokenizer._tokenise(texts)]
    assert [read + dropped for read, dropped in zip(scores.tokens, scores.dropped_tokens, strict=True)] == lengths
    assert any(scores.dropped_tokens)


def test_ranking_reports_truncation(scorer_and_expected):
    scorer, expected = scorer_and_expected
    longest = max((text for _, text in expected["pairs"]), key=len)
    ranking = podium.Reranker(scorer).rerank("rank", [longest, "short"])
    assert ranking.usage.truncated == 1
    assert any("longer than the model reads" in note for note in ranking.notes)
