"""Count the memory of each request, from its first byte until the client has read the reply."""

from __future__ import annotations

import contextlib
import ctypes
import sys

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium.server.http.admission import Admission, Room

__all__ = ["RequestMemory", "room_of", "share_heap"]

M_ARENA_MAX = -8  # from glibc's malloc.h
PART = 65_536  # bytes of a reply that are passed to the connection at once


class RequestMemory:
    """Middleware that gives each request a Room, and sends replies in parts.

    uvicorn passes whatever it is given to the event loop, which keeps it until it is sent. A reply in parts stays here, where
    it is counted, until the client reads it.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._admission.room() as room:

            async def send_in_parts(message: Message) -> None:
                body = message.get("body", b"")
                if len(body) <= PART:
                    await send(message)
                    return
                room.resize(len(body))  # the request is done; only its reply is left
                view = memoryview(body)
                for begin in range(0, len(body), PART):
                    more = begin + PART < len(body) or message.get("more_body", False)
                    await send({"type": "http.response.body", "body": view[begin : begin + PART], "more_body": more})

            await self._app({**scope, "podium.room": room}, receive, send_in_parts)


def share_heap() -> None:
    """Let all threads of this process allocate from one heap. Call it before any thread starts.

    glibc gives threads heaps of their own and keeps what they free there: up to twice the memory of the requests.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # other C libraries do not have this option
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def room_of(request: Request) -> Room:
    """Return the Room of a request."""
    room: Room = request.scope["podium.room"]
    return room
