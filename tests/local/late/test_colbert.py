"""ColBERT checkpoints of three layouts: token ids and scores are those of sentence-transformers 6.2; notes and options."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil

import numpy as np
import pytest

import podium
from checkpoints import edit_json
from environment import PARITY_MODELS, RUNTIMES
from podium.errors import InvalidInput
from podium.local.files.folder import from_folder
from podium.local.late.kinds import is_late, late_model
from podium.local.late.models import Text
from podium.local.late.scorer import LateInteraction
from podium.local.late.spec import is_colbert, read_late_spec

LATE = PARITY_MODELS / "late-interaction"
FOLDERS = sorted(path.parent for path in LATE.glob("*/expected.json.gz"))
BERT = LATE / "pylate-bert"
MEAN = LATE / "native-modernbert-mean"
TOLERANCES = {"float32": 1e-4, "float16": 2e-3, "int8": 0.02}
"""Precision of the encodings → by how much a score may differ, for each vector of the query."""


def expected_of(folder):
    return json.loads(gzip.decompress((folder / "expected.json.gz").read_bytes()))


def texts_of(expected, side):
    """Return the texts of a side: "queries" or "documents"."""
    return [entry["text"] for entry in expected[side]]


def scores_of(scorer, expected):
    """Return the scores of all queries and documents, shape (queries, documents)."""
    queries, documents = texts_of(expected, "queries"), texts_of(expected, "documents")
    return np.array([scores.values for scores in scorer.score_many(queries, [documents] * len(queries))])


def query_vector_counts(expected):
    """Return the number of vectors of each query, shape (queries, 1)."""
    return np.array([[sum(entry["scored"])] for entry in expected["queries"]])


def score_differences(scorer, folder):
    """Return how far each score is from the expected one, divided by the number of vectors that were summed for it."""
    expected = expected_of(folder)
    summed = 1 if read_late_spec(folder).score == "mean" else query_vector_counts(expected)
    return np.abs(scores_of(scorer, expected) - expected["scores"]) / summed


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


@pytest.fixture(scope="module")
def bert():
    scorer = LateInteraction(from_folder(BERT))
    yield scorer
    scorer.close()


@pytest.mark.parametrize("side", ["queries", "documents"])
def test_tokens_are_those_of_sentence_transformers(folder, side):
    expected = expected_of(folder)
    model = late_model(folder)
    tokenizer = model.tokenizer(model.spec, model.spec.max_length)
    encoded = tokenizer.encode([Text(text, is_query=side == "queries") for text in texts_of(expected, side)])
    assert [text.ids.tolist() for text in encoded] == [entry["ids"] for entry in expected[side]]
    assert [text.is_compared.astype(int).tolist() for text in encoded] == [entry["scored"] for entry in expected[side]]


@pytest.mark.parametrize("encoding", TOLERANCES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_are_those_of_sentence_transformers(folder, runtime, encoding):
    scorer = LateInteraction(from_folder(folder), runtime=runtime, encoding=encoding)
    assert score_differences(scorer, folder).max() <= TOLERANCES[encoding]
    scorer.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_of_int8_network_are_close(folder, runtime):
    scorer = LateInteraction(from_folder(folder), runtime=runtime, precision="int8")
    assert score_differences(scorer, folder).mean() < 0.1
    scorer.close()


def test_score_does_not_depend_on_other_texts_or_their_order(bert):
    documents = texts_of(expected_of(BERT), "documents")
    together = bert.score("rank", documents).values
    assert together == bert.score("rank", documents[::-1]).values[::-1]
    assert together == [bert.score("rank", [document]).values[0] for document in documents]
    assert together == asyncio.run(bert.ascore("rank", documents)).values


def test_mean_is_the_sum_divided_by_the_vectors_of_the_query():
    expected = expected_of(BERT)
    sum_scorer = LateInteraction(from_folder(BERT), encoding="float32")
    mean_scorer = LateInteraction(from_folder(BERT), encoding="float32", score="mean")
    sums_from_means = scores_of(mean_scorer, expected) * query_vector_counts(expected)
    np.testing.assert_allclose(sums_from_means, scores_of(sum_scorer, expected), rtol=1e-6)
    assert (sum_scorer.score_kind, mean_scorer.score_kind) == ("similarity_sum", "similarity")
    assert sum_scorer.identity != mean_scorer.identity
    assert sum_scorer.encoding_key("a") == mean_scorer.encoding_key("a")


def test_ranking_has_the_score_kind_and_a_note_about_sums():
    with podium.load(BERT) as reranker:
        ranking = reranker.rerank("rank", ["query list", "red"])
    assert ranking.score_kind == "similarity_sum"
    assert any("sum of similarities" in note for note in ranking.notes)
    with podium.load(MEAN) as reranker:
        ranking = reranker.rerank("rank", ["query list", "red"])
    assert ranking.score_kind == "similarity"
    assert not ranking.notes


def test_long_documents_are_reported(bert):
    scores = bert.score("rank", ["red " * 100, "red"])
    assert scores.tokens == [37, 1]  # 40 tokens, less [CLS], [D] and [SEP]
    assert scores.dropped_tokens == [63, 0]
    ranking = podium.Reranker(bert).rerank("rank", ["red " * 100, "red"])
    assert ranking.usage.truncated == 1
    assert any("longer than the model reads" in note for note in ranking.notes)


def test_long_queries_are_reported(bert):
    scores = bert.score("red " * 40, ["red"])
    assert (scores.query_tokens, scores.query_dropped_tokens) == ([13], [27])  # 16 tokens, less [CLS], [Q] and [SEP]
    assert any("query is longer" in note for note in podium.Reranker(bert).rerank("red " * 40, ["red"]).notes)


def test_max_length_limits_only_documents():
    scorer = LateInteraction(from_folder(BERT), max_length=10)
    assert scorer.max_length == 10
    assert scorer.score("rank", ["red " * 100]).tokens == [7]  # 10 tokens, less [CLS], [D] and [SEP]
    assert scorer.score("red " * 12, ["red"]).query_tokens == [12]


def test_document_of_skiplist_words_only_has_a_score(tmp_path):
    folder = shutil.copytree(BERT, tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", skiplist_words=["[CLS]", "[D] ", "[SEP]", "."])
    scorer = LateInteraction(from_folder(folder))
    assert np.isfinite(scorer.score("rank", ["...", "red"]).values).all()


@pytest.mark.parametrize(
    ("name", "is_recognised"),
    [("pylate-bert", True), ("native-bert-min", True), ("stanford-bert", True), ("stanford-and-modules", True)]
    + [(f"../{name}", False) for name in ("bert", "ettin", "embedders/bert-mean", "late")],
    ids=lambda value: str(value).rpartition("/")[2],
)
def test_layout_is_recognised(name, is_recognised):
    """podium's own layout ("late") is recognised as late interaction, but not as ColBERT."""
    assert is_colbert(LATE / name) is is_recognised
    assert is_late(LATE / name) is (is_recognised or name == "../late")


