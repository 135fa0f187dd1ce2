"""What dialects have in common: Call, which every request is read into, Refusal, and the row that describes a dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podium.types import Ranking

__all__ = ["Call", "Dialect", "Question", "Refusal"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The wire format of one kind of client: pure functions, and the JSON Schemas of requests and replies.

    Several dialects can share a path. `marker` is a field that only this dialect's requests have; the dialect without a
    marker is the path's default. `invalid_status` is the status of a request with a missing or wrong field.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Call]
    reply: Callable[[Call, Sequence[Ranking], str], Any]
    error: Callable[[Refusal, str], dict[str, Any]]
    request_schema: Mapping[str, Any]
    reply_schema: Mapping[str, Any]
    invalid_status: int = 400
    marker: str | None = None
