"""The memory of each request, from its first byte until the client has read the reply."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any

from starlette.requests import Request

from podium.server.http.admission import Admission, Room

__all__ = ["RequestMemory", "room_of", "share_heap"]

M_ARENA_MAX = -8  # of glibc's malloc.h
PART = 65_536  # bytes of a reply that are handed to the connection at once


class RequestMemory:
    """Middleware that gives each request a Room, and sends replies no faster than they are read.

    uvicorn lets the event loop keep whatever is sent. In parts, the reply stays here, where it is counted, until it is read.
    """

    def __init__(self, app: Any, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._admission.room() as room:

            async def send_in_parts(message: Any) -> None:
                body = message.get("body", b"")
                if len(body) <= PART:
                    await send(message)
                    return
                room.resize(len(body))  # the request has been answered; only its reply is left
                view = memoryview(body)
                for begin in range(0, len(body), PART):
                    more = begin + PART < len(body) or message.get("more_body", False)
                    await send({"type": "http.response.body", "body": view[begin : begin + PART], "more_body": more})

            await self._app({**scope, "podium.room": room}, receive, send_in_parts)


def share_heap() -> None:
    """Let all threads of this process allocate from one heap. Call it before threads begin.

    glibc gives threads heaps of their own and keeps what they free there: twice the memory of the requests was seen to stay.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such option
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def room_of(request: Request) -> Room:
    """Return the Room of a request."""
    room: Room = request.scope["podium.room"]
    return room
