"""The endpoint of all dialects: reads the call, ranks its documents within limits of size and time, and replies."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from podium.inputs import checked_fields
from podium.local.schedule import job, off_loop
from podium.ranking import Reranker
from podium.server.dialects import dialect_of
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.endpoints.requests import Record, json_response
from podium.server.endpoints.sizes import call_bytes, question_characters
from podium.server.http.bodies import Body, Disconnected, parse_body, read_body
from podium.server.http.memory import request_memory
from podium.server.settings import Settings
from podium.server.state import State
from podium.types import Ranking

__all__ = ["received_body", "rerank", "within_time_limit"]

MAX_FIELDS = 100  # in rank_fields
MAX_MODEL_NAME = 200  # characters
MANY_DOCUMENTS = 500  # replies with more are built in a thread
CHARACTERS_PER_TOKEN = 4  # roughly; only the order of requests depends on it
MAX_CONCURRENT_QUESTIONS = 8  # of one request, so that those of other requests get their turn

Value = TypeVar("Value")


async def rerank(request: Request, state: State, record: Record) -> Response:
    body = await received_body(request, state, record)
    dialect = record.dialect = dialect_of(state.dialects, record.path, body.content)
    call = dialect.read_call(body.content)
    _check_limits(call, state.settings)
    characters = await off_loop(body.is_large, question_characters, call, state.settings.max_characters)
    record.model = state.models.served_name(call.model)
    record.log_fields["documents"] = call.document_count
    reranker = state.models.rerankers[record.model]
    rank_by = checked_fields(call.rank_by or reranker.rank_by)
    call = replace(call, rank_by=None if rank_by is None else list(rank_by))
    request_memory(request).grow(await off_loop(body.is_large, call_bytes, call, body))
    is_only_model = len(state.models.distinct_rerankers) == 1
    with state.admission.slot(id(reranker), is_only_model=is_only_model), state.metrics.requests_in_progress.track_inprogress():
        rankings = await within_time_limit(lambda: _rankings(reranker, call, characters), request, state.settings)
    _count_rankings(state, record, call, rankings)

    is_large = body.is_large or call.document_count > MANY_DOCUMENTS
    response = await off_loop(is_large, lambda: json_response(dialect.reply(call, rankings, record.id)))
    if truncated := record.log_fields["truncated"]:
        response.headers["x-podium-truncated"] = str(truncated)
    return response


async def received_body(request: Request, state: State, record: Record) -> Body:
    """Return the body of a request. Raises Refusal."""
    state.admission.check_open()
    memory = request_memory(request)
    limits = state.settings
    data = await read_body(request, memory, max_bytes=limits.max_body, seconds=limits.read_timeout)
    record.log_fields["bytes"] = len(data)
    return await parse_body(data, memory)


async def within_time_limit(work: Callable[[], Coroutine[Any, Any, Value]], request: Request, settings: Settings) -> Value:
    """Return the result of `work`. Raises Refusal when its time is over, Disconnected when the client is gone."""
    seconds = _seconds_allowed(request, settings.timeout)
    task = asyncio.ensure_future(work())
    disconnected = asyncio.ensure_future(_wait_for_disconnect(request))
    task.add_done_callback(_ignore_error)
    try:
        await asyncio.wait({task, disconnected}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if disconnected.done():
            raise Disconnected
        raise Refusal(504, f"not done within {seconds:g} seconds; send fewer documents, or allow more time")
    finally:
        task.cancel()
        disconnected.cancel()
        del task, disconnected  # otherwise an exception and this frame refer to each other and wait for garbage collection


async def _rankings(reranker: Reranker, call: Call, characters: Sequence[int]) -> Sequence[Ranking]:
    """Rank all questions of a request as one job: the scheduler treats many small questions as one large request."""
    token_counts = [count // CHARACTERS_PER_TOKEN for count in characters]
    with job(sum(token_counts)) as request_job:
        slots = asyncio.Semaphore(MAX_CONCURRENT_QUESTIONS)

        async def ranking(question: Question, token_count: int) -> Ranking:
            async with slots:
                request_job.tokens_to_come -= token_count
                limit = call.limit or len(question.documents)  # a limit above the number of documents is allowed
                return await reranker.arerank(question.query, question.documents, limit=limit, rank_by=call.rank_by)

        tasks = [asyncio.ensure_future(coroutine) for coroutine in map(ranking, call.questions, token_counts)]
        try:
            return await asyncio.gather(*tasks)
        finally:
            while tasks:  # an error stops the other questions; the list is emptied for the reason given in within_time_limit
                tasks.pop().cancel()


def _ignore_error(task: asyncio.Future[Any]) -> None:
    """Retrieve the error of a task that ended after its request, or asyncio would log it."""
    if not task.cancelled():
        task.exception()


def _check_limits(call: Call, settings: Settings) -> None:
    if call.document_count > settings.max_documents:
        raise Refusal(400, f"the request has {call.document_count:,} documents; this server accepts {settings.max_documents:,}")
    if call.rank_by and len(call.rank_by) > MAX_FIELDS:
        raise Refusal(400, f"rank_fields has {len(call.rank_by):,} names; this server accepts {MAX_FIELDS}")
    if call.model and len(call.model) > MAX_MODEL_NAME:
        raise Refusal(400, f"the name of the model has more than {MAX_MODEL_NAME} characters")


def _count_rankings(state: State, record: Record, call: Call, rankings: Sequence[Ranking]) -> None:
    """Count documents and tokens. Raises Refusal if texts were truncated and the request does not allow it."""
    for question, ranking in zip(call.questions, rankings, strict=True):
        state.metrics.count_ranking(record.model or "", ranking, len(question.documents))
    record.log_fields["tokens"] = sum(ranking.usage.tokens or 0 for ranking in rankings)
    truncated = sum(ranking.usage.truncated or 0 for ranking in rankings) or None
    record.log_fields["truncated"] = truncated
    if truncated and not call.truncate:
        raise Refusal(400, f"{truncated} documents are longer than the model reads, and the request does not allow truncation")


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds_allowed(request: Request, limit: float) -> float:
    """Return the time that a request may take: the server's limit, or less if X-Request-Timeout says so."""
    try:
        seconds = float(request.headers.get("x-request-timeout", "inf"))
    except ValueError:
        raise Refusal(400, "X-Request-Timeout must be a number of seconds") from None
    if math.isnan(seconds) or seconds <= 0:
        raise Refusal(400, "X-Request-Timeout must be a number of seconds above 0")
    return min(seconds, limit)
