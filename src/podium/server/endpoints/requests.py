"""The common parts of all endpoints: a request's id, API key and log line, and errors in the client's format."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from podium.errors import (
    Argument,
    DeadlineExceeded,
    InvalidInput,
    PodiumError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    SourceError,
)
from podium.server.dialects import early_error
from podium.server.dialects.call import Refusal
from podium.server.dialects.dialect import Dialect
from podium.server.http.bodies import Disconnected
from podium.server.http.origins import check_origin
from podium.server.state import State, state_of
from podium.server.telemetry.logs import log
from podium.server.telemetry.traces import span

__all__ = ["Handler", "Record", "endpoint", "error_outside_endpoints", "json_response"]

DISCONNECTED = 499  # nginx's status for a request whose client closed the connection, for the log

# Class of an error, HTTP status, and after how many seconds to try again (None if that would not help).
# The first row that matches is used, so subclasses come before their base classes.
STATUSES: tuple[tuple[type[Exception], int, int | None], ...] = (
    (InvalidInput, 400, None),
    (RequestRejected, 400, None),
    (RateLimited, 429, 5),
    (ProviderUnavailable, 503, 5),
    (SourceError, 503, 5),
    (DeadlineExceeded, 504, None),
    (ProviderError, 502, None),  # for example, the provider rejects the server's key, or its reply is malformed
    (PodiumError, 500, None),
)


@dataclass(slots=True)
class Record:
    """Facts about a request for its log line, metrics and trace: sizes, times and names, never its content.

    `dialect` and `model` (the model's name on this server) are None until they are known. `log_fields` are added to the log
    line, and are the attributes of the trace's span.
    """

    id: str
    path: str
    dialect: Dialect | None = None
    model: str | None = None
    log_fields: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[Request, State, Record], Awaitable[Response]]


def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that checks access, calls the handler, and turns its errors into responses."""

    async def respond(request: Request) -> Response:
        start = time.monotonic()
        state = state_of(request)
        path = request.scope["path"]  # not request.url.path, which fails if the Host header is invalid
        record = Record(_request_id(request), path)
        with span(f"{request.method} {record.path}", request.headers, record.log_fields):
            response = await _response(handler, request, state, record)
            response.headers["x-request-id"] = record.id
            _count_and_log(state, record, response.status_code, time.monotonic() - start)
        return response

    return respond


async def error_outside_endpoints(request: Request, error: Exception) -> Response:
    """Return the response to an unknown path, to a method that the path does not have, or to an error in middleware."""
    path = str(request.scope["path"])[:100]  # a client can send a long path
    record = Record(_request_id(request), quote(path))
    if isinstance(error, HTTPException):
        messages = {
            404: f"there is no {path} on this server; see /docs for all paths",
            405: f"{path} does not support {request.method}; see /docs",
        }
        refusal = Refusal(error.status_code, messages.get(error.status_code, "the request is not valid"))
    else:
        refusal = _refusal_for(error, record)
    response = _error_response(refusal, record, state_of(request))
    response.headers.update(dict(getattr(error, "headers", None) or {}))
    response.headers["x-request-id"] = record.id
    _count_and_log(state_of(request), record, refusal.status, 0.0)
    return response


def json_response(content: Any, status: int = 200, **headers: str) -> Response:
    """Return a response with JSON in ASCII, so that no character can break a client."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Response(body, status, headers, "application/json")


async def _response(handler: Handler, request: Request, state: State, record: Record) -> Response:
    """Check access and return the handler's response, or the response to its error."""
    try:
        if state.keys:
            # Pinecone's clients send the key in the header Api-Key.
            authorization = request.headers.get("authorization") or request.headers.get("api-key")
            record.log_fields["key"] = state.keys.key_name(authorization)
        else:
            check_origin(request.headers, state.settings)
        return await handler(request, state, record)
    except Disconnected:
        return Response(status_code=DISCONNECTED)
    except Refusal as refusal:
        return _error_response(refusal, record, state)
    except asyncio.CancelledError:  # at shutdown, uvicorn cancels requests that exceed the drain timeout
        message = "this server stopped before the request was done; send it to another server"
        return _error_response(Refusal(503, message, retry_after=1), record, state)
    except RecursionError:
        return _error_response(Refusal(400, "the body is nested too deeply"), record, state)
    except Exception as error:
        return _error_response(_refusal_for(error, record), record, state)


def _refusal_for(error: Exception, record: Record) -> Refusal:
    """Return the refusal for an error.

    An unexpected error is logged with its location. Its message is neither logged nor returned, because it may quote texts.
    """
    for kind, status, retry_after in STATUSES:
        if isinstance(error, kind):
            return Refusal(status, _message(error), retry_after=retry_after)
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    location = " ".join(f"{frame.filename.rpartition('podium')[2]}:{frame.lineno}" for frame in frames)
    log("failure", level=logging.ERROR, id=record.id, error=type(error).__name__, location=location)
    return Refusal(500, f"the server failed ({type(error).__name__}); see its log for request {record.id}")


def _message(error: Exception) -> str:
    """Return an error's message. A PodiumError's message names arguments like the fields of requests."""

    def as_field(argument: Argument) -> str:
        name = {"rank_by": "rank_fields"}.get(argument.name, argument.name)
        return f"{name}: {json.dumps(argument.value)}" if isinstance(argument.value, list) else name

    return error.message(as_field) if isinstance(error, PodiumError) else str(error)


def _error_response(refusal: Refusal, record: Record, state: State) -> Response:
    """Return the error response in the dialect of the request. If it is unknown, use all dialects of the path."""
    if refusal.status == 400 and record.dialect:
        refusal = Refusal(record.dialect.invalid_status, refusal.message)
    make_body = record.dialect.error if record.dialect else functools.partial(early_error, state.dialects, record.path)
    headers = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not read
    return json_response(make_body(refusal, record.id), refusal.status, **headers)


def _count_and_log(state: State, record: Record, status: int, seconds: float) -> None:
    """Add an answered request to the metrics, and log it."""
    dialect = record.dialect.name if record.dialect else "none"
    state.metrics.count_request(dialect, record.model or "none", status, seconds)
    record.log_fields |= {"dialect": dialect, "model": record.model, "status": status}
    log("request", id=record.id, path=record.path, **record.log_fields, milliseconds=round(1000 * seconds, 1))


def _request_id(request: Request) -> str:
    """Return the client's X-Request-ID if it has only characters that are safe in a log, else a new id."""
    request_id = request.headers.get("x-request-id", "")
    return request_id if re.fullmatch(r"[\w.:/+=@-]{1,128}", request_id, re.ASCII) else uuid.uuid4().hex
