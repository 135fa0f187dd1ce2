"""Call, the content of a request in any dialect, and Refusal, an error that every dialect reports in its own format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from podium.explanations import Explanation

__all__ = ["Call", "Question", "Refusal"]


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """A query and its documents."""

    query: str
    documents: list[Any]


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """The content of a request. The repr does not show it, because reprs end up in logs.

    - `model`: the name of the requested model, None for the server's first model.
    - `limit`: the maximum number of results, None for all.
    - `rank_by`: the names of the document fields that the model reads, None for the default fields.
    - `budget_ms`, `max_tokens`, `max_cost`, `price`: the budget of the call, None for none.
    - `instruction`: a description of relevant documents, for models that read instructions, None for none.
    - `truncate`: whether the model may read only the beginning of a text that is too long.
    - `as_logits`: whether the reply has logits, if the dialect lets clients choose.
    - `return_documents`: whether results contain their documents.
    - `explain`: whether the only document is explained. Then the reply gets `explanation`.
    - `passages`: whether long documents are read completely, in passages.
    - `result_texts`: for a reply with texts, the text of each result of the only question, None for a result without text.
    - `extra`: a value that the request's dialect needs for its reply. Other code does not use it.
    """

    questions: Sequence[Question]
    model: str | None = None
    limit: int | None = None
    rank_by: list[str] | None = None
    budget_ms: float | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price: str | None = None
    instruction: str | None = None
    truncate: bool = True
    as_logits: bool = False
    return_documents: bool = False
    explain: bool = False
    passages: bool = False
    explanation: Explanation | None = None
    result_texts: Sequence[str | None] = ()
    extra: Any = None

    @property
    def document_count(self) -> int:
        """The number of documents of all questions."""
        return sum(len(question.documents) for question in self.questions)


class Refusal(Exception):
    """An error reply. `status` is its HTTP status. `message` ends with a remedy.

    `retry_after`: after how many seconds the client should send the request again, None if that would not help.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status: Final = status
        self.message: Final = message
        self.retry_after: Final = retry_after
