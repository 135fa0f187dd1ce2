"""A request's body: read and decoded within limits of size, time and memory. JSON as the standard has it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from podium.json_values import count_values
from podium.server.dialects.call import Refusal
from podium.server.http.admission import Room

__all__ = ["Gone", "json_object", "read", "string_width"]

MAX_VALUES = 1_500_000
BYTES_PER_VALUE = 128  # in memory, beside the letters of strings: measured for {}, [], numbers, pairs of a name and a value
PARSED_AT_ONCE = 100_000  # bytes; more would hold up the event loop for longer than a millisecond

_UP_TO_THREE_BYTES = bytes(range(0xF0))  # the bytes of UTF-8 that do not begin a character beyond U+FFFF
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89aAbB]")


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
        raise Refusal(408, f"the body did not arrive within {seconds:g} seconds") from None
    except ClientDisconnect:
        raise Gone from None


async def json_object(body: bytes, room: Room) -> dict[str, Any]:
    """Return the JSON object that a body is. Afterwards `room` holds what the object takes, no longer the body."""
    in_thread = len(body) > PARSED_AT_ONCE
    values = await asyncio.to_thread(count_values, body, MAX_VALUES) if in_thread else count_values(body, MAX_VALUES)
    if values > MAX_VALUES:
        raise Refusal(413, f"the body has more than {MAX_VALUES:,} values; send fewer")
    decoded_bytes = string_width(body) * len(body) + BYTES_PER_VALUE * values
    room.grow(_text_width(body) * len(body) + decoded_bytes)
    parsed = await asyncio.to_thread(_parsed, body) if in_thread else _parsed(body)
    if not isinstance(parsed, dict):
        raise Refusal(400, "the body must be a JSON object")
    room.resize(decoded_bytes)
    room.ascii_bytes = len(body) * (1 if body.isascii() else 3)  # é: two bytes here, six as an escape
    return parsed


def _text_width(body: bytes) -> int:
    """Return how many bytes each character takes once UTF-8 is decoded: as many as the widest needs."""
    if body.isascii():
        return 1
    return 4 if body.translate(None, _UP_TO_THREE_BYTES) else 2


def string_width(body: bytes) -> int:
    """Return the same of the strings in some JSON, whose escapes can stand for wider characters."""
    if _HIGH_SURROGATE.search(body):
        return 4
    return max(_text_width(body), 2 if b"\\u" in body else 1)


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
