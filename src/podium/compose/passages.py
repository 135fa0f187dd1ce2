"""Passages: long documents are divided into windows that the model reads completely, and the best window decides."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from podium.compose.columns import concatenated_scores, selected_scores
from podium.compose.components import Component
from podium.compose.stepwise import CallStep, ScoreStep, Steps, StepwiseScorer
from podium.compose.window_scores import document_scores
from podium.compose.windows import IndexedWindow, Window, WindowedText, split_window
from podium.compose.wrapped import WrappedScorer
from podium.documents import has_field, missing_field, texts_of
from podium.errors import Argument, InvalidInput
from podium.inputs import check_positive, refuse_unknown_names, without_none
from podium.options import Option
from podium.progress import in_proportion
from podium.scorers import HasScorer
from podium.texts import Texts, documents_of
from podium.token_counts import EstimatedTokens, TokenCounter, groups_to_tokenise
from podium.types import Progress, Scorer, Scores

__all__ = ["COMPONENT", "Aggregate", "Passages"]

Aggregate = Literal["max", "mean_top_k", "first"]
MIN_SIZE = 16  # the minimum of `size`, in tokens; smaller windows would divide most sentences
TITLE_SHARE = 4  # a title takes at most a quarter of a window
PROBABLE_BYTES_PER_TOKEN = 2  # most texts have more; English has four
MAX_ROUNDS = 8  # how often windows are scored; those that are longer than the model reads are divided before the next round


class Passages(StepwiseScorer, WrappedScorer):
    """A scorer that reads long documents completely: in windows that end where sentences end, each scored separately.

    - `size`: the maximum number of tokens of a window, title included. The default and the upper limit is what the model reads
      beside the query, measured with its own tokenizer. A hosted model needs it, and is measured by an estimate of three
      characters per token.
    - `overlap`: the maximum number of tokens that a window repeats of the previous one, in whole sentences. By default an
      eighth of the window.
    - `title`: the name of a field of the documents whose text is put before each window that does not contain it. A title is
      cut to a quarter of the window. If no document has the field, a note says so.
    - `aggregate`: what the document's score is. "max": the score of its best window. "mean_top_k": the mean of the scores of
      its `top_k` best windows, by default 3. "first": the score of its first window, and the others are not read.
    - `max_passages`: how many windows of a document are scored, None for all. Then `dropped_tokens` says what was not read.

    `result.passage` has the best window's position in the document's text. It is None if the window is the whole text. The
    model, the kind of scores and all else are those of `scorer`. Raises InvalidInput.
    """

    @refuse_unknown_names
    def __init__(
        self,
        scorer: Scorer | HasScorer,
        *,
        size: int | None = None,
        overlap: int | None = None,
        title: str | None = None,
        aggregate: Aggregate = "max",
        top_k: int = 3,
        max_passages: int | None = None,
    ) -> None:
        super().__init__(scorer)
        _check_options(size, overlap, title, aggregate, top_k, max_passages)
        self.size = size
        self.overlap = overlap
        self.title = title
        self.aggregate = aggregate
        self.top_k = top_k
        self.max_passages = 1 if aggregate == "first" else max_passages
        self._counter = _counter(self.scorer.token_counter, size, self.model)

    def __repr__(self) -> str:
        return f"Passages({self.scorer!r}, size={self.size}, aggregate={self.aggregate!r})"

    @property
    def identity(self) -> str:
        options = (self.size, self.overlap, self.title, self.aggregate, self.top_k, self.max_passages)
        return f"passages:{':'.join(map(repr, options))}:{self.scorer.identity}"

    @property
    def reads_documents(self) -> bool:
        return self.title is not None or self.scorer.reads_documents

    @property
    def reads_passages(self) -> bool:
        return True

    def settings(self) -> dict[str, Any]:
        options = {
            "size": self.size,
            "overlap": self.overlap,
            "title": self.title,
            "aggregate": self.aggregate,
            "top_k": self.top_k if self.aggregate == "mean_top_k" else None,
            "max_passages": None if self.aggregate == "first" else self.max_passages,
        }
        return {"use": "Passages", **without_none(options), "scorer": self.scorer}

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        sizes: list[int] = yield CallStep(functools.partial(self._window_sizes, queries))
        groups: list[list[str]] = yield CallStep(functools.partial(self._uncertain_groups, sizes, texts_per_query))
        starts: dict[str, Sequence[int]] = {}
        # Between groups, other calls get the tokenizer's threads. A cancelled call ends after its group.
        for group in groups:
            starts |= yield CallStep(functools.partial(self._starts, sizes, group))
        windowed: list[list[WindowedText]] = yield CallStep(functools.partial(self._windowed, sizes, texts_per_query, starts))
        pending = [_all_windows(texts) for texts in windowed]
        advance = in_proportion(progress, sum(map(len, pending)), sum(map(len, texts_per_query)))
        read_windows: list[list[IndexedWindow]] = [[] for _ in queries]
        calls: list[list[Scores]] = [[] for _ in queries]  # the scores of `read_windows`, from several calls
        for round_number in range(1, MAX_ROUNDS + 1):
            open_indices = [index for index, windows in enumerate(pending) if windows]
            if not open_indices:
                break
            window_texts = [_window_texts(pending[index], windowed[index]) for index in open_indices]
            scores_per_query = yield ScoreStep(self.scorer, [queries[index] for index in open_indices], window_texts, advance)
            for index, scores in zip(open_indices, scores_per_query, strict=True):
                is_final = self.max_passages is not None or round_number == MAX_ROUNDS
                smaller_windows = {} if is_final else self._smaller_windows(pending[index], windowed[index], scores)
                read_positions = [position for position in range(len(pending[index])) if position not in smaller_windows]
                read_windows[index] += [pending[index][position] for position in read_positions]
                calls[index].append(selected_scores(scores, read_positions))
                pending[index] = [window for windows in smaller_windows.values() for window in windows]
        merged: list[Scores] = yield CallStep(lambda: list(map(self._merged, windowed, read_windows, calls)))
        return merged

    def _merged(self, texts: Sequence[WindowedText], windows: Sequence[IndexedWindow], calls: Sequence[Scores]) -> Scores:
        """Return the scores of the texts of a query from those of their windows, which are in several calls."""
        if not texts:
            return Scores(())
        mean_count = self.top_k if self.aggregate == "mean_top_k" else 1
        scores = document_scores(texts, windows, concatenated_scores(calls, self.scorer), mean_count)
        title_notes = self._title_notes([text.document for text in texts])
        return replace(scores, notes=(*scores.notes, *_room_notes(texts, scores), *title_notes))

    def _title_notes(self, documents: Sequence[Any]) -> list[str]:
        """Return a note if no document has a title, because its name may be misspelled."""
        known = [document for document in documents if document is not None]
        if self.title is None or not known or any(_has_field(document, self.title) for document in known):
            return []
        return [missing_field(self.title, known, "passages have no title")]

    def _windowed(
        self, sizes: Sequence[int], texts_per_query: Sequence[Sequence[str]], starts: Mapping[str, Sequence[int]]
    ) -> list[list[WindowedText]]:
        """Return the texts of each query with their windows. Texts that are not in `starts` are short."""
        return [self._windowed_texts(size, texts, starts) for size, texts in zip(sizes, texts_per_query, strict=True)]

    def _window_sizes(self, queries: Sequence[str]) -> list[int]:
        """Return how many tokens a window has at most for each query, 0 if the query leaves no room for a text.

        The queries are tokenised, which takes seconds if they are long.
        """
        limits = [max(self._counter.text_limit(query), 0) for query in queries]
        return limits if self.size is None else [min(self.size, limit) for limit in limits]

    def _uncertain_groups(self, sizes: Sequence[int], texts_per_query: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return the texts that may not fit into a window, each once, in groups to tokenise.

        Tokenising takes a hundredth of the time of scoring. So texts that probably fit are not tokenised, if the scorer would
        return that it did not read them completely. Of other texts, only those that surely fit are not tokenised. Texts of a
        query that leaves no room are not divided.
        """
        is_checked_later = self.scorer.counts_dropped_tokens and self.size is None and not self.max_passages
        max_bytes = _text_size(sizes) * (PROBABLE_BYTES_PER_TOKEN if is_checked_later else 1)
        unique_texts = dict.fromkeys(text for size, texts in zip(sizes, texts_per_query, strict=True) if size for text in texts)
        return list(groups_to_tokenise((text for text in unique_texts if _byte_count(text) > max_bytes), len))

    def _starts(self, sizes: Sequence[int], texts: Sequence[str]) -> dict[str, Sequence[int]]:
        """Return the positions of the tokens of those texts that do not fit into a window."""
        counts = self._counter.token_counts(texts)
        size = _text_size(sizes)
        long_texts = [text for text, count in zip(texts, counts, strict=True) if count > size]
        return dict(zip(long_texts, self._counter.token_starts(long_texts), strict=True))

    def _windowed_texts(self, size: int, texts: Sequence[str], starts: Mapping[str, Sequence[int]]) -> list[WindowedText]:
        """Return the texts of a query with their windows of at most `size` tokens."""
        documents = documents_of(texts) or [None] * len(texts)
        windowed_texts = []
        for text, document, (title, title_tokens) in zip(texts, documents, self._titles(documents, size), strict=True):
            room = max(size - title_tokens, 1) if size else 0
            overlap = size // 8 if self.overlap is None else min(self.overlap, room // 2)
            new_text = WindowedText(text, document, title, room, overlap)
            text_starts = starts.get(text, ())
            is_long = len(text_starts) > room > 0
            windowed_texts.append(
                new_text.with_windows(text_starts, self.max_passages) if is_long else new_text.with_one_window()
            )
        return windowed_texts

    def _smaller_windows(
        self, windows: Sequence[IndexedWindow], texts: list[WindowedText], scores: Scores
    ) -> dict[int, list[IndexedWindow]]:
        """Return smaller windows for those of which the model dropped tokens, by the position of these in `windows`.

        A text that had been one window is replaced in `texts` by one with windows. If the query leaves no room, smaller windows
        would not be read either.
        """
        result = {}
        for position, dropped in enumerate(scores.dropped_tokens or ()):
            text_index, window = windows[position]
            text = texts[text_index]
            if not dropped or not text.room:
                continue
            if text.starts is None and len(text.windows) == 1:
                texts[text_index] = text = text.with_windows(self._counter.token_starts([text.text])[0], None)
                new_windows = text.windows
            else:
                new_windows = split_window(text.text, window)
            if len(new_windows) > 1:
                result[position] = [IndexedWindow(text_index, new_window) for new_window in new_windows]
        return result

    def _titles(self, documents: Sequence[Any], size: int) -> list[tuple[str, int]]:
        """Return the title of each document and its number of tokens, at most a quarter of `size`."""
        if self.title is None:
            return [("", 0)] * len(documents)
        titles = [_field_text(document, self.title) for document in documents]
        limit = max(size // TITLE_SHARE - 1, 0)  # a token may be added between title and text
        result = []
        for title, starts in zip(titles, self._counter.token_starts(titles), strict=True):
            token_count = min(len(starts), limit) + 1 if title else 0
            is_cut = len(starts) > limit
            result.append((title[: starts[limit]].rstrip() if is_cut else title, token_count))
        return result


COMPONENT = Component(
    name="Passages",
    create=Passages,
    scorers=("scorer",),
    options=(
        Option("size", int, minimum=MIN_SIZE),
        Option("overlap", int, minimum=0),
        Option("title", str),
        Option("aggregate", Aggregate),
        Option("top_k", int, minimum=1),
        Option("max_passages", int, minimum=1),
    ),
)


def _check_options(size: Any, overlap: Any, title: Any, aggregate: Any, top_k: Any, max_passages: Any) -> None:
    check_positive("top_k", top_k)
    for name, value in (("size", size), ("max_passages", max_passages)):
        if value is not None:
            check_positive(name, value)
    if size is not None and size < MIN_SIZE:
        raise InvalidInput(Argument("size"), f" must be at least {MIN_SIZE} tokens, not {size}")
    if overlap is not None and (isinstance(overlap, bool) or not isinstance(overlap, int) or overlap < 0):
        raise InvalidInput(Argument("overlap"), f" must be a number of tokens from 0, not {overlap!r:.40}")
    if size is not None and overlap is not None and overlap >= size:
        raise InvalidInput(Argument("overlap"), " must be below ", Argument("size"), f", {size} tokens, not {overlap}")
    if title is not None and (not isinstance(title, str) or not title):
        raise InvalidInput(Argument("title"), f" must be the name of a field, not {title!r:.40}")
    if aggregate not in get_args(Aggregate):
        raise InvalidInput(Argument("aggregate"), f" must be 'max', 'mean_top_k' or 'first', not {aggregate!r:.40}")


def _counter(counter: TokenCounter | None, size: int | None, model: str) -> TokenCounter:
    """Return what counts tokens. Raises InvalidInput if that is not known and the user has not set a size."""
    if counter is not None:
        return counter
    if size is None:
        raise InvalidInput(
            f"the tokenizer of {model} is not on this machine, so it is not known how much of a document the model reads; set ",
            Argument("size"),
            " to a number of tokens that it reads, as in its documentation, less the length of queries",
        )
    return EstimatedTokens(size)


def _text_size(sizes: Sequence[int]) -> int:
    """Return how many tokens of a text certainly fit into windows of each size, beside a title. A size of 0 is not counted."""
    size = min(filter(None, sizes), default=0)
    return size - size // TITLE_SHARE


def _room_notes(texts: Sequence[WindowedText], scores: Scores) -> list[str]:
    """Return a note if texts were not divided because the query leaves no room, and were not read completely."""
    if any(dropped and not text.room for text, dropped in zip(texts, scores.dropped_tokens or (), strict=False)):
        return ["the query leaves too few tokens for passages, so documents were not divided; shorten the query"]
    return []


def _byte_count(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _has_field(document: Any, name: str) -> bool:
    return document is not None and not isinstance(document, str) and has_field(document, name)


def _field_text(document: Any, name: str) -> str:
    """Return the text of a document's field, "" if the document does not have it."""
    if not _has_field(document, name):
        return ""
    return (texts_of([document], (name,))[0] or "").strip()


def _all_windows(texts: Sequence[WindowedText]) -> list[IndexedWindow]:
    return [IndexedWindow(text_index, window) for text_index, text in enumerate(texts) for window in text.windows]


def _window_texts(windows: Sequence[IndexedWindow], texts: Sequence[WindowedText]) -> Texts:
    """Return the texts of windows, with the documents that they come from."""
    window_texts = [_with_title(texts[text_index], window) for text_index, window in windows]
    return Texts(window_texts, [texts[text_index].document for text_index, _ in windows])


def _with_title(text: WindowedText, window: Window) -> str:
    content = text.text[window.start : window.end]
    return f"{text.title}\n\n{content}" if text.title and text.title not in content else content
