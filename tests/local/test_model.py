"""What cross-encoders and embedders share: chunks of texts, and errors while loading."""

from __future__ import annotations

import pytest

import podium
from environment import PARITY_MODELS
from podium.errors import UnsupportedModel
from podium.local.build import load
from podium.local.files.folder import from_folder
from podium.local.model import CHUNK_CHARACTERS, CHUNK_INPUTS, LoadedModel, Options
from podium.local.spec import read_spec
from podium.local.tokenizer import PairTokenizer


@pytest.fixture(scope="module")
def loaded():
    def tokenizer(spec, max_length):
        return PairTokenizer(spec.base, max_length, has_segments=True)

    def output(pair, tokens, result):
        return result

    files, spec = from_folder(PARITY_MODELS / "bert"), read_spec(PARITY_MODELS / "bert")
    model = LoadedModel(files, spec, Options(), load=load, tokenizer=tokenizer, output=output, probe=("a", "b"))
    yield model
    model.workers.close()


def test_texts_are_tokenised_in_chunks_of_bounded_size(loaded):
    pairs = [("query", text) for text in [*(f"rank {index}" for index in range(300)), "long " * 400_000, "short"]]
    chunks = list(loaded.chunks(pairs))
    assert [pair for chunk in chunks for pair in chunk] == pairs
    assert max(map(len, chunks)) == CHUNK_INPUTS
    assert all(sum(len(text) for _, text in chunk) <= CHUNK_CHARACTERS for chunk in chunks if len(chunk) > 1)
    encoded = list(loaded.encode(pairs))
    assert len(encoded) == 302
    assert encoded[-1].dropped_text_tokens == 0
    assert encoded[-2].dropped_text_tokens > 300_000


def test_no_inputs_give_no_outputs(loaded):
    computed = loaded.run([])
    assert computed.indices == []
    assert computed.outputs == []


@pytest.mark.parametrize("kind", [podium.load, podium.Embedder], ids=["cross-encoder", "embedder"])
def test_unexpected_error_names_the_model(model, kind):
    """Here a list where modules.json should have an object."""
    (model / "modules.json").write_text("[[]]")
    with pytest.raises(UnsupportedModel, match=f"{model}: its config.json, tokenizer or modules.json"):
        kind(model)
