"""Tokenizers: truncation, which podium implements itself, the tokenizer's settings, and rules that are refused."""

from __future__ import annotations

import base64
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from environment import PARITY_MODELS
from podium.errors import ModelError, ModelNotFound, UnsupportedModel
from podium.local.text_expansion import expansion_bound
from podium.local.tokenizer import PairTokenizer, TextTokenizer, truncated_lengths

FOLDER = PARITY_MODELS / "bert"
WORDS = st.lists(st.sampled_from(["rank", "query", "zzz", "café", "!", "東"]), min_size=1, max_size=60).map(" ".join)
LONG = "one two three four five six"


def pair_tokenizer(folder, max_length):
    return PairTokenizer(folder, max_length, has_segments=True)


@settings(deadline=None)
@given(query=WORDS, text=WORDS, max_length=st.integers(5, 70))
def test_pairs_are_truncated_as_hugging_face_does(query, text, max_length):
    reference = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    reference.enable_truncation(max_length, strategy="longest_first")
    expected = reference.encode(query, text)
    tokenizer = pair_tokenizer(FOLDER, max_length)
    (pair,) = tokenizer.encode([(query, text)])
    assert pair.ids.tolist() == expected.ids
    assert tokenizer.segment_ids(pair).tolist() == expected.type_ids


@settings(deadline=None)
@given(text=WORDS, max_length=st.integers(4, 70))
def test_texts_are_truncated_as_hugging_face_does(text, max_length):
    reference = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    reference.enable_truncation(max_length)
    tokenizer = TextTokenizer(FOLDER, max_length)
    (encoded,) = tokenizer.encode([text])
    assert encoded.ids.tolist() == reference.encode(text).ids
    assert not tokenizer.segment_ids(encoded).any()


@given(query_length=st.integers(0, 600), text_length=st.integers(0, 600), max_length=st.integers(2, 512))
def test_truncated_lengths_use_the_maximum(query_length, text_length, max_length):
    lengths = truncated_lengths(query_length, text_length, max_length)
    assert lengths[0] <= query_length
    assert lengths[1] <= text_length
    assert sum(lengths) == min(query_length + text_length, max_length)


def test_queries_of_one_call_can_differ():
    tokenizer = pair_tokenizer(FOLDER, 64)
    pairs = [("rank", "query"), ("query list", "red"), ("rank", "red")]
    for pair, encoded in zip(pairs, tokenizer.encode(pairs), strict=True):
        np.testing.assert_array_equal(encoded.ids, tokenizer.encode([pair])[0].ids)


@pytest.mark.parametrize(
    ("tokenizer_config", "has_segments"),
    [
        ({"tokenizer_class": "BertTokenizerFast"}, True),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ({}, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}, True),
    ],
    ids=["class", "generic-class", "default", "inputs-without", "inputs-with"],
)
def test_tokenizer_config_decides_whether_pairs_have_segments(tmp_path, tokenizer_config, has_segments):
    """transformers decides in the same way, by the names of the model's inputs and by the class."""
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
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


def test_bert_without_tokenizer_json_is_read_from_vocab_txt(tmp_path):
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


@pytest.mark.parametrize(("make_tokenizer", "max_length"), [(pair_tokenizer, 4), (TextTokenizer, 2)], ids=["pair", "text"])
def test_max_length_with_room_for_special_tokens_only_is_an_error(make_tokenizer, max_length):
    with pytest.raises(UnsupportedModel, match=f"max_length={max_length}"):
        make_tokenizer(FOLDER, max_length)


REPLACE_A = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
ANY_CHARACTER = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}


def sentencepiece_charsmap(longest_text):
    """Return sentencepiece's character map in base64, with an empty trie and two texts: "a" and `longest_text`."""
    return base64.b64encode(b"\0\0\0\0a\0" + longest_text.encode() + b"\0").decode()


def write_tokenizer(folder, **changes):
    """Write the tokenizer.json of the model in FOLDER, with changed values, into another folder."""
    tokenizer = json.loads((FOLDER / "tokenizer.json").read_text()) | changes
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))


