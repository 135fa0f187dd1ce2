"""Truncation, which podium implements itself: it is that of Hugging Face tokenizers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from environment import PARITY_MODELS
from podium.errors import ModelError, ModelNotFound, UnsupportedModel
from podium.local.tokenizer import PairTokenizer, TextTokenizer, truncated_lengths

FOLDER = PARITY_MODELS / "bert"
WORDS = st.lists(st.sampled_from(["rank", "query", "zzz", "café", "!", "東"]), min_size=1, max_size=60).map(" ".join)
LONG = "one two three four five six"


def pair_tokenizer(folder, max_length):
    return PairTokenizer(folder, max_length, has_segments=True)


@settings(deadline=None)
@given(query=WORDS, text=WORDS, max_length=st.integers(5, 70))
def test_pairs_are_those_of_the_tokenizer_itself(query, text, max_length):
    reference = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    reference.enable_truncation(max_length, strategy="longest_first")
    expected = reference.encode(query, text)
    tokenizer = pair_tokenizer(FOLDER, max_length)
    (pair,) = tokenizer.encode([(query, text)])
    assert pair.ids.tolist() == expected.ids
    assert tokenizer.segment_ids(pair).tolist() == expected.type_ids


@settings(deadline=None)
@given(text=WORDS, max_length=st.integers(4, 70))
def test_texts_are_those_of_the_tokenizer_itself(text, max_length):
    reference = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    reference.enable_truncation(max_length)
    tokenizer = TextTokenizer(FOLDER, max_length)
    (encoded,) = tokenizer.encode([text])
    assert encoded.ids.tolist() == reference.encode(text).ids
    assert not tokenizer.segment_ids(encoded).any()


@given(st.integers(0, 600), st.integers(0, 600), st.integers(2, 512))
def test_truncated_lengths_fit_exactly(first, second, length):
    lengths = truncated_lengths(first, second, length)
    assert lengths[0] <= first
    assert lengths[1] <= second
    assert sum(lengths) == min(first + second, length)


def test_queries_of_one_call_can_differ():
    tokenizer = pair_tokenizer(FOLDER, 64)
    pairs = [("rank", "query"), ("query list", "red"), ("rank", "red")]
    together = tokenizer.encode(pairs)
    for pair, encoded in zip(pairs, together, strict=True):
        np.testing.assert_array_equal(encoded.ids, tokenizer.encode([pair])[0].ids)


@pytest.mark.parametrize(
    ("settings", "has_segments"),
    [
        ({"tokenizer_class": "BertTokenizerFast"}, True),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ({}, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}, True),
    ],
    ids=["class", "generic-class", "default", "inputs-without", "inputs-with"],
)
def test_segments_are_those_of_the_reference(tmp_path, settings, has_segments):
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = pair_tokenizer(tmp_path, 64)
    (pair,) = tokenizer.encode([("rank", "query")])
    assert bool(tokenizer.segment_ids(pair).any()) == has_segments


def test_truncation_can_be_from_the_left(tmp_path):
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
    (right,) = pair_tokenizer(FOLDER, 8).encode([("rank", LONG)])
    (left,) = pair_tokenizer(tmp_path, 8).encode([("rank", LONG)])
    (complete,) = pair_tokenizer(FOLDER, 64).encode([("rank", LONG)])
    text = complete.ids[complete.text_start : -1]
    np.testing.assert_array_equal(right.ids[right.text_start : -1], text[: right.text_tokens])
    np.testing.assert_array_equal(left.ids[left.text_start : -1], text[-left.text_tokens :])


def test_vocabulary_is_enough_for_bert(tmp_path):
    vocabulary = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    (expected,) = pair_tokenizer(FOLDER, 64).encode([("rank the", "query Café")])
    (pair,) = pair_tokenizer(tmp_path, 64).encode([("rank the", "query Café")])
    np.testing.assert_array_equal(pair.ids, expected.ids)


def test_missing_tokenizer_is_an_error(tmp_path):
    with pytest.raises(ModelNotFound, match=r"tokenizer\.json nor vocab\.txt.*AutoTokenizer"):
        pair_tokenizer(tmp_path, 64)


def test_damaged_tokenizer_is_an_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        pair_tokenizer(tmp_path, 64)


@pytest.mark.parametrize(("tokenizer", "max_length"), [(pair_tokenizer, 4), (TextTokenizer, 2)], ids=["pair", "text"])
def test_max_length_that_leaves_no_tokens_is_an_error(tokenizer, max_length):
    with pytest.raises(UnsupportedModel, match=f"max_length={max_length}"):
        tokenizer(FOLDER, max_length)
