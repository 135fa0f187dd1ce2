"""Windows of long texts: they cover the text, have a limited number of tokens, and end where sentences end."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import WordTokens
from podium.compose.windows import Window, split_window, token_count, windows
from podium.sentences import sentence_ranges
from podium.token_counts import EstimatedTokens, SeveralCounters

WORD = st.text("abAB.東!", min_size=1, max_size=5)
SPACE = st.sampled_from([" ", "  ", "\n", ". ", "! ", "\t", "。"])
TEXT = st.lists(st.tuples(WORD, SPACE), max_size=60).map(lambda pairs: "".join(word + space for word, space in pairs))


def starts_of_words(text):
    return WordTokens(0).token_starts([text])[0]


def starts_of_characters(text):
    """Two tokens per character, as a tokenizer of bytes has them for Chinese characters."""
    return [position for position in range(len(text)) for _ in range(2)]


@pytest.mark.parametrize("starts_of", [starts_of_words, starts_of_characters], ids=["words", "two tokens per character"])
@given(text=TEXT, size=st.integers(1, 20), overlap=st.integers(0, 20))
def test_windows_cover_the_text_and_are_not_too_long(starts_of, text, size, overlap):
    starts = starts_of(text)
    parts = windows(text, starts, size=size, overlap=overlap)
    covered = {position for part in parts for position in range(part.start, part.end)}
    assert {position for position, character in enumerate(text) if not character.isspace()} <= covered
    for part in parts:
        content = text[part.start : part.end]
        assert content
        assert content == content.strip()
        is_character = len(content) == 1  # it cannot be divided
        assert token_count(starts, part.start, part.end) <= size or is_character
    assert [part.start for part in parts] == sorted({part.start for part in parts})
    assert [part.end for part in parts] == sorted({part.end for part in parts})
    for part, next_part in itertools.pairwise(parts):
        assert token_count(starts, next_part.start, part.end) <= overlap or next_part.start >= part.end


def test_blank_sentence_makes_no_window_within_another():
    parts = windows("\n. .", starts_of_characters("\n. ."), size=6, overlap=11)
    assert [part.start for part in parts] == sorted({part.start for part in parts})


TWELVE_SENTENCES = " ".join(f"This is sentence number {number}." for number in range(12))


def contents(text, **options):
    return [text[part.start : part.end] for part in windows(text, starts_of_words(text), **options)]


def test_windows_begin_and_end_with_sentences_and_repeat_whole_sentences():
    parts = contents(TWELVE_SENTENCES, size=24, overlap=6)
    assert all(re.fullmatch(r"(This is sentence number \d+\. ?)+", part) for part in parts)
    assert [re.findall(r"\d+", part) for part in parts] == [
        ["0", "1", "2", "3"],
        ["3", "4", "5", "6"],
        ["6", "7", "8", "9"],
        ["9", "10", "11"],
    ]


def test_nothing_is_repeated_without_overlap():
    assert "".join(contents(TWELVE_SENTENCES, size=24, overlap=0)).replace(" ", "") == TWELVE_SENTENCES.replace(" ", "")


def test_sentence_that_is_too_long_is_divided_at_white_space():
    text = "Short one. " + " ".join(f"word{number}" for number in range(25)) + ". Short two."
    parts = contents(text, size=10, overlap=0)
    assert " ".join(parts) == text
    assert [len(part.split()) for part in parts] == [10, 10, 9]


def test_text_without_white_space_is_divided_between_tokens():
    text = "東京" * 30
    parts = windows(text, list(range(60)), size=25, overlap=5)
    assert [(part.start, part.end) for part in parts] == [(0, 25), (25, 50), (50, 60)]


@given(text=TEXT)
def test_sentences_cover_the_text(text):
    ranges = sentence_ranges(text)
    assert [start for start, _ in ranges[1:]] == [end for _, end in ranges[:-1]]
    assert "".join(text[start:end] for start, end in ranges) == text


SENTENCES = {
    "marks": ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
    "quotes": ('He said "no." She left.', ['He said "no." ', "She left."]),
    "abbreviations": ("Dr. A. Smith et al. came, e.g. today. Yes.", ["Dr. A. Smith et al. came, e.g. today. ", "Yes."]),
    "decimals": ("Pi is 3.14 today. Yes.", ["Pi is 3.14 today. ", "Yes."]),
    "ellipsis": ("Wait… Go.", ["Wait… ", "Go."]),
    "lines": ("Title\nText here", ["Title\n", "Text here"]),
    "Japanese": ("東京です。大阪です。", ["東京です。", "大阪です。"]),
    "no mark": ("no mark", ["no mark"]),
    "empty": ("", []),
}


@pytest.mark.parametrize(("text", "sentences"), SENTENCES.values(), ids=SENTENCES)
def test_sentences_end_at_marks_and_lines(text, sentences):
    assert [text[start:end] for start, end in sentence_ranges(text)] == sentences


@given(text=TEXT.filter(str.strip))
def test_split_window_is_covered(text):
    parts = split_window(text, Window(0, len(text)))
    content = "".join(text[part.start : part.end] for part in parts)
    assert "".join(content.split()) == "".join(text.split())
    assert len(text) == 1 or all(part.end - part.start < len(text) for part in parts)


def test_white_space_at_the_ends_of_a_window_is_not_where_it_is_split():
    assert split_window("水在零度时结冰\n", Window(0, 8)) == [Window(0, 3), Window(3, 7)]
    assert split_window("  \n ", Window(0, 4)) == []


def test_estimate_counts_more_tokens_than_english_has():
    counter = EstimatedTokens(64)
    assert counter.text_limit("q") == 64
    assert counter.token_starts(["capital", "a東b京", ""]) == [[0, 3, 6], [0, 1, 2, 3], []]


def test_several_counters_use_the_lowest_limit_and_most_tokens():
    counter = SeveralCounters([WordTokens(10), EstimatedTokens(6)])
    assert counter.text_limit("a b") == 6
    assert SeveralCounters([WordTokens(5), EstimatedTokens(6)]).text_limit("a b") == 3
    assert counter.token_starts(["a b c d", "abcdefghi"]) == [[0, 2, 4, 6], [0, 3, 6]]
    assert counter.token_counts(["a b c d", "abcdefghi"]) == [4, 3]


def test_long_run_of_marks_takes_linear_time():
    """With a time that grows with the square of its length, this text would take hours."""
    text = "." * 1_000_000 + "a"
    assert sentence_ranges(text) == [(0, len(text))]
