"""Read and decode the JSON body of a request, with limits on its size, its memory, and the time in which it arrives."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from podium.json_values import BYTES_PER_VALUE, count_values, string_character_bytes, text_character_bytes
from podium.schedule import off_loop
from podium.server.dialects.call import Refusal
from podium.server.http.admission import RequestMemory

__all__ = ["Body", "Disconnected", "parse_body", "read_body"]

MAX_VALUES = 1_500_000  # json.loads holds the GIL for about a second per three million values
LARGE_BYTES = 100_000  # larger bodies take longer than a millisecond to decode, and are decoded on another thread


class Disconnected(Exception):
    """The client closed the connection, so a reply cannot be sent."""


@dataclass(frozen=True, slots=True, repr=False)
class Body:
    """A decoded body.

    - `size`: the length of the body in bytes before it was decoded.
    - `character_bytes`: an upper bound for the bytes of memory that each character of the body's strings takes.
    - `is_ascii`: whether the body had only ASCII characters before it was decoded.
    """

    content: dict[str, Any]
    size: int
    character_bytes: int
    is_ascii: bool

    @property
    def is_large(self) -> bool:
        """Whether work on the whole body takes so long that it would block the event loop."""
        return self.size > LARGE_BYTES

    @property
    def escaped_size(self) -> int:
        """An upper bound for the body's length as JSON in ASCII, in which é, two bytes in UTF-8, is an escape of six bytes."""
        return self.size if self.is_ascii else 3 * self.size


async def read_body(request: Request, memory: RequestMemory, *, max_bytes: int, seconds: float) -> bytes:
    """Return the bytes of the body. `memory` counts them.

    Raises Refusal if the body is larger than `max_bytes`, takes longer than `seconds`, or does not fit into the memory.
    Raises Disconnected if the client closes the connection before the end of the body.
    """
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > max_bytes:
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(_read_chunks(request, memory, max_bytes), seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body did not arrive within {seconds:g} seconds") from None
    except ClientDisconnect:
        raise Disconnected from None


async def parse_body(data: bytes, memory: RequestMemory) -> Body:
    """Return the JSON object in `data`. Afterwards `memory` counts the object instead of `data`.

    Raises Refusal if `data` is not a JSON object, has too many values, or does not fit into the server's memory.
    """
    is_large = len(data) > LARGE_BYTES
    value_count = await off_loop(is_large, count_values, data, MAX_VALUES)
    if value_count > MAX_VALUES:
        raise Refusal(413, f"the body has more than {MAX_VALUES:,} values; send fewer")
    character_bytes = string_character_bytes(data)
    decoded_bytes = character_bytes * len(data) + BYTES_PER_VALUE * value_count
    memory.grow(text_character_bytes(data) * len(data) + decoded_bytes)  # the text is in memory while it is parsed
    content = await off_loop(is_large, _json_value, data)
    if not isinstance(content, dict):
        raise Refusal(400, "the body must be a JSON object")
    memory.resize(decoded_bytes)
    return Body(content, len(data), character_bytes, data.isascii())


async def _read_chunks(request: Request, memory: RequestMemory, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    async for chunk in request.stream():
        if memory.used_bytes + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        memory.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _json_value(data: bytes) -> Any:
    """Return the value of a JSON text, which may begin with a byte order mark. Raises Refusal."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except ValueError as error:
        position = f", line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"the body is not valid JSON{position}") from None


def _refuse_constant(name: str) -> NoReturn:
    """Raise Refusal for NaN and Infinity, which Python's parser accepts and JSON does not have."""
    raise Refusal(400, f"the body is not valid JSON: it contains {name}; send null instead")


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the body is larger than the {max_bytes:,} bytes that this server accepts; send fewer documents")
