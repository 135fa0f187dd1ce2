"""HTTP/1.1 as uvicorn speaks it, with limits on the time and memory that one connection, and all together, can take."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from podium.server.http.upgrades import RequestParser, framing_headers
from podium.server.telemetry.logs import RateLimitedLog

__all__ = ["Protocol", "connection_limit"]

MAX_CONNECTIONS = 4096  # at most, in one process; fewer where it may not have as many open files

_connections_full = RateLimitedLog("connections_full")


def connection_limit() -> int:
    """Return how many connections this process accepts: a quarter of its open files, at least 64, is for everything else."""
    if sys.platform == "win32":
        return 512
    import resource

    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if open_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, open_files - max(64, open_files // 4)))


class Protocol(HttpToolsProtocol):
    """One connection.

    uvicorn waits without end for a head, keeps trailers of any size, and keeps a reply until it is read. Here one timer runs
    whenever the client has to do something (`_deadline`), another while a reply waits to be read (`_reply_deadline`).
    """

    max_connections = connection_limit()
    head_seconds = 10.0  # from connecting, or from a request's first byte, to the end of its head
    head_bytes = 65_536  # of a head, of trailers, or of whatever else a client sends without a byte of body
    rest_seconds = 10.0  # for the rest of a request whose reply is already out
    reply_seconds = 60.0  # for the client to read a reply
    max_pipelined = 16  # requests of one connection that wait for the replies before theirs

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self.upgrade_framing = b""
        self.idle_since: float | None = None  # loop time since when no request has begun; None during a request
        self._deadline: asyncio.TimerHandle | None = None
        self._reply_deadline: asyncio.TimerHandle | None = None
        self._reading_request = False  # between a request's first and last byte
        self._head_complete = False
        self._progressed = False  # whether the last data completed a head, held body or ended a request
        self._bytes_without_progress = 0
        self._body_parts: list[bytes] = []  # of the current request, from one read of the socket
        self._cycles: list[Any] = []  # requests whose replies are not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # pause_writing is called whenever the client has something to read
        self._begin_idling(self.head_seconds)
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self.idle_since = None
        self._set_deadline(None)
        self._set_reply_deadline(None)
        super().connection_lost(exc)
        for cycle in self._cycles:  # uvicorn tells only the newest
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self.idle_since is not None:
            self.idle_since = None
            self._set_deadline(self.head_seconds)
        self._progressed = False
        super().data_received(data)
        self._pass_on_body()
        self._bytes_without_progress = 0 if self._progressed else self._bytes_without_progress + len(data)
        if self._bytes_without_progress > self.head_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        if self.upgrade_framing:
            return
        self._reading_request, self._head_complete = True, False
        self._set_deadline(self.head_seconds)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:  # later ones are trailers, or the head of an upgrade again: both are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.upgrade_framing:  # the same head again
            self.upgrade_framing = b""
            return
        self._head_complete = self._progressed = True
        self._set_deadline(None)  # whoever reads the body limits its time
        if len(self.pipeline) >= self.max_pipelined:
            self.transport.abort()
            raise ValueError("too many pipelined requests")  # ends the parsing of what has been received
        if self.parser.should_upgrade():
            self.upgrade_framing = framing_headers(self.headers)
        super().on_headers_complete()
        self._cycles = [cycle for cycle in (*self._cycles, self.cycle) if not cycle.response_complete]

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        if self.upgrade_framing:  # the body follows
            return
        self._pass_on_body()
        self._reading_request, self._progressed = False, True
        super().on_message_complete()
        self._set_deadline(None)
        if self.cycle.response_complete:
            self._begin_idling(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.flow.write_paused:
            self._set_reply_deadline(None)
        if self.transport.is_closing() or not self.cycle.response_complete:
            return
        if not self._reading_request:
            self._begin_idling(self.timeout_keep_alive)
        elif self._head_complete:
            self._set_deadline(self.rest_seconds)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reply_deadline is None:  # not anew for each part that is read: the time is for the whole reply
            self._set_reply_deadline(self.reply_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle is None or self.cycle.response_complete:
            self._set_reply_deadline(None)

    def _pass_on_body(self) -> None:
        """Give the chunks of one read to uvicorn as one: it copies the whole body for each, and there may be thousands."""
        if self._body_parts:
            super().on_body(b"".join(self._body_parts))
            self._body_parts = []

    def _begin_idling(self, seconds: float) -> None:
        self.idle_since = self.loop.time()
        self._set_deadline(seconds)

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, this one where no other is."""
        _connections_full.warn(connections=self.max_connections)
        idle = [other for other in self.connections if isinstance(other, Protocol) and other.idle_since is not None]
        longest = min((other for other in idle if other is not self), key=lambda other: other.idle_since or 0.0, default=self)
        longest.idle_since = None  # it is not chosen again
        longest.transport.abort()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _set_reply_deadline(self, seconds: float | None) -> None:
        if self._reply_deadline:
            self._reply_deadline.cancel()
        self._reply_deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
