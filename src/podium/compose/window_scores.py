"""The scores of documents from those of their windows: the best window decides, or the mean of the best ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from podium.compose.columns import selected_scores
from podium.compose.windows import IndexedWindow, Window, WindowedText, token_count
from podium.ordering import is_scored, order_of
from podium.types import Passage, Scores

__all__ = ["document_scores"]


def document_scores(texts: Sequence[WindowedText], windows: Sequence[IndexedWindow], scores: Scores, mean_count: int) -> Scores:
    """Return the scores of the texts of a query. `windows` are those of all texts, in the order of `scores`.

    The value of a text is the mean value of its `mean_count` best windows. Its numbers of tokens are those of all its windows.
    All else is that of its best window.
    """
    positions_per_text: list[list[int]] = [[] for _ in texts]  # the positions of each text's windows in `windows`, best first
    for position in order_of(scores):
        positions_per_text[windows[position].text_index].append(position)
    all_windows = [window for _, window in windows]
    best_positions = [positions[0] for positions in positions_per_text]
    scored = is_scored(scores)
    counts = [
        _read_and_dropped(text, positions, all_windows, scores, scored)
        for text, positions in zip(texts, positions_per_text, strict=True)
    ]
    passages = [
        _passage(text, all_windows[position], scores.values[position]) if scored[position] else None
        for text, position in zip(texts, best_positions, strict=True)
    ]
    best_scores = selected_scores(scores, best_positions)
    if mean_count > 1:
        means = [_mean(scores, scored, positions[:mean_count]) for positions in positions_per_text]
        best_scores = replace(best_scores, values=means, raw=None)
    return replace(
        best_scores,
        tokens=[read_count for read_count, _ in counts],
        dropped_tokens=[dropped_count for _, dropped_count in counts],
        passages=passages if any(passages) else None,
        notes=(*best_scores.notes, *_notes(positions_per_text)),
    )


def _mean(scores: Scores, scored: Sequence[bool], positions: Sequence[int]) -> float:
    """Return the mean score of those windows that were scored and are in the tier of the first one, NaN if there are none."""
    tiers = [0] * len(scored) if scores.tiers is None else scores.tiers
    values = [scores.values[i] for i in positions if scored[i] and tiers[i] == tiers[positions[0]]]
    return math.fsum(value / len(values) for value in values) if values else math.nan  # the sum could exceed a float


def _read_and_dropped(
    text: WindowedText, positions: Sequence[int], all_windows: Sequence[Window], scores: Scores, scored: Sequence[bool]
) -> tuple[int | None, int | None]:
    """Return how many tokens of a text were read and how many were not, None if unknown.

    `positions` are those of the text's windows. A token in two windows counts once. Windows that were not scored were not read,
    and of others the last tokens were not read if the model dropped some.
    """
    dropped = _sum(scores.dropped_tokens, positions)
    if text.starts is None:
        return _sum(scores.tokens, positions), dropped
    dropped_counts = scores.dropped_tokens or [None] * len(all_windows)
    end = read_count = 0  # `end` is the number of the token after the last one that was read
    for i in sorted((i for i in positions if scored[i]), key=lambda i: all_windows[i].start):
        # Some tokens begin with the space before a word.
        first, window_end = (token_count(text.starts, 0, position) for position in _with_space(text.text, all_windows[i]))
        read_end = window_end - (dropped_counts[i] or 0)
        read_count += max(read_end - max(first, end), 0)
        end = max(end, read_end)
    unread_count = len(text.starts) - read_count
    if dropped is None:  # the model's own tokens are not known, so these are estimates
        return None, unread_count or None
    return read_count, unread_count


def _with_space(text: str, window: Window) -> tuple[int, int]:
    """Return the start and end of a window with the white space around it."""
    start, end = window.start, window.end
    while start > 0 and text[start - 1].isspace():
        start -= 1
    while end < len(text) and text[end].isspace():
        end += 1
    return start, end


def _sum(counts: Sequence[int | None] | None, positions: Sequence[int]) -> int | None:
    """Return the sum of the counts at these positions, None if one is unknown."""
    if counts is None:
        return None
    total = 0
    for position in positions:
        count = counts[position]
        if count is None:
            return None
        total += count
    return total


def _passage(text: WindowedText, window: Window, score: float) -> Passage | None:
    """Return the passage of a window, None if the window is the whole text."""
    return None if window == Window(0, len(text.text)) else Passage(window.start, window.end, float(score))


def _notes(positions_per_text: Sequence[Sequence[int]]) -> list[str]:
    """Return a note if texts have several windows."""
    counts = [len(positions) for positions in positions_per_text if len(positions) > 1]
    if not counts:
        return []
    return [f"{len(counts)} of {len(positions_per_text)} documents were read in passages, {sum(counts)} in all"]
