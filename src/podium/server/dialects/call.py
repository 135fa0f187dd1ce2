"""Call, a request independent of its dialect, and Refusal, an error that each dialect reports in its own format."""

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
    """A request after it was read. Its repr shows nothing of it, because reprs end up in logs.

    - `model`: the requested name, None for the first model.
    - `limit`: number of results, None for all.
    - `rank_by`: the fields of the documents that are read.
    - `truncate`: whether the model may read only the beginning of a text that is too long.
    - `as_logits`: whether scores are returned as logits.
    - `return_documents`: whether results contain their documents.
    - `extra`: any other value that the dialect needs for its reply.
    """

    questions: Sequence[Question]
    model: str | None = None
    limit: int | None = None
    rank_by: list[str] | None = None
    truncate: bool = True
    as_logits: bool = False
    return_documents: bool = False
    extra: Any = None

    @property
    def document_count(self) -> int:
        """The number of documents of all questions."""
        return sum(len(question.documents) for question in self.questions)


class Refusal(Exception):
    """An error reply: its HTTP status, a message with a remedy, and after how many seconds to try again."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status: Final = status
        self.message: Final = message
        self.retry_after: Final = retry_after
