"""Where the sentences of a text end. The rules need no dictionary of a language."""

from __future__ import annotations

import re

__all__ = ["sentence_ranges"]

# A sentence ends after a full stop, an exclamation or question mark, closing quotes or brackets, and white space; after such a
# mark of Chinese or Japanese, also without white space; and at the end of a line. A run of marks is tried only at its
# beginning: otherwise the time for a long run would grow with the square of its length.
_END = re.compile(r"""(?:(?<![.!?…])[.!?…]+["'”’»)\]]*(?=\s)|[。！？｡]+[」』”’）]*|\n)\s*""")
_ABBREVIATION = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|vs|etc|cf|No|Fig|al|e\.g|i\.e|bzw|z\.B|ca|Nr)|\b[A-ZÄÖÜ])\.$")
_LONGEST_ABBREVIATION = 8  # characters that are read before a full stop


def sentence_ranges(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence. White space after a sentence belongs to it, so the ranges cover the text.

    A full stop after an abbreviation or an initial, or before a lowercase letter, does not end a sentence.

        >>> text = "Dr. Smith left. He was late!"
        >>> [text[start:end] for start, end in sentence_ranges(text)]
        ['Dr. Smith left. ', 'He was late!']
    """
    ranges = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if end == len(text):
            break
        if "\n" in match[0] or not _continues(text, match.start(), end):
            ranges.append((start, end))
            start = end
    if start < len(text):
        ranges.append((start, len(text)))
    return ranges


def _continues(text: str, mark: int, next_start: int) -> bool:
    """Whether a sentence goes on after the mark at the position `mark`. The next word begins at `next_start`."""
    if text[mark] != ".":
        return False
    before = text[max(0, mark - _LONGEST_ABBREVIATION) : mark + 1]
    return text[next_start].islower() or _ABBREVIATION.search(before) is not None
