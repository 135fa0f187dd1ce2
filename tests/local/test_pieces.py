"""Tokenizers whose vocabulary is in a separate file: they return what Hugging Face's tokenizers returns."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import podium
from environment import NEEDS_CORE, PARITY_MODELS
from podium.errors import ModelError, UnsupportedModel
from podium.local.pieces import PIECES_FILE, json_with_vocabulary
from podium.local.spec import read_spec
from podium.local.tokenizer import PairTokenizer, TextTokenizer
from unigram import CHARACTERS, SPECIAL_TOKENS, WORDS, library_tokenizer, write_library_file, write_pieces

FULL_WIDTH = "＜s＞"  # normalized to <s>, but not a special token
PARTS = st.one_of(
    st.sampled_from(
        [*WORDS, *SPECIAL_TOKENS, *CHARACTERS, " ", "  ", "\t", "\n", "xyz", "ﬁ", FULL_WIDTH, "\U0010ffff", "é", "㎏"]
    ),
    st.text(max_size=5),
)
MAX_LENGTH = 10_000  # no text of a test is cut
TEXTS = st.lists(PARTS, max_size=12).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    write_pieces(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return TextTokenizer(folder, MAX_LENGTH)


@settings(deadline=None, max_examples=500)
@given(st.lists(TEXTS, max_size=4))
@example([])
@example(["<unk>x<unk>", "", "x" * 3000])
def test_ids_and_starts_equal_those_of_the_library(tokenizer, texts):
    library = library_tokenizer()
    assert [item.ids.tolist() for item in tokenizer.encode(texts)] == [library.encode(text).ids for text in texts]
    encodings = library.encode_batch(texts, add_special_tokens=False)
    assert tokenizer.token_counts(texts) == [len(encoding) for encoding in encodings]
    for starts, encoding in zip(tokenizer.token_starts(texts), encodings, strict=True):
        assert list(starts) == list(itertools.accumulate([start for start, _ in encoding.offsets], max))


@settings(deadline=None)
@given(query=TEXTS, text=TEXTS)
def test_pairs_equal_those_of_the_library(folder, query, text):
    (pair,) = PairTokenizer(folder, MAX_LENGTH, has_segments=False).encode([(query, text)])
    assert pair.ids.tolist() == library_tokenizer().encode(query, text).ids


def test_lower_case_applies_to_ids_and_starts(folder):
    tokenizer = TextTokenizer(folder, MAX_LENGTH, do_lower_case=True)
    upper, lower = tokenizer.encode(["RANK the İ", "rank the i̇"])
    assert upper.ids.tolist() == lower.ids.tolist()
    assert [list(starts) for starts in tokenizer.token_starts(["RANK The"])] == [
        list(starts) for starts in tokenizer.token_starts(["rank the"])
    ]


def test_without_the_core_the_library_has_the_vocabulary(folder):
    rules = json.loads((folder / "tokenizer.json").read_text())
    library, expected = (
        json.loads(tokenizer.to_str())
        for tokenizer in (Tokenizer.from_str(json_with_vocabulary(folder, rules)), library_tokenizer())
    )
    for content in (library, expected):  # The library reads a float with an error in its last bit.
        content["model"]["vocab"] = [(name, np.float32(score)) for name, score in content["model"]["vocab"]]
    assert library == expected


@NEEDS_CORE
def test_model_has_the_scores_of_its_library_tokenizer(late_model):
    write_library_file(late_model)
    expected = podium.load(late_model).rank("rank the words", ["red", "a list of words"])[1]
    write_pieces(late_model)
    assert podium.load(late_model).rank("rank the words", ["red", "a list of words"])[1] == expected


def test_vocabulary_is_part_of_the_identity(late_model):
    """Encodings and scores are stored under the identity, so it must change with the vocabulary."""
    write_pieces(late_model)
    before = read_spec(late_model).description_digest
    edit_vocabulary(late_model, lambda tensors: tensors["scores"].__imul__(2))
    assert read_spec(late_model).description_digest != before


@pytest.fixture
def late_model(tmp_path):
    return shutil.copytree(PARITY_MODELS / "late", tmp_path / "model")


def edit_vocabulary(folder, change):
    tensors = load_file(folder / PIECES_FILE)
    change(tensors)
    save_file(tensors, folder / PIECES_FILE)


def set_end(index, value):
    return lambda tensors: tensors["ends"].__setitem__(index, value)


def set_tensor(name, change):
    return lambda tensors: tensors.update({name: change(tensors[name])})


def duplicate(tensors):
    """Make the second and third of the pieces <s>, <pad>, </s> equal."""
    tensors["characters"][3:12] = np.frombuffer(b"<s><s>d</s>"[:9], np.uint8)
    tensors["ends"][:3] = 3, 6, 12


def append_piece(tensors, piece):
    tensors["characters"] = np.append(tensors["characters"], np.frombuffer(piece, np.uint8))
    tensors["ends"] = np.append(tensors["ends"], np.uint32(len(tensors["characters"])))
    tensors["scores"] = np.append(tensors["scores"], np.float32(-1))


DAMAGES = {
    "no-scores": lambda tensors: tensors.pop("scores"),
    "few-scores": set_tensor("scores", lambda scores: scores[1:]),
    "nan": set_tensor("scores", lambda scores: scores * np.float32(np.nan)),
    "float64": set_tensor("scores", lambda scores: scores.astype(np.float64)),
    "signed": set_tensor("ends", lambda ends: ends.astype(np.int32)),
    "matrix": set_tensor("ends", lambda ends: ends[None]),
    "none": lambda tensors: tensors.update({name: tensor[:0] for name, tensor in tensors.items()}),
    "last-end": set_end(-1, 5),
    "far-end": set_end(3, 1 << 31),
    "equal-ends": set_end(1, 3),
    "split-character": lambda tensors: tensors["ends"].__setitem__(4, tensors["ends"][4] - 4),
    "duplicate": duplicate,
    "long-piece": lambda tensors: append_piece(tensors, b"a" * 257),
    "incomplete-last-piece": lambda tensors: append_piece(tensors, "é".encode()[:1]),
    "more-characters": set_tensor("characters", lambda characters: np.append(characters, characters[-1:])),
}


@NEEDS_CORE
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_vocabulary_is_refused(late_model, damage):
    write_pieces(late_model)
    edit_vocabulary(late_model, damage)
    with pytest.raises(ModelError, match="is damaged; download both again"):
        podium.load(late_model)


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "long-piece"])  # only the core limits a piece's length
def test_damaged_vocabulary_is_refused_without_the_core(late_model, name):
    write_pieces(late_model)
    edit_vocabulary(late_model, DAMAGES[name])
    with pytest.raises(ModelError, match="is damaged; download both again"):
        json_with_vocabulary(late_model, json.loads((late_model / "tokenizer.json").read_text()))


@pytest.mark.parametrize("model", [None, [], {"type": "BPE", "vocab": PIECES_FILE}], ids=["missing", "list", "bpe"])
def test_other_model_is_refused_without_the_core(late_model, model):
    write_pieces(late_model)
    with pytest.raises(ModelError, match="is damaged; download both again"):
        json_with_vocabulary(late_model, {} if model is None else {"model": model})


@pytest.mark.parametrize(
    "changes",
    [{"type": "BPE"}, {"byte_fallback": True}, {"unk_id": 10_000}, {"unk_id": None}, {"vocab": []}],
    ids=["type", "bytes", "unknown", "no-unknown", "vocabulary"],
)
@NEEDS_CORE
def test_other_models_are_refused(late_model, changes):
    write_pieces(late_model, **changes)
    with pytest.raises(ModelError, match="is damaged; download both again"):
        podium.load(late_model)


@NEEDS_CORE
@pytest.mark.parametrize("added_id", [-5, 2**31, 10**12, "7"])
def test_added_token_without_a_valid_id_is_refused(late_model, added_id):
    write_pieces(late_model)
    rules = json.loads((late_model / "tokenizer.json").read_text())
    rules["added_tokens"].append(rules["added_tokens"][-1] | {"id": added_id, "content": "foo", "special": False})
    (late_model / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ModelError, match="is damaged; download both again"):
        podium.load(late_model)


def test_named_pipe_is_refused(late_model):
    write_pieces(late_model)
    (late_model / PIECES_FILE).unlink()
    os.mkfifo(late_model / PIECES_FILE)
    with pytest.raises(ModelError, match="tokenizer"):
        podium.load(late_model)


def test_colbert_models_need_the_vocabulary_in_tokenizer_json(tmp_path):
    folder = shutil.copytree(PARITY_MODELS / "late-interaction" / "pylate-bert", tmp_path / "model")
    write_pieces(folder)
    with pytest.raises(UnsupportedModel, match="ColBERT"):
        podium.load(folder)
