"""From scores to a ranking: which score belongs to which document, ties, tiers, limits, thresholds, and notes.

Everything that must be correct for every scorer is here. Nothing here depends on a model or a provider.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from podium.documents import source_score_and_rank
from podium.errors import PodiumError
from podium.scorers import BaseScorer
from podium.texts import Texts
from podium.truncation import warn_of_truncation
from podium.types import Passage, Ranking, Result, ScoreKind, Scores, Usage

__all__ = [
    "NO_TEXT_SCORES",
    "Cut",
    "Request",
    "check_scores",
    "first_tier",
    "is_scored",
    "lowest_score",
    "make_ranking",
    "order",
    "order_of",
    "raw_scores",
]

NO_TEXT_SCORES: dict[ScoreKind, float] = {
    "logit": -3.4028234663852886e38,  # the lowest float32, so no model computes a lower score
    "sigmoid": 0.0,
    "probability": 0.0,
    "similarity": -1.0,
    "similarity_sum": -3.4028234663852886e38,
    "fused": 0.0,
}
"""Kind of score → the score of a document without text, unless another document's score is even lower.

In that case, the document without text gets that lower score, so that scores never increase from one rank to the next.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A checked query and its documents. `texts[i]` is the text of `documents[text_indices[i]]`.

    Documents whose index is not in `text_indices` have no text.
    """

    query: str
    documents: list[Any]
    texts: Texts
    text_indices: list[int]


@dataclass(frozen=True, slots=True)
class Cut:
    """The limits on the results of a call: their number and their score. None means no limit."""

    limit: int | None
    min_score: float | None


def make_ranking(request: Request, scores: Scores, cut: Cut, scorer: BaseScorer, seconds: float) -> Ranking:
    """Return the ranking of a request's documents by the scores that a scorer returned for its texts in so many seconds.

    Raises PodiumError if the scores are not valid.
    """
    check_scores(scores, len(request.texts), scorer.model)
    if not scorer.reads_passages:
        warn_of_truncation(scorer.model, scores)
    is_other_model = scores.model is not None
    model = scorer.model if scores.model is None else scores.model
    score_kind = scores.score_kind or scorer.score_kind
    results = _results(request, scores, model, lowest_score(scores.values, score_kind), cut)
    return Ranking(
        results=tuple(results),
        model=model,
        revision=scores.revision if is_other_model else scorer.revision,
        score_kind=score_kind,
        usage=_usage(scores, seconds),
        notes=(
            *scores.reasons,
            *scores.notes,
            *_query_notes(scores),
            *_text_notes(request, scores),
            *_cut_notes(request, results),
        ),
        reasons=tuple(scores.reasons),
    )


def lowest_score(scores: Iterable[float], score_kind: ScoreKind) -> float:
    """Return the score of a document without text among documents with these scores. Scores that are NaN are ignored."""
    return float(min([NO_TEXT_SCORES[score_kind], *(score for score in scores if score == score)]))  # NaN differs from itself


def order(keys: Sequence[float]) -> list[int]:
    """Return the indices of `keys` from the highest key to the lowest; equal keys stay in input order."""
    return sorted(range(len(keys)), key=keys.__getitem__, reverse=True)  # `reverse` keeps the order of equal keys


def order_of(scores: Scores) -> list[int]:
    """Return the positions of texts in the order of their ranking: by tier, then by raw score, then in input order.

    Texts that were not scored are at the end, in input order.
    """
    raw = raw_scores(scores)
    if scores.tiers is None and scores.scored_by is None:
        return order(raw)
    scored = is_scored(scores)
    tiers = [0] * len(raw) if scores.tiers is None else scores.tiers
    by_score = sorted((position for position, _ in enumerate(raw) if scored[position]), key=raw.__getitem__, reverse=True)
    unscored = [position for position, _ in enumerate(raw) if not scored[position]]
    return [*sorted(by_score, key=tiers.__getitem__), *unscored]


def raw_scores(scores: Scores) -> Sequence[float]:
    """Return the numbers that decide the order."""
    return scores.values if scores.raw is None else scores.raw


def is_scored(scores: Scores) -> list[bool]:
    """Return whether each text was scored."""
    if scores.scored_by is None:
        return [True] * len(scores.values)
    return [model is not None for model in scores.scored_by]


def _results(request: Request, scores: Scores, model: str, no_text_score: float, cut: Cut) -> list[Result]:
    """Return the results that the cut leaves: documents with text in the order of their scores, then those without.

    Ranks are those before the cut. Only documents in the first tier can have the minimum score: others have no text, were not
    scored, or have a score of another model.
    """
    ranked_texts = list(enumerate(order_of(scores), start=1))
    if cut.min_score is not None:
        comparable = first_tier(scores)
        ranked_texts = [
            (rank, position)
            for rank, position in ranked_texts
            if comparable[position] and scores.values[position] >= cut.min_score
        ]
    results = [_result_with_text(request, scores, model, rank, position) for rank, position in ranked_texts[: cut.limit]]
    if cut.min_score is not None:
        return results
    with_text = set(request.text_indices)
    without_text = [index for index in range(len(request.documents)) if index not in with_text]
    for rank, index in enumerate(without_text, start=len(with_text) + 1):
        if cut.limit is not None and rank > cut.limit:
            break
        results.append(_result_without_text(request.documents[index], no_text_score, rank, index))
    return results


def first_tier(scores: Scores) -> list[bool]:
    """Return whether each text was scored and is in tier 0, whose scores are those of the scorer's own model.

    No text is in it if that model failed, for example the strong scorer of a cascade.
    """
    scored = is_scored(scores)
    if scores.tiers is None:
        return scored
    return [has_score and tier == 0 for has_score, tier in zip(scored, scores.tiers, strict=True)]


def _result_with_text(request: Request, scores: Scores, model: str, rank: int, position: int) -> Result:
    """Return the result of the text at a position in `request.texts`. `model` scored it unless `scores.scored_by` says else."""
    index = request.text_indices[position]
    document = request.documents[index]
    source_score, source_rank = source_score_and_rank(document)
    return Result(
        document=document,
        score=float(scores.values[position]),
        rank=rank,
        index=index,
        tokens=_count(scores.tokens, position),
        dropped_tokens=_count(scores.dropped_tokens, position),
        source_score=source_score,
        source_rank=source_rank,
        scored_by=model if scores.scored_by is None else scores.scored_by[position],
        passage=None if scores.passages is None else _with_text(scores.passages[position], request.texts[position]),
    )


def _count(column: Sequence[int | None] | None, position: int) -> int | None:
    """Return a text's number of tokens as an int, which a scorer of a user may have as an integer of numpy."""
    count = None if column is None else column[position]
    return None if count is None else int(count)


