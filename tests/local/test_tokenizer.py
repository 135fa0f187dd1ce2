"""Truncation is that of Hugging Face tokenizers, told without ever switching it on in one that is shared."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from environment import PARITY
from podium.errors import ModelError, ModelNotFound, UnsupportedModel
from podium.local.tokenizer import PairTokenizer, kept_lengths

FOLDER = PARITY / "bert"
WORDS = st.lists(st.sampled_from(["rank", "query", "zzz", "café", "!", "東"]), min_size=1, max_size=60).map(" ".join)


@settings(deadline=None)
@given(first=WORDS, second=WORDS, most=st.integers(5, 70))
def test_pairs_are_what_the_tokenizer_itself_makes(first, second, most):
    reference = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    reference.enable_truncation(most, strategy="longest_first")
    expected = reference.encode(first, second)
    tokenizer = PairTokenizer(FOLDER, most, "bert")
    (pair,) = tokenizer.pairs(first, [second])
    assert pair.ids.tolist() == expected.ids
    assert tokenizer.segments(pair).tolist() == expected.type_ids


@given(st.integers(0, 600), st.integers(0, 600), st.integers(2, 512))
def test_what_is_kept_fits_and_wastes_nothing(first, second, room):
    kept = kept_lengths(first, second, room)
    assert kept[0] <= first
    assert kept[1] <= second
    assert sum(kept) == min(first + second, room)


def test_many_texts_are_read_in_chunks_of_bounded_size():
    tokenizer = PairTokenizer(FOLDER, 64, "bert")
    texts = [f"rank {at}" for at in range(300)] + ["long " * 400_000, "short"]
    pairs = list(tokenizer.pairs("query", texts))
    assert len(pairs) == 302
    assert pairs[-1].text_dropped == 0
    assert pairs[-2].text_dropped > 300_000


@pytest.mark.parametrize(
    ("settings", "segments"),
    [
        ({"tokenizer_class": "BertTokenizerFast"}, True),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ({}, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}, True),
    ],
)
def test_segments_are_told_apart_only_where_the_reference_does(tmp_path, settings, segments):
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = PairTokenizer(tmp_path, 64, "bert")
    (pair,) = tokenizer.pairs("rank", ["query"])
    assert bool(tokenizer.segments(pair).any()) == segments


def test_truncation_may_be_from_the_left(tmp_path):
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
    (right,) = PairTokenizer(FOLDER, 8, "bert").pairs("rank", ["one two three four five six"])
    (left,) = PairTokenizer(tmp_path, 8, "bert").pairs("rank", ["one two three four five six"])
    (whole,) = PairTokenizer(FOLDER, 64, "bert").pairs("rank", ["one two three four five six"])
    text = whole.ids[whole.text_starts : -1]
    np.testing.assert_array_equal(right.ids[right.text_starts : -1], text[: right.text_tokens])
    np.testing.assert_array_equal(left.ids[left.text_starts : -1], text[-left.text_tokens :])


def test_a_vocabulary_alone_is_enough_for_bert(tmp_path):
    vocabulary = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    (expected,) = PairTokenizer(FOLDER, 64, "bert").pairs("rank the", ["query Café"])
    (pair,) = PairTokenizer(tmp_path, 64, "bert").pairs("rank the", ["query Café"])
    np.testing.assert_array_equal(pair.ids, expected.ids)


def test_a_missing_tokenizer_is_an_error_with_its_remedy(tmp_path):
    with pytest.raises(ModelNotFound, match=r"tokenizer\.json nor vocab\.txt.*AutoTokenizer"):
        PairTokenizer(tmp_path, 64, "bert")


def test_a_damaged_tokenizer_is_an_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        PairTokenizer(tmp_path, 64, "bert")


def test_room_for_nothing_is_an_error():
    with pytest.raises(UnsupportedModel, match="max_length=4"):
        PairTokenizer(FOLDER, 4, "bert")
