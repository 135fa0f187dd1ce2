"""What a dialect is, what all of them read a request into, and how fields of a body are read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.documents import as_json
from podium.types import Ranking

__all__ = ["Call", "Dialect", "Question", "Refusal", "count", "echo", "field", "flag", "question", "text"]


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """A query with its documents."""

    query: str
    documents: list[Any]


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """A request, read. Its repr holds nothing of it: reprs end up in logs.

    `model` is the name asked for (None: the server's first), `limit` how many results are wanted (None: all), `truncate`
    whether texts may be cut to what the model reads, `raw` whether logits are wanted, `echo` whether documents come back,
    `shape` whatever its dialect must remember to reply.
    """

    questions: Sequence[Question]
    model: str | None = None
    limit: int | None = None
    rank_by: list[str] | None = None
    truncate: bool = True
    raw: bool = False
    echo: bool = False
    shape: Any = None

    @property
    def documents(self) -> int:
        return sum(len(question.documents) for question in self.questions)


class Refusal(Exception):
    """A request that is not answered: the HTTP status, what to do about it, and in how many seconds to try again."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The wire format of one kind of client: pure functions, and the JSON Schema of what they read and reply.

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


def question(body: Mapping[str, Any], documents: str) -> Question:
    """Read the query and the documents, which are in the field of that name."""
    given = field(body, documents, list)
    if not given:
        raise Refusal(400, f"{documents} must be a list with at least one document in it")
    return Question(text(body, "query"), given)


def text(body: Mapping[str, Any], name: str) -> str:
    """Read a string that must be there."""
    given: str | None = field(body, name, str)
    if given is None:
        raise Refusal(400, f"{name} is missing; it must be a string")
    return given


def flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Read a boolean. Some clients write it as the string "true" or "false"."""
    value = body.get(name)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    checked = field(body, name, bool)
    return default if checked is None else bool(checked)


def count(body: Mapping[str, Any], *names: str) -> int | None:
    """Read the first number that is given under these names. Null and 0 stand for none, as APIs differ in which they take."""
    for name in names:
        given: int | None = field(body, name, int)
        if given is not None and given < 0:
            raise Refusal(400, f"{name} must not be negative")
        if given:
            return given
    return None


_WORDS = {str: "a string", bool: "true or false", int: "a whole number", list: "a list"}


def field(body: Mapping[str, Any], name: str, kind: type) -> Any:
    """Read a field of that kind, None where it is absent or null."""
    given = body.get(name)
    if kind is int and isinstance(given, float) and given.is_integer():
        return int(given)  # to JSON 2.0 is a whole number
    if given is None or (isinstance(given, kind) and not (kind is int and isinstance(given, bool))):
        return given
    raise Refusal(400, f"{name} must be {_WORDS[kind]}, not {_json_name(given)}")


def echo(document: Any) -> dict[str, Any]:
    """Return a document as replies have it: an object, of its text where it was a string."""
    return as_json(document) if isinstance(document, dict) else {"text": as_json(document)}


def _json_name(given: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(given), "null")
