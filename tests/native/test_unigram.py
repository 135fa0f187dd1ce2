"""The native core's Unigram model. tests/local/test_pieces.py compares it with the library tokenizers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from podium._native import Unigram
from podium.local.pieces import Vocabulary

PIECES = [("<unk>", 0.0), ("a", -2.0), ("b", -2.0), ("ab", -3.0), ("é", -1.0), ("éa", -9.0)]


@pytest.fixture
def unigram():
    return Unigram(*Vocabulary.from_pieces(PIECES), unknown_id=0)


def split(unigram, *texts):
    return [numbers.tolist() for numbers in unigram.split(list(texts))]


@pytest.mark.parametrize(
    ("word", "ids", "lengths"),
    [
        ("ab", [3], [2]),
        ("abab", [3, 3], [2, 2]),
        ("éa", [4, 1], [1, 1]),
        ("xyb", [0, 2], [2, 1]),
        ("東x", [0], [2]),
        ("a<unk>x", [1, 0], [1, 6]),
        ("", [], []),
        ("a\0b", [1, 0, 2], [1, 1, 1]),
    ],
    ids=["piece", "pieces", "best", "unknown", "unknown-run", "unknown-piece", "empty", "nul"],
)
def test_words_are_split_along_the_best_path(unigram, word, ids, lengths):
    assert split(unigram, [word]) == [ids, lengths, [len(ids)]]


def test_counts_are_those_of_texts(unigram):
    assert split(unigram, ["ab", "a"], [], [5, "b", 0]) == [[3, 1, 5, 2, 0], [2, 1, 1, 1, 1], [2, 0, 3]]
    assert split(unigram) == [[], [], []]


@pytest.mark.parametrize("part", [-1, 1 << 40, 1.5, None, b"ab"], ids=str)
def test_other_parts_are_refused(unigram, part):
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        unigram.split([[part]])


def test_lone_surrogates_are_refused(unigram):
    with pytest.raises(UnicodeEncodeError):
        unigram.split([["\ud800"]])


def test_pieces_with_equal_hashes_are_found():
    """With 20,000 pieces in a table of 65,536 slots, many pieces have the same slot."""
    pieces = [(f"{number:x}", -float(number)) for number in range(20_000)]
    unigram = Unigram(*Vocabulary.from_pieces(pieces), unknown_id=19_999)
    ids, _, _ = unigram.split([[name] for name, _ in pieces[:16]])
    assert ids.tolist() == list(range(16))
    best, _, _ = unigram.split([["10"]])
    assert best.tolist() == [1, 0]  # -1 and 0 are better than -16


def test_threads_get_equal_results(unigram):
    texts = [["ab" * 50, "xyé", 3]] * 20
    expected = split(unigram, *texts)
    results = []
    threads = [threading.Thread(target=lambda: results.extend(split(unigram, *texts) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 80


@pytest.mark.parametrize("unknown_id", [-1, 6])
def test_unknown_id_must_be_that_of_a_piece(unknown_id):
    with pytest.raises(ValueError, match="unknown id"):
        Unigram(*Vocabulary.from_pieces(PIECES), unknown_id=unknown_id)


def test_there_must_be_a_score_per_piece():
    characters, ends, scores = Vocabulary.from_pieces(PIECES)
    with pytest.raises(ValueError, match="one score per piece"):
        Unigram(characters, ends, scores[1:].copy(), unknown_id=0)
    with pytest.raises(ValueError, match="end where their bytes end"):
        Unigram(characters, np.zeros(0, np.uint32), scores[:0], unknown_id=0)
