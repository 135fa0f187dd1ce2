"""What all endpoints have in common: a request's id, its key, its line in the log, and errors in its client's words."""

from __future__ import annotations

import asyncio
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
from podium.server.dialects import error_before_reading
from podium.server.dialects.call import Dialect, Refusal
from podium.server.http.bodies import Gone
from podium.server.http.origins import check_origin
from podium.server.state import State, state_of
from podium.server.telemetry.logs import log
from podium.server.telemetry.traces import span

__all__ = ["Act", "Seen", "as_json", "endpoint", "unrouted"]

GONE = 499  # nginx's number for a client that closed its request; nobody receives it

# What a failure of ours is to a client: status, and in how many seconds to try again. The first that fits.
FAILURES: tuple[tuple[type[Exception], int, int | None], ...] = (
    (InvalidInput, 400, None),
    (RequestRejected, 400, None),
    (RateLimited, 429, 5),
    (ProviderUnavailable, 503, 5),
    (SourceError, 503, 5),
    (DeadlineExceeded, 504, None),
    (ProviderError, 502, None),  # the server's own key, or a reply that is not the documented one
    (PodiumError, 500, None),
)


@dataclass(slots=True)
class Seen:
    """What is known of a request, as far as one got: what is logged, counted and traced of it. Sizes, times and names only."""

    id: str
    path: str
    dialect: Dialect | None = None
    model: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


Act = Callable[[Request, State, Seen], Awaitable[Response]]


def endpoint(act: Act) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that does `act` for who may, and answers whatever it raises."""

    async def answer(request: Request) -> Response:
        state, began = state_of(request), time.monotonic()
        seen = Seen(_request_id(request), request.scope["path"])  # not request.url, which trusts Host
        with span(f"{request.method} {seen.path}", request.headers, seen.fields):
            response = await _answered(act, request, state, seen)
            response.headers["x-request-id"] = seen.id
            _record(state, seen, response.status_code, time.monotonic() - began)
        return response

    return answer


async def unrouted(request: Request, error: Exception) -> Response:
    """Answer what leads nowhere: a path that is not there, or a method that it does not take; or what fails on its way."""
    path = str(request.scope["path"])[:100]
    says = {
        404: f"there is no {path} here; /docs lists what there is",
        405: f"{path} does not take {request.method}; see /docs",
    }
    seen = Seen(_request_id(request), quote(path))
    if isinstance(error, HTTPException):
        refusal = Refusal(error.status_code, says.get(error.status_code, "the request was not understood"))
    else:
        refusal = _failure(error, seen)
    response = _refused(refusal, seen)
    response.headers.update(dict(getattr(error, "headers", None) or {}))
    response.headers["x-request-id"] = seen.id
    _record(state_of(request), seen, refusal.status, 0.0)
    return response


def as_json(content: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON response, in ASCII, which no character of anybody's can break."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Response(body, status, headers, "application/json")


async def _answered(act: Act, request: Request, state: State, seen: Seen) -> Response:
    try:
        if state.keys:
            # Pinecone's clients send their key as Api-Key.
            key = request.headers.get("authorization") or request.headers.get("api-key")
            seen.fields["key"] = state.keys.check(key)
        else:
            check_origin(request.headers, state.settings)
        return await act(request, state, seen)
    except Gone:
        return Response(status_code=GONE)
    except Refusal as refusal:
        return _refused(refusal, seen)
    except asyncio.CancelledError:  # the time that a server has to end is over
        return _refused(Refusal(503, "this server had to end before this was done; ask another", retry_after=1), seen)
    except RecursionError:
        return _refused(Refusal(400, "the body is nested too deep"), seen)
    except Exception as error:
        return _refused(_failure(error, seen), seen)


def _failure(error: Exception, seen: Seen) -> Refusal:
    for kind, status, retry_after in FAILURES:
        if isinstance(error, kind):
            return Refusal(status, _message(error), retry_after=retry_after)
    where = traceback.extract_tb(error.__traceback__)  # without the message, which may hold what was asked
    lines = [f"{frame.filename.rpartition('podium')[2]}:{frame.lineno}" for frame in where[-3:]]
    log("failure", level=logging.ERROR, id=seen.id, error=type(error).__name__, location=" ".join(lines))
    return Refusal(500, f"the server failed ({type(error).__name__}); see its log for request {seen.id}")


def _message(error: Exception) -> str:
    """Return an error's message, with arguments named as they are in a request."""

    def spell(argument: Argument) -> str:
        name = {"rank_by": "rank_fields"}.get(argument.name, argument.name)
        return f"{name}: {json.dumps(argument.value)}" if isinstance(argument.value, list) else name

    return error.message(spell) if isinstance(error, PodiumError) else str(error)


def _refused(refusal: Refusal, seen: Seen) -> Response:
    if refusal.status == 400 and seen.dialect:
        refusal = Refusal(seen.dialect.invalid_status, refusal.message)
    made = seen.dialect.error(refusal, seen.id) if seen.dialect else error_before_reading(seen.path, refusal, seen.id)
    headers = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.status in (408, 413):
        headers["connection"] = "close"  # what is left of the body is not read
    return as_json(made, refusal.status, **headers)


def _record(state: State, seen: Seen, status: int, seconds: float) -> None:
    dialect = seen.dialect.name if seen.dialect else "none"
    state.metrics.answered(dialect, seen.model or "none", status, seconds)
    seen.fields |= {"dialect": dialect, "model": seen.model, "status": status}
    log("request", id=seen.id, path=seen.path, **seen.fields, milliseconds=round(1000 * seconds, 1))


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if re.fullmatch(r"[\w.:/+=@-]{1,128}", given, re.ASCII) else uuid.uuid4().hex
