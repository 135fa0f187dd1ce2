"""Counts the memory of each request, from the first byte of its body until the client has read the reply."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium.server.http.admission import Admission, RequestMemory

__all__ = ["MemoryLimit", "request_memory", "share_heap"]

M_ARENA_MAX = -8  # from glibc's malloc.h
PART_BYTES = 65_536  # the size of the parts in which a reply is passed to the connection


class MemoryLimit:
    """Middleware that gives each request a RequestMemory, and sends replies in parts.

    The event loop keeps all data that uvicorn passes to it until they are sent, and this memory is not counted. So a reply is
    passed to uvicorn in parts. The other parts stay here, where they are counted, until the client has read the parts before.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._admission.request_memory() as memory:

            async def send_in_parts(message: Message) -> None:
                body = message.get("body", b"")
                if len(body) <= PART_BYTES:
                    await send(message)
                    return
                memory.resize(len(body))  # the request itself is done, so only its reply is counted
                view = memoryview(body)
                for begin in range(0, len(body), PART_BYTES):
                    has_more = begin + PART_BYTES < len(body) or message.get("more_body", False)
                    await send({"type": "http.response.body", "body": view[begin : begin + PART_BYTES], "more_body": has_more})
                    await asyncio.sleep(0)  # lets uvicorn notice that the client is gone, after which it sends nothing

            await self._app({**scope, "podium.memory": memory}, receive, send_in_parts)


def share_heap() -> None:
    """Let all threads of this process allocate from one heap. Call it before any thread starts.

    Otherwise glibc gives each thread its own heap, and keeps freed memory there: up to twice the memory of the requests.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # other C libraries do not have this option
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def request_memory(request: Request) -> RequestMemory:
    """Return the RequestMemory of a request."""
    memory: RequestMemory = request.scope["podium.memory"]
    return memory