def sequence(key, rules):
    """Return a rule that applies several rules in order. `key` is "normalizers" or "pretokenizers"."""
    return {"type": "Sequence", key: rules}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": sequence("normalizers", [REPLACE_A] * 7)},
        {"normalizer": sequence("normalizers", [sequence("normalizers", [REPLACE_A] * 4), {"type": "Lowercase"}])},
        {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "a" * 200}},
        {"normalizer": sequence("normalizers", [{"type": "Replace", "pattern": {"Regex": "b*"}, "content": "bb"}] * 5)},
        {  # a Unicode form of U+FDFA has 18 letters, among them U+0644, and the second rule replaces each of these again
            "normalizer": sequence(
                "normalizers", [{"type": "Replace", "pattern": {"String": "\u0644"}, "content": "\ufdfa"}] * 2
            )
        },
        {"normalizer": sequence("normalizers", [{"type": "Prepend", "prepend": "a"}] * 8)},
        {"normalizer": sequence("normalizers", [{"type": "ByteLevel"}] * 4)},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": sentencepiece_charsmap("a" * 201)}},
        {
            "normalizer": None,
            "pre_tokenizer": sequence(
                "pretokenizers",
                [ANY_CHARACTER, {"type": "Metaspace", "replacement": "x", "prepend_scheme": "always", "split": True}] * 8,
            ),
        },
        {"normalizer": None, "pre_tokenizer": sequence("pretokenizers", [{"type": "ByteLevel", "trim_offsets": True}] * 4)},
    ],
    ids=[
        "replace",
        "nested",
        "empty string",
        "regular expression",
        "Unicode form",
        "prepend",
        "bytes",
        "character map",
        "metaspace",
        "bytes as pre-tokenizer",
    ],
)
@pytest.mark.parametrize("is_escaped", [False, True], ids=["plain", "escaped"])
def test_tokenizer_that_makes_texts_much_longer_is_refused(tmp_path, changes, is_escaped):
    """The rules are also recognized if the names in the file are written with JSON's escapes."""
    write_tokenizer(tmp_path, **changes)
    path = tmp_path / "tokenizer.json"
    if is_escaped:
        for name in ("normalizer", "pre_tokenizer"):
            path.write_text(path.read_text().replace(f'"{name}"', f'"\\u00{ord(name[0]):x}{name[1:]}"'))
    with pytest.raises(UnsupportedModel, match=r"can make a text [\d,]+ times longer, and podium allows 200; download"):
        TextTokenizer(tmp_path, 64)


def test_rules_are_checked_before_they_are_applied_to_added_tokens(tmp_path):
    """When the tokenizers library loads a tokenizer, it already applies the rules to the added tokens."""
    vocabulary = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).get_vocab()
    token = {"id": len(vocabulary), "content": "a" * 300, "normalized": True, "special": False}
    token |= {"single_word": False, "lstrip": False, "rstrip": False}
    write_tokenizer(tmp_path, normalizer=sequence("normalizers", [REPLACE_A] * 12), added_tokens=[token])
    with pytest.raises(UnsupportedModel, match="1,000,000,000,000 times longer"):
        TextTokenizer(tmp_path, 64)


SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
LONGEST_TEXT_OF_NMT_NFKC = "صلى الله عليه وسلم"  # 18 characters
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": sentencepiece_charsmap(LONGEST_TEXT_OF_NMT_NFKC)}


@pytest.mark.parametrize(
    ("normalizers", "pre_tokenizers"),
    [
        (
            [PRECOMPILED, {"type": "Strip", "strip_left": False, "strip_right": True}, SPACES],
            [{"type": "WhitespaceSplit"}, METASPACE],
        ),
        (
            [
                {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
                {"type": "Replace", "pattern": {"String": "''"}, "content": '"'},
                *({"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, PRECOMPILED, SPACES),
            ],
            [METASPACE],
        ),
        (
            [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}],
            [{"type": "WhitespaceSplit"}],
        ),
        ([{"type": "NFC"}], [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": True}]),
    ],
    ids=["XLM-RoBERTa", "ALBERT", "Llama", "ModernBERT"],
)
def test_rules_of_real_tokenizers_are_allowed(normalizers, pre_tokenizers):
    rules = {
        "normalizer": sequence("normalizers", normalizers),
        "pre_tokenizer": sequence("pretokenizers", pre_tokenizers),
    }
    assert expansion_bound(json.dumps(rules, ensure_ascii=False)) <= 18 * 2 * 2  # PRECOMPILED, SPACES and METASPACE


def test_character_map_that_is_not_base64_is_an_error():
    with pytest.raises(ValueError, match="base64"):
        expansion_bound(json.dumps({"normalizer": PRECOMPILED | {"precompiled_charsmap": "AAAA*AAAA"}}))


def test_rule_that_fails_on_a_text_is_an_error(tmp_path):
    """The rule's regular expression would take exponential time on this text, so the tokenizers library gives up and panics."""
    pattern = {"type": "Split", "pattern": {"Regex": "(a|a)+$"}, "behavior": "Isolated", "invert": False}
    write_tokenizer(tmp_path, pre_tokenizer=pattern)
    tokenizer = TextTokenizer(tmp_path, 64)
    with pytest.raises(ModelError, match=r"a rule in the model's tokenizer\.json fails on one of the texts; download"):
        tokenizer.encode(["a" * 30 + "c"])


def test_unknown_word_is_an_error_without_an_unknown_token(tmp_path):
    """The vocabulary has neither the word nor the token that would replace it."""
    model = json.loads((FOLDER / "tokenizer.json").read_text())["model"]
    write_tokenizer(tmp_path, model=model | {"unk_token": "[no such token]"})
    tokenizer = TextTokenizer(tmp_path, 64)
    with pytest.raises(ModelError, match="fails on one of the texts"):
        tokenizer.encode(["\u0c85"])
