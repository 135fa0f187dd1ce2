"""Windows, the parts of a long text that are scored separately. They end at sentence boundaries if possible. Pure functions."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from podium.sentences import sentence_ranges

__all__ = ["IndexedWindow", "Window", "WindowedText", "split_window", "token_count", "windows"]

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Window:
    """The characters of a text from `start` to before `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WindowedText:
    """A text and its windows. `windows` is empty at first; `with_windows` and `with_one_window` return a copy that has windows.

    - `document`: the document that the user passed, whose text this is.
    - `room`: how many tokens a window may have, which is what the query and the title leave of the model's maximum length. If
      it is 0, the caller does not divide the text.
    - `overlap`: how many tokens of the previous window a window may repeat.
    - `starts`: the position of each token's first character, None before `with_windows` and after `with_one_window`.
    - `windows`: the initial windows. If the model drops tokens of a window, that window is divided with `split_window`.
    """

    text: str
    document: Any
    title: str
    room: int
    overlap: int
    starts: Sequence[int] | None = None
    windows: Sequence[Window] = ()

    def with_windows(self, starts: Sequence[int], max_passages: int | None) -> WindowedText:
        """Return the text with the windows that the function `windows` returns, but at most the first `max_passages`.

        `starts` are the positions of its tokens. None for `max_passages` means all windows. A blank text is not divided.
        """
        text_windows = windows(self.text, starts, size=self.room, overlap=self.overlap)[:max_passages]
        return replace(self, starts=starts, windows=text_windows) if text_windows else self.with_one_window()

    def with_one_window(self) -> WindowedText:
        """Return the text with one window, which has all of its characters."""
        return replace(self, starts=None, windows=[Window(0, len(self.text))])


class IndexedWindow(NamedTuple):
    """A window, and the index of its text in the list of texts that are scored."""

    text_index: int
    window: Window


def windows(text: str, starts: Sequence[int], *, size: int, overlap: int) -> list[Window]:
    """Return windows that cover the text, without white space at their ends.

    A window has at most `size` tokens, unless it is a single character that has more. It repeats at most `overlap` tokens of
    the previous window. `starts` are the positions of the first characters of the text's tokens.

    Windows begin and end at sentence boundaries. Only a sentence of more than `size` tokens is divided, at white space if
    possible.
    """
    pieces = [
        (start, end)
        for sentence_start, sentence_end in sentence_ranges(text)
        for start, end in _pieces(text, starts, sentence_start, sentence_end, size)
        if not text[start:end].isspace()
    ]
    counts = [token_count(starts, start, end) for start, end in pieces]
    result = []
    first_piece = 0
    while first_piece < len(pieces):
        end_piece = first_piece + 1
        total = counts[first_piece]
        while end_piece < len(pieces) and total + counts[end_piece] <= size:
            total += counts[end_piece]
            end_piece += 1
        result += _without_space(text, pieces[first_piece][0], pieces[end_piece - 1][1])
        if end_piece == len(pieces):
            break
        max_repeated = min(overlap, size - counts[end_piece])  # The next window must have room for a new piece.
        first_piece = _next_first_piece(counts, first_piece, end_piece, max_repeated)
    return result


def _next_first_piece(counts: Sequence[int], first_piece: int, end_piece: int, max_repeated: int) -> int:
    """Return the index of the piece that the next window begins with.

    The current window has the pieces from `first_piece` to before `end_piece`. The next one repeats its last pieces, as many as
    have at most `max_repeated` tokens together. `counts` are the numbers of tokens of all pieces.
    """
    piece = end_piece
    # The next window begins later than this one. Otherwise the loop over the windows would not terminate.
    while piece - 1 > first_piece and counts[piece - 1] <= max_repeated:
        piece -= 1
        max_repeated -= counts[piece]
    return piece


def token_count(starts: Sequence[int], start: int, end: int) -> int:
    """Return how many tokens begin in the characters from `start` to before `end`."""
    return bisect.bisect_left(starts, end) - bisect.bisect_left(starts, start)


def split_window(text: str, window: Window) -> list[Window]:
    """Return two windows that cover a window, divided at the white space nearest to its middle, or at its middle.

    White space at its ends does not count. Returns one window if it is a single character, and none if it is blank.
    """
    if not (stripped := _without_space(text, window.start, window.end)):
        return []
    (window,) = stripped
    middle = (window.start + window.end) // 2
    if middle == window.start:
        return [window]
    spaces = [match.start() for match in _SPACE.finditer(text, window.start, window.end)]
    cut = min(spaces, key=lambda position: abs(position - middle), default=middle)
    return [*_without_space(text, window.start, cut), *_without_space(text, cut, window.end)]


def _pieces(text: str, starts: Sequence[int], start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of parts of a sentence. Only a single character can have more than `size` tokens."""
    while token_count(starts, start, end) > size:
        cut = _cut(text, starts, start, size)
        if cut >= end:  # All remaining tokens begin at one character, which cannot be divided.
            break
        yield start, cut
        start = cut
    yield start, end


def _cut(text: str, starts: Sequence[int], start: int, size: int) -> int:
    """Return where to cut a sentence so that the part from `start` has at most `size` tokens.

    The cut is after the last white space in the second half of these tokens, or else before the next token. If the character at
    `start` has more than `size` tokens, the cut is before the first token of a later character.
    """
    first = bisect.bisect_left(starts, start)
    limit = int(starts[first + size])  # `starts` may be an array of numpy
    if limit <= start:
        next_token = bisect.bisect_right(starts, start)
        limit = int(starts[next_token]) if next_token < len(starts) else len(text)
    second_half = int(starts[first + size // 2])
    spaces = [match.end() for match in _SPACE.finditer(text, second_half, limit)]
    return spaces[-1] if spaces else limit


def _without_space(text: str, start: int, end: int) -> list[Window]:
    """Return a list with the window of these characters without white space at its ends. It is empty if they are blank."""
    part = text[start:end]
    stripped = part.strip()
    begin = start + len(part) - len(part.lstrip())
    return [Window(begin, begin + len(stripped))] if stripped else []
