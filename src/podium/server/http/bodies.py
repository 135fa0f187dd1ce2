"""Read and decode the JSON body of a request, with limits on its size, time and memory."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from podium.json_values import count_values
from podium.server.dialects.call import Refusal
from podium.server.http.admission import Room

__all__ = ["Body", "Disconnected", "off_loop", "parse_body", "read_body", "string_width"]

MAX_VALUES = 1_500_000  # json.loads holds the GIL for about a second per three million values
BYTES_PER_VALUE = 128  # of memory, besides the characters of strings. Measured for {}, [], numbers and members of objects
LARGE = 100_000  # bytes; handling more takes longer than a millisecond and would delay the event loop

_UP_TO_THREE_BYTES = bytes(range(0xF0))  # all bytes of UTF-8 except the first bytes of characters above U+FFFF
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89aAbB]")

Value = TypeVar("Value")


class Disconnected(Exception):
    """The client closed the connection, so a reply cannot be sent."""


@dataclass(frozen=True, slots=True, repr=False)
class Body:
    """A decoded body. `size` is its length in bytes, `width` the bytes of memory per character of its strings."""

    content: dict[str, Any]
    size: int
    width: int
    is_ascii: bool

    @property
    def escaped_size(self) -> int:
        """The most bytes that its strings take as JSON in ASCII: é is two bytes in UTF-8 and six as an escape."""
        return self.size if self.is_ascii else 3 * self.size


async def read_body(request: Request, room: Room, *, max_bytes: int, seconds: float) -> bytes:
    """Return the body. Raises Refusal if it is too large or too slow, Disconnected if it ends early."""
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > max_bytes:
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(_read_chunks(request, room, max_bytes), seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body did not arrive within {seconds:g} seconds") from None
    except ClientDisconnect:
        raise Disconnected from None


async def parse_body(data: bytes, room: Room) -> Body:
    """Return the JSON object in `data`. Afterwards `room` counts the memory of the object instead of the bytes."""
    values = await off_loop(len(data), count_values, data, MAX_VALUES)
    if values > MAX_VALUES:
        raise Refusal(413, f"the body has more than {MAX_VALUES:,} values; send fewer")
    width = string_width(data)
    decoded_bytes = width * len(data) + BYTES_PER_VALUE * values
    room.grow(_text_width(data) * len(data) + decoded_bytes)
    content = await off_loop(len(data), _parse, data)
    if not isinstance(content, dict):
        raise Refusal(400, "the body must be a JSON object")
    room.resize(decoded_bytes)
    return Body(content, len(data), width, data.isascii())


async def off_loop(size: int, function: Callable[..., Value], *arguments: Any) -> Value:
    """Return what `function` returns, calling it in a thread if it has to handle many bytes."""
    return function(*arguments) if size <= LARGE else await asyncio.to_thread(function, *arguments)


def _text_width(data: bytes) -> int:
    """Return the bytes per character of decoded UTF-8. Python stores all characters as wide as the widest needs."""
    if data.isascii():
        return 1
    return 4 if data.translate(None, _UP_TO_THREE_BYTES) else 2


def string_width(data: bytes) -> int:
    """Return the most bytes per character of the strings in a JSON text, in which escapes can stand for wider characters."""
    if _HIGH_SURROGATE.search(data):
        return 4
    return max(_text_width(data), 2 if b"\\u" in data else 1)


async def _read_chunks(request: Request, room: Room, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    async for chunk in request.stream():
        if room.bytes + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        room.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except ValueError as error:
        position = f", line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"the body is not valid JSON{position}") from None


def _refuse_constant(name: str) -> None:
    """Raise ValueError: Python's parser accepts NaN and Infinity, which JSON does not have."""
    raise ValueError(name)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the body is larger than the {max_bytes:,} bytes that this server accepts; send fewer documents")
