"""Explain a score: by how much it drops when each sentence of the text is left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from podium.compose.columns import models_of
from podium.errors import PodiumError
from podium.ordering import raw_scores
from podium.scorers import BaseScorer
from podium.sentences import sentence_ranges
from podium.types import ScoreKind, Scores

__all__ = ["MOST_PARTS", "Explanation", "Sentence", "parts_of", "texts_without_each"]

MOST_PARTS = 64  # a text with more sentences is divided into parts of several sentences


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, its characters from `start` to before `end`, and what it contributes to the text's score.

    `contribution` is the text's raw score less that of the text without the sentence. It is negative if the sentence lowers the
    score, and None if the text has only this sentence. The repr leaves out the text.
    """

    start: int
    end: int
    text: str = field(repr=False)
    contribution: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the sentence as `json.dumps` takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of a text, and the sentences that it comes from, in the order of the text. They cover the whole text.

    Contributions are differences of raw scores, which are logits for most models. `score` is the value that users see. In a
    long text, an entry of `sentences` may have several sentences. The repr leaves out the text.
    """

    text: str = field(repr=False)
    score: float
    score_kind: ScoreKind
    model: str
    sentences: tuple[Sentence, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as `json.dumps` takes it."""
        return {
            "score": self.score,
            "score_kind": self.score_kind,
            "model": self.model,
            "notes": list(self.notes),
            "sentences": [sentence.to_dict() for sentence in self.sentences],
        }

    @classmethod
    def of(cls, text: str, scores: Sequence[Scores], scorer: BaseScorer) -> Explanation:
        """Return the explanation of a text from the scores of the text and of the texts without each part, in order.

        `scores` are those of one or several calls, with checked values. Raises PodiumError if they cannot be compared.
        """
        model = _model(scores, scorer)
        raw = [float(score) for call in scores for score in raw_scores(call)]
        parts = parts_of(text)
        contributions: list[float | None] = [raw[0] - score_without for score_without in raw[1:]]
        first = scores[0]
        notes = list(dict.fromkeys(note for call in scores for note in (*call.reasons, *call.notes)))
        if first.dropped_tokens is not None and first.dropped_tokens[0]:
            notes.append(f"{first.dropped_tokens[0]} tokens at the end of the text were not read")
        return cls(
            text=text,
            score=float(first.values[0]),
            score_kind=first.score_kind or scorer.score_kind,
            model=model,
            sentences=tuple(
                Sentence(start, end, text[start:end], contribution)
                for (start, end), contribution in zip(parts, contributions or [None], strict=True)
            ),
            notes=tuple(notes),
        )


def parts_of(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence. More than MOST_PARTS sentences are grouped, so a part may have several.

    The parts cover the text: white space belongs to the sentence before it, and that at the beginning to the first one.
    """
    starts = [start for start, end in sentence_ranges(text) if text[start:end].strip()][1:]
    size = math.ceil((len(starts) + 1) / MOST_PARTS)
    boundaries = [0, *starts[size - 1 :: size], len(text)]
    return list(itertools.pairwise(boundaries))


def texts_without_each(text: str) -> list[str]:
    """Return the text, and the text without each of its parts. A text of one part is returned alone."""
    parts = parts_of(text)
    if len(parts) == 1:
        return [text]
    return [text, *((text[:start] + text[end:]).rstrip() for start, end in parts)]


def _model(scores: Sequence[Scores], scorer: BaseScorer) -> str:
    """Return the model that scored all texts. Raises PodiumError if there are several, or if a text was not scored."""
    models = {name for call in scores for name in models_of(call, scorer)}
    if None in models:
        raise PodiumError(
            f"{scorer.model} did not score the document, so there is nothing to explain; rank it to see the reasons"
        )
    if len(models) > 1:
        raise PodiumError("several models scored the document, so their scores cannot be compared; try again")
    return str(models.pop())
