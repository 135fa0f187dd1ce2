"""Windows, the parts of a long text that are scored separately. They end where sentences end. Pure functions."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium.sentences import sentence_ranges

__all__ = ["DividedText", "Part", "Window", "halves", "token_count", "windows"]

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Window:
    """The characters of a text from `start` to before `end`. It neither begins nor ends with white space."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DividedText:
    """A text to be scored.

    - `room`, `overlap`: how many tokens a window has beside the title, and how many it repeats of the previous one.
    - `starts`: the positions of its tokens, None if it is one window.
    - `windows`: its windows in the first round.
    """

    text: str
    document: Any
    title: str
    room: int
    overlap: int
    starts: Sequence[int] | None = None
    windows: Sequence[Window] = ()

    def divided(self, starts: Sequence[int], max_passages: int | None) -> DividedText:
        """Return the text with windows at the ends of sentences."""
        text_windows = windows(self.text, starts, size=self.room, overlap=self.overlap)[:max_passages]
        return replace(self, starts=starts, windows=text_windows) if text_windows else self.undivided()

    def undivided(self) -> DividedText:
        return replace(self, starts=None, windows=[Window(0, len(self.text))])


@dataclass(frozen=True, slots=True)
class Part:
    """A window of the text with the index `text` in the query's texts."""

    text: int
    window: Window


def windows(text: str, starts: Sequence[int], *, size: int, overlap: int) -> list[Window]:
    """Return windows of at most `size` tokens that cover the text. The next window repeats at most `overlap` tokens.

    `starts` are the positions of the first characters of the text's tokens. Windows begin and end with sentences. Only a
    sentence of more than `size` tokens is divided, at white space if possible.
    """
    pieces = [
        (start, end)
        for sentence in sentence_ranges(text)
        for start, end in _pieces(text, starts, *sentence, size)
        if not text[start:end].isspace()
    ]
    counts = [token_count(starts, start, end) for start, end in pieces]
    result = []
    first = 0
    while first < len(pieces):
        begin = first
        end = begin + 1
        total = counts[begin]
        while end < len(pieces) and total + counts[end] <= size:
            total += counts[end]
            end += 1
        result += _without_space(text, pieces[begin][0], pieces[end - 1][1])
        if end == len(pieces):
            break
        first = end
        room = min(overlap, size - counts[end])  # the next window must have room for a new piece
        while first - 1 > begin and counts[first - 1] <= room:
            first -= 1
            room -= counts[first]
    return result


def token_count(starts: Sequence[int], start: int, end: int) -> int:
    """Return how many tokens begin in the characters from `start` to before `end`."""
    return bisect.bisect_left(starts, end) - bisect.bisect_left(starts, start)


def halves(text: str, window: Window) -> list[Window]:
    """Return two windows that cover a window, divided at the white space nearest to its middle. One if it has one character."""
    middle = (window.start + window.end) // 2
    if middle == window.start:
        return [window]
    spaces = [match.start() for match in _SPACE.finditer(text, window.start, window.end)]
    cut = min(spaces, key=lambda position: abs(position - middle), default=middle)
    return [*_without_space(text, window.start, cut), *_without_space(text, cut, window.end)]


def _pieces(text: str, starts: Sequence[int], start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of parts of a sentence with at most `size` tokens each."""
    while token_count(starts, start, end) > size:
        cut = _cut(text, starts, start, size)
        if cut >= end:
            break
        yield start, cut
        start = cut
    yield start, end


def _cut(text: str, starts: Sequence[int], start: int, size: int) -> int:
    """Return a position after at most `size` tokens that begin at `start` or later, if possible after white space."""
    first = bisect.bisect_left(starts, start)
    limit = int(starts[first + size])
    if limit <= start:  # several tokens of one character; it is not divided
        limit = int(starts[bisect.bisect_right(starts, start)]) if starts[-1] > start else len(text)
    earliest = int(starts[first + size // 2])
    spaces = [match.end() for match in _SPACE.finditer(text, earliest, limit)]
    return spaces[-1] if spaces and spaces[-1] > start else limit


def _without_space(text: str, start: int, end: int) -> list[Window]:
    """Return the window of these characters without white space at its ends, none if it is blank."""
    part = text[start:end]
    stripped = part.strip()
    begin = start + len(part) - len(part.lstrip())
    return [Window(begin, begin + len(stripped))] if stripped else []
