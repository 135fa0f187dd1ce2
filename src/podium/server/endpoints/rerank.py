"""The endpoint of all dialects. It reads a call, ranks its documents within limits of size and time, and replies."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from podium.compose.passages import Passages
from podium.documents import TextReader
from podium.explanations import MOST_PARTS, Explanation
from podium.inputs import checked_fields
from podium.preparation import read_texts
from podium.ranking import Reranker
from podium.schedule import job, off_loop
from podium.scorers import as_scorer
from podium.server.dialects import dialect_of
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.endpoints.requests import Record, json_response
from podium.server.endpoints.sizes import call_bytes, character_counts, token_bytes
from podium.server.http.bodies import Body, Disconnected, parse_body, read_body
from podium.server.http.memory import request_memory
from podium.server.settings import Settings
from podium.server.state import State
from podium.types import Ranking

__all__ = ["received_body", "rerank", "within_time_limit"]

MAX_FIELDS = 100  # maximum number of names in rank_fields
MAX_MODEL_NAME = 200  # maximum number of characters
MANY_DOCUMENTS = 500  # a reply with more documents is built on another thread, because it would block the event loop
CHARACTERS_PER_TOKEN = 4  # roughly; only the order in which requests are computed depends on it
MAX_BYTES_PER_CHARACTER = 4  # of a string in memory
MAX_CONCURRENT_QUESTIONS = 8  # the limit for one request, so that questions of other requests are also ranked

Value = TypeVar("Value")


async def rerank(request: Request, state: State, record: Record) -> Response:
    """Answer a request in any dialect. `record` gets the dialect and the model as soon as they are known."""
    body = await received_body(request, state, record)
    dialect = record.dialect = dialect_of(state.dialects, record.path, body.content)
    call = dialect.read_call(body.content)
    _check_limits(call, state.settings)
    counts = await off_loop(body.is_large, character_counts, call, state.settings.max_characters)
    record.model = state.models.served_name(call.model)
    record.log_fields["documents"] = call.document_count
    reranker = state.models.rerankers[record.model]
    model_key = id(reranker)  # not the name: a reranker with several names has the slots of one model
    rank_by = checked_fields(call.rank_by or (reranker.rank_by if _has_records(call) else None))
    # The fields may come from the reranker. The call gets them, because some replies contain the texts of these fields.
    call = replace(call, rank_by=None if rank_by is None else list(rank_by))
    memory = request_memory(request)
    memory.grow(await off_loop(body.is_large, call_bytes, call, body))
    memory.grow(token_bytes(call, counts, as_scorer(reranker.scorer).max_length or 0))  # Hosted models have no tokens here.
    if call.explain:
        _check_explained(call)
        memory.grow(MAX_BYTES_PER_CHARACTER * MOST_PARTS * sum(counts))
    is_only_model = len(state.models.distinct_rerankers) == 1
    with state.admission.slot(model_key, is_only_model=is_only_model), state.metrics.requests_in_progress.track_inprogress():
        rankings, call = await within_time_limit(
            functools.partial(_ranked_call, reranker, call, counts, returns_texts=dialect.returns_texts),
            request,
            state.settings,
        )
    truncated_count = _count_rankings(state, record, call, rankings)
    if truncated_count and not call.truncate:
        problem = f"{truncated_count} documents are longer than the model reads"
        raise Refusal(400, f"{problem}, and the request does not allow truncation; shorten them, or allow it")

    is_large = body.is_large or call.document_count > MANY_DOCUMENTS
    response = await off_loop(is_large, lambda: json_response(dialect.reply_body(call, rankings, record.id)))
    if truncated_count:
        response.headers["x-podium-truncated"] = str(truncated_count)
    return response


async def _ranked_call(
    reranker: Reranker, call: Call, counts: Sequence[int], *, returns_texts: bool
) -> tuple[Sequence[Ranking], Call]:
    """Return the ranking of each question, and the call with the texts of the results and the explanation, if it needs them.

    An instruction is tokenised on another thread.
    """
    reranker = await off_loop(call.instruction is not None, reranker.with_instruction, call.instruction)
    if call.passages:
        reranker = _with_passages(reranker)
    rankings = await _rankings(reranker, call, counts)
    texts = await _result_texts(call, rankings[0]) if returns_texts else []
    explanation = await _explanation(reranker, call) if call.explain else None
    return rankings, replace(call, result_texts=texts, explanation=explanation)


def _with_passages(reranker: Reranker) -> Reranker:
    """Return a reranker that reads long documents in passages. Raises Refusal if the length of its texts is not known."""
    if as_scorer(reranker.scorer).token_counter is None:
        raise Refusal(400, f"{reranker.model} cannot read passages, because its tokenizer is not here; leave out passages")
    return reranker.with_scorer(Passages(reranker))


async def received_body(request: Request, state: State, record: Record) -> Body:
    """Return the decoded body of a request, and record its size.

    Raises Refusal if the server is shutting down, or if the body is too large, too slow or not a JSON object. Raises
    Disconnected if the client closes the connection first.
    """
    state.admission.check_open()
    memory = request_memory(request)
    limits = state.settings
    data = await read_body(request, memory, max_bytes=limits.max_body, seconds=limits.read_timeout)
    record.log_fields["bytes"] = len(data)
    return await parse_body(data, memory)


async def within_time_limit(work: Callable[[], Coroutine[Any, Any, Value]], request: Request, settings: Settings) -> Value:
    """Run the coroutine that `work` returns, and return its result.

    If its time is over, cancel it and raise Refusal. If the client closes the connection, cancel it and raise Disconnected.
    """
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
        # A failed task refers to its exception, whose traceback refers to this frame. Without this line, the frame would refer
        # to the task, and all of them would stay in memory until garbage is collected.
        del task, disconnected


async def _rankings(reranker: Reranker, call: Call, counts: Sequence[int]) -> Sequence[Ranking]:
    """Return the ranking of each question. `counts` are the numbers of characters of the questions.

    All questions are one job, so that the scheduler treats many small questions like one large request.
    """
    token_counts = [count // CHARACTERS_PER_TOKEN for count in counts]
    with job(sum(token_counts)) as request_job:
        slots = asyncio.Semaphore(MAX_CONCURRENT_QUESTIONS)

        async def rank_question(question: Question, token_count: int) -> Ranking:
            async with slots:
                request_job.tokens_to_come -= token_count  # arerank adds the real number of tokens to the job
                limit = call.limit or len(question.documents)  # None would mean the reranker's own limit
                return await reranker.arerank(
                    question.query,
                    question.documents,
                    limit=limit,
                    rank_by=call.rank_by,
                    budget_ms=call.budget_ms,
                    max_tokens=call.max_tokens,
                    max_cost=call.max_cost,
                    price=call.price,
                )

        tasks = [
            asyncio.ensure_future(rank_question(question, token_count))
            for question, token_count in zip(call.questions, token_counts, strict=True)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            # If a question fails, the other questions are stopped. The list is emptied, because this frame must not refer to a
            # failed task (see within_time_limit).
            while tasks:
                tasks.pop().cancel()


async def _result_texts(call: Call, ranking: Ranking) -> list[str | None]:
    """Return the text of each result. Documents are converted to text again, because a ranking does not have the texts."""
    reader = TextReader([result.document for result in ranking], checked_fields(call.rank_by))
    await read_texts(reader)
    return reader.texts


async def _explanation(reranker: Reranker, call: Call) -> Explanation:
    """Return the explanation of the only document of a call."""
    (question,) = call.questions
    return await reranker.aexplain(question.query, question.documents[0], rank_by=call.rank_by)


def _check_explained(call: Call) -> None:
    """Raise Refusal unless a call that wants an explanation has one document."""
    if call.document_count != 1:
        raise Refusal(400, f"explain needs one document, not {call.document_count:,}; send a request for each document")


def _ignore_error(task: asyncio.Future[Any]) -> None:
    """Retrieve the error of a task, so that asyncio does not log it if the task ends after its request."""
    if not task.cancelled():
        task.exception()


def _has_records(call: Call) -> bool:
    """Whether a document of the call is not a string. A reranker's own fields are not those of strings."""
    return any(not isinstance(document, str) for question in call.questions for document in question.documents)


