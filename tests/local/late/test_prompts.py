"""The prompts of podium-mini: they are read before a query or a text, but only the text's own tokens are compared."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from checkpoints import edit_json
from environment import FIRST_RUNTIME, PARITY_MODELS
from podium.errors import PodiumError
from podium.local.files.folder import from_folder
from podium.local.late.encoding import unpack
from podium.local.late.mini import without_capitals
from podium.local.late.scorer import LateInteraction
from podium.local.tokenizer import TextTokenizer

FOLDER = PARITY_MODELS / "late"
QUERY_PROMPT, TEXT_PROMPT = "the capital ", "of "
TEXT = "rank the query of the capital"


@pytest.fixture
def folder(tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "prompted")
    edit_json(folder / "config.json", query_prompt=QUERY_PROMPT, text_prompt=TEXT_PROMPT)
    return folder


def scorer_in(folder, **options):
    return LateInteraction(from_folder(folder), runtime=FIRST_RUNTIME, encoding="float32", **options)


def text_encoding(scorer, text):
    scorer.encode([text])
    key = scorer.encoding_key(text)
    return unpack(scorer.store.get([key])[key])


def test_only_own_tokens_of_a_text_are_compared(folder):
    encoding = text_encoding(scorer_in(folder), TEXT)
    own_ids = TextTokenizer(FOLDER, 64).encode([TEXT])[0].ids[1:-1]
    np.testing.assert_array_equal(encoding.ids, own_ids)
    assert len(encoding.rows) == encoding.tokens == len(own_ids)


def test_prompts_change_the_vectors(folder):
    """The text with its prompt has the vectors of a text that begins with the prompt."""
    prompted = text_encoding(scorer_in(folder), TEXT)
    longer = text_encoding(scorer_in(FOLDER), TEXT_PROMPT + TEXT)
    plain = text_encoding(scorer_in(FOLDER), TEXT)
    prompt_length = len(longer.rows) - len(plain.rows)
    np.testing.assert_allclose(prompted.rows, longer.rows[prompt_length:-1], atol=1e-6)
    np.testing.assert_allclose(prompted.mean, longer.mean, atol=1e-6)
    assert np.abs(prompted.mean - plain.mean).max() > 1e-3


def test_query_has_another_prompt_than_a_text(folder):
    """A model whose prompts are equal gives a text the same cosine to itself as to a longer text with that prompt."""
    different = scorer_in(folder).score(TEXT, [TEXT]).raw
    edit_json(folder / "config.json", query_prompt=TEXT_PROMPT)
    assert scorer_in(folder).score(TEXT, [TEXT]).raw != different


def test_prompt_counts_in_the_maximum_length_but_not_in_the_lengths(folder):
    text = " ".join([TEXT] * 20)
    scores = scorer_in(folder, max_length=32).score(TEXT, [text])
    own_count = len(TextTokenizer(FOLDER, 1000).encode([text])[0].ids) - 2
    prompt_length = len(TextTokenizer(FOLDER, 64).encode([TEXT_PROMPT])[0].ids) - 2
    assert scorer_in(folder, max_length=32).tokenizer.text_limit(TEXT) == 30 - prompt_length
    assert scores.tokens[0] == 30 - prompt_length
    assert scores.dropped_tokens[0] == own_count - (30 - prompt_length)


def test_text_without_own_tokens_has_a_score(folder):
    scores = scorer_in(folder).score("\N{ZERO WIDTH SPACE}", [TEXT, "\N{ZERO WIDTH SPACE}"])
    assert np.isfinite(scores.raw).all()


def test_maximum_length_without_room_for_a_text_is_refused(folder):
    edit_json(folder / "config.json", text_prompt="the capital of the query and the rank of the capital ")
    with pytest.raises(PodiumError, match="max_length"):
        scorer_in(folder, max_length=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MEASUREMENT OF THE CONSTANT", "measurement of the constant"),
        ("WHAT IS HIV-1?", "what is hiv-1?"),
        ("HIV-1", "HIV-1"),
        ("WHO report", "WHO report"),
        ("NASA AND THE ESA met", "NASA AND THE ESA met"),
        ("10 000 3", "10 000 3"),
    ],
)
def test_text_in_capitals_is_read_in_lower_case(text, expected):
    assert without_capitals(text) == expected