def _result_without_text(document: Any, score: float, rank: int, index: int) -> Result:
    source_score, source_rank = source_score_and_rank(document)
    return Result(
        document=document,
        score=score,
        rank=rank,
        index=index,
        tokens=0,
        dropped_tokens=0,
        no_text=True,
        source_score=source_score,
        source_rank=source_rank,
    )


def _with_text(passage: Passage | None, text: str) -> Passage | None:
    return None if passage is None else replace(passage, text=text[passage.start : passage.end])


def check_scores(scores: Any, count: int, model: str) -> None:
    """Raise PodiumError unless `scores` are the valid Scores of `count` texts: each text has a finite score or was not scored.

    This cannot be taken for granted, because users write scorers, too.
    """
    if not isinstance(scores, Scores):
        raise PodiumError(f"{model} returned a {type(scores).__name__}; its method score must return podium.Scores")
    token_counts = (scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    columns = (scores.values, scores.raw, *token_counts, scores.tiers, scores.scored_by, scores.passages)
    try:
        if len(scores.values) != count or any(column is not None and len(column) != count for column in columns):
            raise PodiumError(f"{model} returned {len(scores.values)} scores for {count} texts, so they cannot be ranked")
        scored = is_scored(scores)
        values = itertools.compress(scores.values, scored)
        raw = itertools.compress(() if scores.raw is None else scores.raw, scored)
        is_finite = all(map(math.isfinite, itertools.chain(values, raw)))
        has_invented_score = not all(math.isnan(value) for value, known in zip(scores.values, scored, strict=True) if not known)
    except (TypeError, ValueError, OverflowError):  # for strings, None, and integers too large for a float
        is_finite = has_invented_score = False
    if not is_finite:
        raise PodiumError(f"{model} returned a score that is not a finite number; its weights or its reply are damaged")
    if has_invented_score:
        raise PodiumError(f"{model} returned a score of a text that it says was not scored; such a score must be NaN")
    _check_types(scores, token_counts, model)
    _check_call_fields(scores, model)


def _check_types(scores: Scores, token_counts: Iterable[Sequence[int | None] | None], model: str) -> None:
    """Raise PodiumError unless the optional columns are lists whose values have the right types."""
    lists = (*token_counts, scores.tiers, scores.scored_by, scores.passages)
    other = next((column for column in lists if column is not None and not isinstance(column, list | tuple)), None)
    if other is not None:
        raise PodiumError(
            f"{model} returned a {type(other).__name__} for a column other than values and raw; it must be a list, for example "
            "array.tolist()"
        )
    count_types = {count_type for column in token_counts for count_type in map(type, column or ())} - {type(None)}
    if not all(hasattr(count_type, "__index__") for count_type in count_types):
        raise PodiumError(f"{model} returned a number of tokens that is not a whole number; it must be an int or None")
    if not all(isinstance(tier, int) for tier in scores.tiers or ()):
        raise PodiumError(f"{model} returned a tier that is not a whole number; the best tier is 0, the next one 1")
    if not all(isinstance(name, str | None) for name in scores.scored_by or ()):
        raise PodiumError(f"{model} returned a model in scored_by that is not a name; it must be a string or None")
    if not all(isinstance(passage, Passage | None) for passage in scores.passages or ()):
        raise PodiumError(f"{model} returned a passage that is not a podium.types.Passage or None")
    if not all(0 <= passage.start < passage.end for passage in scores.passages or () if passage is not None):
        raise PodiumError(f"{model} returned a passage without characters; its start must be before its end")


def _check_call_fields(scores: Scores, model: str) -> None:
    """Raise PodiumError unless the fields about the whole call have the right types."""
    sentences = (scores.notes, scores.reasons)
    if not all(isinstance(values, tuple | list) and all(isinstance(text, str) for text in values) for values in sentences):
        raise PodiumError(f"{model} returned notes or reasons that are not a tuple of strings")
    numbers = (scores.total_tokens, scores.remembered, scores.encoded, scores.estimated_cost)
    billed = scores.billed.values() if isinstance(scores.billed, Mapping) else (None,)
    known_numbers = [number for number in numbers if number is not None]
    if not all(isinstance(number, Real) for number in (*known_numbers, *billed)):
        raise PodiumError(
            f"{model} returned a number of tokens or a cost that is not a number, in one of its fields for the call"
        )
    if scores.score_kind not in (None, *NO_TEXT_SCORES):
        kinds = ", ".join(NO_TEXT_SCORES)
        raise PodiumError(f"{model} returned the score_kind {scores.score_kind!r:.40}; it must be one of {kinds}, or None")


def _usage(scores: Scores, seconds: float) -> Usage:
    """Return the usage of a call. Its tokens are the scorer's total, else the sum over texts if all counts are known."""
    tokens = scores.total_tokens
    if tokens is None and scores.tokens is not None and None not in scores.tokens:
        tokens = sum(int(count) for count in scores.tokens if count)
    return Usage(
        pairs=sum(is_scored(scores)),
        tokens=tokens,
        truncated=None if scores.dropped_tokens is None else sum(map(bool, scores.dropped_tokens)),
        billed=scores.billed,
        seconds=seconds,
        remembered=scores.remembered,
        encoded=scores.encoded,
        estimated_cost=scores.estimated_cost,
    )


def _query_notes(scores: Scores) -> Iterator[str]:
    token_counts = scores.query_tokens or ()
    dropped_counts = scores.query_dropped_tokens or ()
    if 0 in token_counts:
        yield "the query has no token that the model knows; the scores mean little"
    if dropped := max((count or 0 for count in dropped_counts), default=0):  # a count is None if it is unknown
        yield f"the query is longer than the model reads with these documents; up to {dropped} of its tokens were dropped"


def _text_notes(request: Request, scores: Scores) -> Iterator[str]:
    document_count = len(request.documents)
    dropped_counts = scores.dropped_tokens or [None] * len(request.texts)
    if unread := sum(count == 0 and not dropped for count, dropped in zip(scores.tokens or (), dropped_counts, strict=False)):
        yield f"{unread} of {len(request.texts)} texts have no token that the model knows; their scores mean little"
    if truncated := sum(map(bool, scores.dropped_tokens or ())):
        yield f"{truncated} of {document_count} documents are longer than the model reads; see dropped_tokens"
    if unscored := is_scored(scores).count(False):
        yield f"{unscored} of {document_count} documents were not scored; they are below the others, in input order"
    if without_text := document_count - len(request.texts):
        yield f"{without_text} of {document_count} documents have no text; they are at the bottom, with the lowest score"


def _cut_notes(request: Request, results: Sequence[Result]) -> Iterator[str]:
    if request.documents and not results:
        yield f"none of {len(request.documents)} documents reached the minimum score, so there is no result"
