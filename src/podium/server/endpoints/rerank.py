"""The act of all dialects: read the call, rank its documents within its limits and its time, and reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from podium.local.schedule import job
from podium.ranking import Reranker
from podium.server.dialects import dialect_of
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.endpoints.requests import Seen, as_json
from podium.server.http import bodies
from podium.server.http.admission import Room
from podium.server.http.memory import room_of
from podium.server.settings import Settings
from podium.server.state import State
from podium.types import Ranking

__all__ = ["in_time", "posted", "rerank"]

# Replies to larger requests are written in a thread, so that the event loop goes on.
WRITTEN_AT_ONCE, WRITTEN_BYTES = 500, 100_000
MAX_FIELDS, MAX_MODEL_NAME = 100, 200  # names of fields to read; characters

REPLY_BYTES_PER_DOCUMENT = 400  # without the document

CHARACTERS_PER_TOKEN = 4  # about; for a fair share of the processor only
QUESTIONS_AT_ONCE = 8  # of a request with many; others have questions, too

T = TypeVar("T")


async def rerank(request: Request, state: State, seen: Seen) -> Response:
    body = await posted(request, state, seen)
    dialect = seen.dialect = dialect_of(seen.path, body)
    call = dialect.read(body)
    _check(call, state.settings)
    seen.model = state.models.served_name(call.model)
    reranker = state.models.rerankers[seen.model]
    seen.fields["documents"] = call.documents
    room_of(request).grow(_reply_memory(call, room_of(request)))
    only_model = len(state.models.distinct) == 1
    with state.admission.place(id(reranker), only_model=only_model), state.metrics.waiting.track_inprogress():
        rankings = await in_time(lambda: _ranked(reranker, call), request, state.settings)
    _count(state, seen, call, rankings)

    def written() -> Response:
        return as_json(dialect.reply(call, rankings, seen.id))

    is_small = call.documents <= WRITTEN_AT_ONCE and seen.fields["bytes"] <= WRITTEN_BYTES
    response = written() if is_small else await asyncio.to_thread(written)
    if truncated := seen.fields.get("truncated"):
        response.headers["x-podium-truncated"] = str(truncated)
    return response


async def posted(request: Request, state: State, seen: Seen) -> dict[str, Any]:
    """Return the JSON object that was sent, of a request that may be accepted."""
    state.admission.check()
    limits, room = state.settings, room_of(request)
    body = await bodies.read(request, room, max_bytes=limits.max_body, seconds=limits.read_timeout)
    seen.fields["bytes"] = len(body)
    return await bodies.json_object(body, room)


def _reply_memory(call: Call, room: Room) -> int:
    """Return the most memory that writing the reply can take: as text, and as bytes. Replies repeat documents at most twice."""
    documents = 2 * room.ascii_bytes if call.echo else 0
    return 2 * (documents + REPLY_BYTES_PER_DOCUMENT * call.documents)


async def in_time(work: Callable[[], Coroutine[Any, Any, T]], request: Request, settings: Settings) -> T:
    """Return what the work gives, unless its time is over or its client goes away, which both stop it."""
    seconds = _seconds(request, settings.timeout)
    task, left = asyncio.ensure_future(work()), asyncio.ensure_future(_left(request))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # an error after the end interests nobody
    try:
        await asyncio.wait({task, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if left.done():
            raise bodies.Gone
        raise Refusal(504, f"not done within {seconds:g} seconds; ask with fewer documents, or allow it more time")
    finally:
        task.cancel()
        left.cancel()
        del (
            task,
            left,
        )  # an exception refers to this frame; if the frame referred to it, only garbage collection would free both


async def _ranked(reranker: Reranker, call: Call) -> Sequence[Ranking]:
    """Rank all questions of a request as one job, so that many small questions are scheduled as the large request they are."""
    sizes = [_estimated_tokens(question) for question in call.questions]
    with job(sum(sizes)) as request_job:
        some = asyncio.Semaphore(QUESTIONS_AT_ONCE)

        async def ranking(question: Question, size: int) -> Ranking:
            async with some:
                request_job.tokens_to_come -= size
                return await _rank(reranker, call, question)

        tasks = [asyncio.ensure_future(ranking(*each)) for each in zip(call.questions, sizes, strict=True)]
        try:
            return await asyncio.gather(*tasks)
        finally:
            while tasks:  # one that was refused stops the others
                tasks.pop().cancel()  # popped for the same reason as in `in_time`


def _estimated_tokens(question: Question) -> int:
    return sum(len(question.query) + characters_of(document) for document in question.documents) // CHARACTERS_PER_TOKEN


async def _rank(reranker: Reranker, call: Call, question: Question) -> Ranking:
    limit = call.limit or len(question.documents)  # more than there are is no error: all of them
    return await reranker.arerank(question.query, question.documents, limit=limit, rank_by=call.rank_by)


def _check(call: Call, settings: Settings) -> None:
    if call.documents > settings.max_documents:
        raise Refusal(400, f"{call.documents:,} documents; this server takes {settings.max_documents:,} in a request")
    if call.rank_by and len(call.rank_by) > MAX_FIELDS:
        raise Refusal(400, f"{len(call.rank_by):,} fields to read; this server takes {MAX_FIELDS}")
    if call.model and len(call.model) > MAX_MODEL_NAME:
        raise Refusal(400, f"a model's name has at most {MAX_MODEL_NAME} characters")
    for question in call.questions:
        for at, document in enumerate([question.query, *question.documents]):
            if (long := characters_of(document)) > settings.max_characters:
                which = f"document {at - 1}" if at else "the query"
                raise Refusal(400, f"{which} has {long:,} characters; this server takes {settings.max_characters:,}")


def characters_of(document: Any) -> int:
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
