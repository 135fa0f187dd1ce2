"""Dialect: the row that describes the API of one kind of client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.server.dialects.call import Call, Question, Refusal
from podium.server.dialects.fields import Field, read_fields, request_schema
from podium.types import Ranking

__all__ = ["Dialect", "one_question", "token_usage"]


def one_question(query: str, documents: list[Any], **options: Any) -> Call:
    """Return the Call of a request with one question."""
    return Call([Question(query, documents)], **options)


def token_usage(rankings: Sequence[Ranking]) -> dict[str, int]:
    """Return the number of tokens as OpenAI's API does. Together's clients require completion_tokens."""
    tokens = sum(ranking.usage.tokens or 0 for ranking in rankings)
    return {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The wire format of one kind of client. All functions are pure.

    - `fields`: the fields of its requests, and `call`, which gets their values by argument.
    - `reply`: rankings → reply, `error`: a refusal → reply, both with the request's id.
    - `marker`: a field that only this dialect's requests have, if several dialects share a path. The dialect without a marker
      is the path's default.
    - `invalid_status`: the status of a request with a missing or wrong field.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    fields: tuple[Field, ...]
    call: Callable[..., Call] = one_question
    reply: Callable[[Call, Sequence[Ranking], str], Any]
    error: Callable[[Refusal, str], dict[str, Any]]
    reply_schema: Mapping[str, Any]
    invalid_status: int = 400
    marker: str | None = None

    def read(self, body: Mapping[str, Any]) -> Call:
        """Return the Call that a request asks for. Raises Refusal."""
        return self.call(**read_fields(self.fields, body))

    @property
    def request_schema(self) -> dict[str, Any]:
        return request_schema(self.fields)