def test_older_pylate_layout_is_recognised(tmp_path):
    """Early versions of PyLate did not write a model_type."""
    folder = shutil.copytree(BERT, tmp_path / "model")
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    del settings["model_type"]
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert is_colbert(folder)
    expected = expected_of(BERT)
    scorer = LateInteraction(from_folder(folder), encoding="float32")
    np.testing.assert_allclose(scores_of(scorer, expected), expected["scores"], atol=1e-3)


CHANGES = {
    "marker": ("pylate-bert", "config_sentence_transformers.json", {"query_prefix": ""}),
    "document-length": ("pylate-bert", "config_sentence_transformers.json", {"document_length": 20}),
    "skiplist": ("native-bert-min", "2_MultiVectorMask/config.json", {"skiplist_words": []}),
    "dense": ("pylate-bert", "1_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Tanh"}),
    "metadata": ("stanford-bert", "artifact.metadata", {"attend_to_mask_tokens": True}),
    "expansion": ("native-bert-min", "sentence_bert_config.json", {"query_expansion": None}),
}


@pytest.mark.parametrize(("name", "file", "change"), CHANGES.values(), ids=CHANGES)
def test_identity_and_keys_change_with_every_file(tmp_path, name, file, change):
    folder = shutil.copytree(LATE / name, tmp_path / "model")
    before = LateInteraction(from_folder(folder))
    edit_json(folder / file, **change)
    after = LateInteraction(from_folder(folder))
    assert after.identity != before.identity
    assert after.encoding_key("a") != before.encoding_key("a")


@pytest.mark.parametrize(
    ("option", "message"),
    [({"score": "max"}, "score must be 'sum' or 'mean'"), ({"encoding": "int4"}, "int8"), ({"pooling": 4}, "1, 2 or 3")],
    ids=["score", "encoding", "pooling"],
)
def test_wrong_option_is_refused(option, message):
    with pytest.raises(InvalidInput, match=message):
        podium.load(BERT, **option)


@pytest.mark.parametrize(
    "option", [{"score": "sum"}, {"encoding": "int8"}, {"pooling": 2}], ids=["score", "encoding", "pooling"]
)
def test_options_of_late_interaction_are_refused_for_a_cross_encoder(option):
    with pytest.raises(InvalidInput, match=f"is a cross-encoder.*{next(iter(option))}"):
        podium.load(PARITY_MODELS / "bert", **option)
