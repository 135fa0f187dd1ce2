"""A request's body: read within limits of size and time, then JSON as the standard has it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from podium.server.admission import Room
from podium.server.dialects.call import Refusal

__all__ = ["Gone", "json_object", "read"]

MAX_VALUES = 1_500_000
PARSED_AT_ONCE = 100_000  # bytes; more would hold up the event loop for longer than a millisecond


class Gone(Exception):
    """The client went away; there is nobody to answer."""


async def read(request: Request, room: Room, *, max_bytes: int, seconds: float) -> bytes:
    """Return the body. Raises Refusal where it is too large or comes too slowly, Gone where it does not come at all."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(_chunks(request, room, max_bytes), seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body did not come within {seconds:g} seconds") from None
    except ClientDisconnect:
        raise Gone from None


async def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Python's parser holds up all threads, by a second for some three million values; so many are no documents of anybody's.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Refusal(413, f"the body has more than {MAX_VALUES:,} values; ask with fewer")
    found = _parsed(body) if len(body) <= PARSED_AT_ONCE else await asyncio.to_thread(_parsed, body)
    if not isinstance(found, dict):
        raise Refusal(400, "the body must be a JSON object")
    return found


async def _chunks(request: Request, room: Room, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    async for chunk in request.stream():
        if room.bytes + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        room.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deep") from None
    except ValueError as error:
        where = f", line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"the body is not valid JSON{where}") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the body is larger than the {max_bytes:,} bytes that this server takes; ask with fewer documents")