def _check_limits(call: Call, settings: Settings) -> None:
    """Raise Refusal if a call has too many documents or too many fields, or if its model's name is too long."""
    if call.document_count > settings.max_documents:
        raise Refusal(400, f"the request has {call.document_count:,} documents; this server accepts {settings.max_documents:,}")
    if call.rank_by and len(call.rank_by) > MAX_FIELDS:
        raise Refusal(400, f"rank_fields has {len(call.rank_by):,} names; this server accepts {MAX_FIELDS}")
    if call.model and len(call.model) > MAX_MODEL_NAME:
        raise Refusal(400, f"the name of the model has more than {MAX_MODEL_NAME} characters")


def _count_rankings(state: State, record: Record, call: Call, rankings: Sequence[Ranking]) -> int:
    """Add a request's documents and tokens to the metrics and its record. Return how many documents were truncated."""
    for question, ranking in zip(call.questions, rankings, strict=True):
        state.metrics.count_ranking(record.model or "", ranking, len(question.documents))
    record.log_fields["tokens"] = sum(ranking.usage.tokens or 0 for ranking in rankings)
    truncated_count = sum(ranking.usage.truncated or 0 for ranking in rankings)
    record.log_fields["truncated"] = truncated_count or None  # the log leaves out None
    return truncated_count


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds_allowed(request: Request, limit: float) -> float:
    """Return how many seconds a request may take: `limit`, or its X-Request-Timeout if that is less.

    Raises Refusal if X-Request-Timeout is not a number above 0.
    """
    try:
        seconds = float(request.headers.get("x-request-timeout", "inf"))
    except ValueError:
        raise Refusal(400, "X-Request-Timeout must be a number of seconds") from None
    if math.isnan(seconds) or seconds <= 0:
        raise Refusal(400, "X-Request-Timeout must be a number of seconds above 0")
    return min(seconds, limit)
