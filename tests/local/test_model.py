"""The parts that cross-encoders and embedders share: chunks of texts, and errors while loading."""

from __future__ import annotations

import numpy as np
import pytest

import podium
from environment import PARITY_MODELS
from podium.errors import UnsupportedModel
from podium.local.build import load
from podium.local.files.folder import from_folder
from podium.local.model import LoadedModel, Options, common_beginnings
from podium.local.spec import read_spec
from podium.local.tokenizer import Encoded, PairTokenizer
from podium.token_counts import GROUP_CHARACTERS, GROUP_INPUTS


@pytest.fixture(scope="module")
def loaded_model():
    def make_tokenizer(spec, max_length):
        return PairTokenizer(spec.base, max_length, has_segments=True)

    def output_of_pair(pair, tokens, result):
        return result

    folder = PARITY_MODELS / "bert"
    functions = {"load": load, "tokenizer": make_tokenizer, "output": output_of_pair}
    model = LoadedModel(from_folder(folder), read_spec(folder), Options(), **functions, probe=("a", "b"))
    yield model
    model.workers.close()


def test_texts_are_tokenised_in_chunks_of_bounded_size(loaded_model):
    pairs = [("query", text) for text in [*(f"rank {index}" for index in range(300)), "long " * 400_000, "short"]]
    chunks = list(loaded_model.chunks(pairs))
    assert [pair for chunk in chunks for pair in chunk] == pairs
    assert max(map(len, chunks)) == GROUP_INPUTS
    assert all(sum(len(text) for _, text in chunk) <= GROUP_CHARACTERS for chunk in chunks if len(chunk) > 1)
    encoded = list(loaded_model.encode(pairs))
    assert len(encoded) == len(pairs)
    assert encoded[-1].dropped_text_tokens == 0
    assert encoded[-2].dropped_text_tokens > 300_000


def test_no_inputs_give_no_outputs(loaded_model):
    computed = loaded_model.run([])
    assert computed.indices == []
    assert computed.outputs == []


@pytest.mark.parametrize("load_model", [podium.load, podium.Embedder], ids=["cross-encoder", "embedder"])
def test_unexpected_error_names_the_model(model, load_model):
    """Here, modules.json has a list instead of an object."""
    (model / "modules.json").write_text("[[]]")
    with pytest.raises(UnsupportedModel, match=f"{model}: its config.json, tokenizer or modules.json"):
        load_model(model)


@pytest.mark.parametrize(
    ("texts", "shared", "expected"),
    [
        ([[1, 2, 3, 4], [1, 2, 5, 6]], [2, 2], [2, 2]),
        ([[1, 2, 3, 4], [1, 2, 3, 6]], [2, 2], [3, 3]),
        ([[1, 2, 3, 4], [1, 2, 3, 6], [9, 2, 3], [9, 2, 7, 8]], [2, 2, 1, 1], [3, 3, 2, 2]),
        ([[1, 2, 3], [1, 2, 3]], [2, 2], [2, 2]),
        ([[1, 2, 3, 4], [1, 2, 3]], [1, 1], [2, 2]),
        ([[1, 2, 3, 4], [1, 2, 3, 5]], [0, 0], [0, 0]),
        ([[1, 2, 3, 4], [1, 2, 3, 5], [1, 8, 9]], [2, 2, 1], [3, 3, 2]),
        ([], [], []),
    ],
    ids=[
        "shared only",
        "equal start",
        "two queries",
        "equal",
        "one is the start",
        "nothing shared",
        "another start",
        "no texts",
    ],
)
def test_common_beginning_ends_before_the_first_different_token(texts, shared, expected):
    encoded = [
        Encoded(np.array(ids, np.int32), text_start=0, text_tokens=0, dropped_text_tokens=0, shared_tokens=count)
        for ids, count in zip(texts, shared, strict=True)
    ]
    assert common_beginnings(encoded) == expected
