"""Call, which the requests of every dialect are read into, and Refusal, which is returned in the format of every dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Call", "Question", "Refusal"]


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """A query and its documents."""

    query: str
    documents: list[Any]


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """A request after reading. Its repr shows nothing of the request, because reprs end up in logs.

    - `model`: a served name, None for the first model.
    - `limit`: number of results, None for all.
    - `rank_by`: the fields of the documents that are read.
    - `truncate`: whether the model may read only the beginning of a text that is too long.
    - `raw`: whether scores are returned as logits.
    - `echo`: whether documents are returned.
    - `extra`: anything else that the dialect needs for its reply.
    """

    questions: Sequence[Question]
    model: str | None = None
    limit: int | None = None
    rank_by: list[str] | None = None
    truncate: bool = True
    raw: bool = False
    echo: bool = False
    extra: Any = None

    @property
    def documents(self) -> int:
        """The number of documents of all questions."""
        return sum(len(question.documents) for question in self.questions)


class Refusal(Exception):
    """A request that is not answered: the HTTP status, a message with a remedy, and when to try again, in seconds."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status: Final = status
        self.message: Final = message
        self.retry_after: Final = retry_after
