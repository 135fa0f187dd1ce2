"""Dialect, the description of an API that clients use: its paths, the fields of its requests, and its replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium.ordering import lowest_score
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.dialects.fields import Field, check_names, read_fields, request_schema
from podium.types import Ranking, Result

__all__ = ["Dialect", "call_for_question", "token_usage"]


def call_for_question(query: str, documents: list[Any], **options: Any) -> Call:
    """Return the Call of a request with one question."""
    return Call([Question(query, documents)], **options)


def token_usage(rankings: Sequence[Ranking]) -> dict[str, int]:
    """Return the number of tokens in the format of OpenAI's API. Together's clients require `completion_tokens`."""
    tokens = sum(ranking.usage.tokens or 0 for ranking in rankings)
    return {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}


def _with_decreasing_scores(ranking: Ranking) -> Ranking:
    """Return the ranking for a client that expects a number for each document, and sorts documents by these numbers.

    A document that was not scored gets the lowest score, as a document without text. The score of another model than that of
    the first result cannot be compared, so it is limited: at least the lowest score, at most that of the result above.
    """
    first_model = ranking[0].scored_by if ranking else None
    if all(result.no_text or (result.has_score and result.scored_by == first_model) for result in ranking):
        return ranking
    lowest = lowest_score((result.score for result in ranking if result.scored_by == first_model), ranking.score_kind)
    results: list[Result] = []
    for result in ranking:
        score = result.score if result.has_score else lowest
        if results and result.scored_by != first_model:
            score = min(max(score, lowest), results[-1].score)
        results.append(replace(result, score=score))
    return replace(ranking, results=tuple(results))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The API of one kind of client. Its functions have no side effects.

    - `fields`: the fields of a request.
    - `make_call`: a function that returns the Call. Its keyword arguments are the values of the fields, named by
      `Field.argument`.
    - `reply`: a function that returns the body of the reply to a call, from the rankings of its questions and the request's id.
    - `refuses_unknown_fields`: whether a request with an unknown field is refused. Clients of other APIs send fields that
      podium does not need, so only podium's own API refuses them.
    - `has_missing_scores`: whether the score of a document that was not scored is null in replies, and whether scores of
      several models may be in one reply. If not, `reply_body` replaces them.
    - `returns_texts`: whether replies contain the texts of the results. If so, `reply` gets them in `Call.result_texts`.
    - `error`: a function that returns the body of an error reply, from a refusal and the request's id.
    - `marker`: a field that only requests of this dialect have, if several dialects share a path. A request without any marker
      belongs to the dialect on its path that has no marker.
    - `invalid_status`: the status of the reply to a request with a missing or wrong field.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    fields: tuple[Field, ...]
    make_call: Callable[..., Call] = call_for_question
    reply: Callable[[Call, Sequence[Ranking], str], Any]
    error: Callable[[Refusal, str], dict[str, Any]]
    reply_schema: Mapping[str, Any]
    refuses_unknown_fields: bool = False
    has_missing_scores: bool = False
    returns_texts: bool = False
    invalid_status: int = 400
    marker: str | None = None

    def read_call(self, body: Mapping[str, Any]) -> Call:
        """Return the Call in the body of a request. Raises Refusal if a field is missing, wrong or refused."""
        if self.refuses_unknown_fields:
            check_names(self.fields, body)
        return self.make_call(**read_fields(self.fields, body))

    def reply_body(self, call: Call, rankings: Sequence[Ranking], request_id: str) -> Any:
        """Return the body of the reply to a call, from the rankings of its questions and the request's id."""
        if not self.has_missing_scores:
            rankings = [_with_decreasing_scores(ranking) for ranking in rankings]
        return self.reply(call, rankings, request_id)

    @property
    def request_schema(self) -> dict[str, Any]:
        """The JSON Schema of a request."""
        return request_schema(self.fields, is_complete=self.refuses_unknown_fields)
