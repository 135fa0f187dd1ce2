"""The act of all dialects: read the call, rank its documents within its limits and its time, and reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from podium.ranking import Reranker
from podium.server import bodies
from podium.server.dialects import dialect_of
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.endpoints import Seen, as_json
from podium.server.settings import Settings
from podium.server.state import State
from podium.types import Ranking

__all__ = ["in_time", "posted", "rerank"]

WRITTEN_AT_ONCE = 500  # results; more are written in a thread, so that the event loop goes on

QUESTIONS_AT_ONCE = 8  # of a request with many; others have questions, too

T = TypeVar("T")


async def rerank(request: Request, state: State, seen: Seen) -> Response:
    with state.admission.room() as room:
        asked = await posted(request, state, seen, room)
        dialect = seen.dialect = dialect_of(seen.path, asked)
        call = dialect.read(asked)
        seen.model = state.models.served_name(call.model)
        reranker = state.models.rerankers[seen.model]
        seen.fields["documents"] = call.documents
        _check(call, state.settings)
        with state.admission.place(), state.metrics.waiting.track_inprogress():
            rankings = await in_time(lambda: _ranked(reranker, call), request, state.settings)
        _count(state, seen, call, rankings)
        reply = dialect.reply(call, rankings, seen.id)
    response = as_json(reply) if call.documents <= WRITTEN_AT_ONCE else await asyncio.to_thread(as_json, reply)
    if truncated := seen.fields.get("truncated"):
        response.headers["x-podium-truncated"] = str(truncated)
    return response


async def posted(request: Request, state: State, seen: Seen, room: Any) -> dict[str, Any]:
    """Return the JSON object that was sent, of a request that may be accepted."""
    state.admission.check()
    limits = state.settings
    body = await bodies.read(request, room, max_bytes=limits.max_body, seconds=limits.read_timeout)
    seen.fields["bytes"] = len(body)
    return await bodies.json_object(body)


async def in_time(work: Callable[[], Coroutine[Any, Any, T]], request: Request, settings: Settings) -> T:
    """Return what the work gives, unless its time is over or its client goes away, which both stop it."""
    seconds = _seconds(request, settings.timeout)
    task, left = asyncio.ensure_future(work()), asyncio.ensure_future(_left(request))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # an error after the end interests nobody
    try:
        done, _ = await asyncio.wait({task, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if left in done:
            raise bodies.Gone
        raise Refusal(504, f"not done within {seconds:g} seconds; ask with fewer documents, or allow it more time")
    finally:
        task.cancel()
        left.cancel()


async def _ranked(reranker: Reranker, call: Call) -> Sequence[Ranking]:
    if len(call.questions) == 1:
        return [await _rank(reranker, call, call.questions[0])]
    some = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    async def one(question: Question) -> Ranking:
        async with some:
            return await _rank(reranker, call, question)

    tasks = [asyncio.ensure_future(one(question)) for question in call.questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # one that was refused stops the others
            task.cancel()


async def _rank(reranker: Reranker, call: Call, question: Question) -> Ranking:
    limit = call.limit or len(question.documents)  # more than there are is no error: all of them
    return await reranker.arerank(question.query, question.documents, limit=limit, rank_by=call.rank_by)


def _check(call: Call, settings: Settings) -> None:
    if call.documents > settings.max_documents:
        raise Refusal(400, f"{call.documents:,} documents; this server takes {settings.max_documents:,} in a request")
    for question in call.questions:
        for at, document in enumerate([question.query, *question.documents]):
            if (long := _characters(document)) > settings.max_characters:
                which = f"document {at - 1}" if at else "the query"
                raise Refusal(400, f"{which} has {long:,} characters; this server takes {settings.max_characters:,}")


def _characters(document: Any) -> int:
    """Count the letters of all that a document holds, however deep: keys too, and four for what is no text."""
    left, total = [document], 0
    while left:
        part = left.pop()
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, dict):
            left.extend(part.values())
            total += sum(map(len, part))
        elif isinstance(part, list):
            left.extend(part)
        else:
            total += 4
    return total


def _count(state: State, seen: Seen, call: Call, rankings: Sequence[Ranking]) -> None:
    for question, ranking in zip(call.questions, rankings, strict=True):
        state.metrics.ranked(seen.model or "", ranking, len(question.documents))
    seen.fields["tokens"] = sum(ranking.usage.tokens or 0 for ranking in rankings)
    seen.fields["truncated"] = sum(ranking.usage.truncated or 0 for ranking in rankings) or None
    if seen.fields["truncated"] and not call.truncate:
        raise Refusal(400, f"{seen.fields['truncated']} documents are longer than the model reads, and may not be truncated")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds(request: Request, at_most: float) -> float:
    """Return the time a request has: the server's, or less where its X-Request-Timeout says so."""
    try:
        asked = float(request.headers.get("x-request-timeout", "inf"))
    except ValueError:
        raise Refusal(400, "X-Request-Timeout must be a number of seconds") from None
    if math.isnan(asked) or asked <= 0:
        raise Refusal(400, "X-Request-Timeout must be a number of seconds above 0")
    return min(asked, at_most)
