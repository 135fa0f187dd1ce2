"""training/compact.py, which writes a small copy of a model: the copy has the scores of the model."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import podium
from checkpoints import edit_json, edit_weights
from environment import PARITY_MODELS, ROOT
from podium.local.files.quantised import Quantised
from podium.local.pieces import read_vocabulary
from podium.local.tokenizer import TextTokenizer
from unigram import SPECIAL_TOKENS, library_tokenizer, write_library_file

sys.path.insert(0, str(ROOT / "training"))
import compact

PIECES = [(name, score) for name, score in json.loads(library_tokenizer().to_str())["model"]["vocab"]]
NAMES = [name for name, _ in PIECES]
SPECIAL_IDS = set(range(len(SPECIAL_TOKENS)))
TEXTS = ["red", "a list of words", "the café of 東京"]


@pytest.fixture
def model(tmp_path):
    """A late-interaction model with more rows than its tokenizer has pieces. Its tables lose nothing when they are copied."""
    folder = shutil.copytree(PARITY_MODELS / "late", tmp_path / "model")
    write_library_file(folder)

    def change(weights):
        words = weights["bert.embeddings.word_embeddings.weight"]
        weights["bert.embeddings.word_embeddings.weight"] = Quantised.from_matrix(words, 4, 32, np.float16).widened()
        for name in compact.HALF_TABLES:
            weights[name] = weights[name].astype(np.float16).astype(np.float32)

    edit_weights(folder, change)
    edit_json(folder / "config.json", podium={"precision": "int8"})
    return folder


def scores(folder):
    return podium.load(folder).score("rank the words", TEXTS)


def test_copy_with_all_pieces_has_the_same_scores(model, tmp_path):
    compact.write_copy(model, tmp_path / "copy")
    assert scores(tmp_path / "copy") == pytest.approx(scores(model), abs=1e-6)
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["vocab_size"] == len(PIECES)


@pytest.mark.parametrize("layers", compact.LAYER_BITS)
def test_layers_can_be_stored_in_other_formats(model, tmp_path, layers):
    compact.write_copy(model, tmp_path / "copy", layers=layers)
    dtype = load_file(tmp_path / "copy" / "model.safetensors")["bert.encoder.layer.0.intermediate.dense.weight"].dtype
    assert dtype == {"int8": np.int8, "int4": np.uint8, "float16": np.float16}[layers]
    assert scores(tmp_path / "copy") == pytest.approx(scores(model), abs=0.02 if layers == "int4" else 1e-6)


def test_vocabulary_of_another_kind_is_copied_as_it_is(tmp_path):
    """Words in 8 bits have scores that are close to those of the model."""
    model = PARITY_MODELS / "late"
    compact.write_copy(model, tmp_path / "copy", words="int8")
    assert (tmp_path / "copy" / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    words = load_file(tmp_path / "copy" / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert words.dtype == np.int8
    assert scores(tmp_path / "copy") == pytest.approx(scores(model), abs=0.01)


def test_copy_with_fewer_pieces_reads_texts_of_these_pieces_in_the_same_way(model, tmp_path):
    compact.write_copy(model, tmp_path / "copy", count=len(PIECES) - 1, texts=["a list of words, the café", "red rank"])
    names = [name for name, _ in read_vocabulary(tmp_path / "copy").pieces()]
    assert set(NAMES) - set(names) == {"東京"}
    assert scores(tmp_path / "copy")[:2] == pytest.approx(scores(model)[:2], abs=1e-6)


def test_ids_of_special_tokens_are_those_of_the_copy(model, tmp_path):
    """The copy has <unk> at another index if a piece before it was removed."""
    rules = json.loads((model / "tokenizer.json").read_text())
    names = ["東東", *NAMES]
    rules["model"] |= {"vocab": [["東東", -20.0], *PIECES], "unk_id": names.index("<unk>")}
    for token in rules["added_tokens"]:
        token["id"] = names.index(token["content"])
    for token in rules["post_processor"]["special_tokens"].values():
        token["ids"] = [names.index(name) for name in token["tokens"]]
    (model / "tokenizer.json").write_text(json.dumps(rules))
    compact.write_copy(model, tmp_path / "copy", count=len(PIECES))
    (encoded,) = TextTokenizer(tmp_path / "copy", 64).encode(["red</s>ж"])
    copied = [name for name, _ in read_vocabulary(tmp_path / "copy").pieces()]
    assert [copied[index] for index in encoded.ids] == ["<s>", "▁red", "</s>", "▁", "<unk>", "</s>"]


@pytest.mark.parametrize(
    ("used", "count", "others", "expected"),
    [
        ({4}, 5, 0, [0, 1, 2, 4, 5]),
        (set(), 5, 0, [0, 1, 2, 5, 6]),
        (set(), 100, 0, [0, 1, 2, 4, 5, 6, 7]),
        (set(), 6, 1, [0, 1, 2, 5, 6, 8]),
        ({3}, 0, 2, [0, 1, 2, 3, 8]),
    ],
    ids=["used", "by-score", "all", "other-scripts", "only-other-scripts"],
)
def test_single_characters_and_used_or_frequent_pieces_stay(used, count, others, expected):
    pieces = [("<s>", 0.0), ("ж", -20.0), ("▁東", -19.0), ("ба", -9.0), ("ab", -5.0), ("▁cd", -3.0), ("ef", -4.0), ("12", -6.0)]
    assert compact.selected_ids([*pieces, ("да", -8.0)], {0}, used, count, others) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("▁straße", True),
        ("▁12,5", True),
        ("naïve", True),
        ("x²", True),
        ("µm", False),
        ("▁да", False),
        ("aж", False),
        ("ा", False),
    ],
    ids=str,
)
def test_script_of_a_piece(text, expected):
    assert compact.is_latin(text) == expected
