"""HTTP/1.1 connections: uvicorn's protocol with limits on the time and memory that a connection can take."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from podium.server.http.upgrades import RequestParser, framing_headers
from podium.server.telemetry.logs import RateLimitedLog

__all__ = ["Protocol", "connection_limit"]

MAX_CONNECTIONS = 4096  # in one process, if it may open enough files
FIELD_BYTES = 130  # of memory for a header field, besides its text

_connections_full = RateLimitedLog("connections_full")


def connection_limit() -> int:
    """Return how many connections this process accepts. A quarter of its open files, at least 64, is for everything else."""
    if sys.platform == "win32":
        return 512
    import resource

    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if open_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, open_files - max(64, open_files // 4)))


class Protocol(HttpToolsProtocol):
    """One connection.

    uvicorn waits forever for a head, keeps heads and trailers of any size, and keeps a reply until it is read. Here one timer
    runs whenever the client has to do something (`_deadline`), another while a reply waits to be read (`_reply_deadline`).
    """

    max_connections = connection_limit()
    head_seconds = 10.0  # from connecting, or from a request's first byte, to the end of its head
    head_bytes = 65_536  # of a head, of trailers, or of any other data that does not add to a body
    head_fields = 200
    rest_seconds = 10.0  # for the rest of a request after its reply
    reply_seconds = 60.0  # for the client to read a reply
    max_pipelined = 16  # requests that wait for the replies to earlier requests of the same connection
    pipelined_bytes = 65_536  # of those requests together

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self.upgrade_framing = b""
        self.idle_since: float | None = None  # loop time since when no request has begun; None during a request
        self._deadline: asyncio.TimerHandle | None = None
        self._reply_deadline: asyncio.TimerHandle | None = None
        self._reading_request = False  # between a request's first and last byte
        self._head_complete = False
        self._head_size = 0  # of the current request
        self._progressed = False  # whether the last data completed a head, added to a body or ended a request
        self._bytes_without_progress = 0
        self._body_parts: list[bytes] = []  # of the current request, from one read of the socket
        self._unanswered: dict[RequestResponseCycle, int] = {}  # requests without complete replies → memory of their heads
        self._error_status = 400  # of the error that ends parsing
        self._error_reply = b""  # waits for the replies to earlier requests

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
        self._unset_keepalive_if_required()  # uvicorn's own timer would keep this object after a reset by the client
        super().connection_lost(exc)
        for cycle in self._unanswered:  # uvicorn notifies only the newest
            _disconnect(cycle)
        self._unanswered.clear()
        self.pipeline.clear()
        self._forget_request()

    def data_received(self, data: bytes) -> None:
        if self._error_reply:  # nothing after a malformed request is parsed
            return
        if self.idle_since is not None:
            self.idle_since = None
            self._set_deadline(self.head_seconds)
        self._progressed = False
        super().data_received(data)
        if self._error_reply:
            return
        self._pass_on_body()
        self._bytes_without_progress = 0 if self._progressed else self._bytes_without_progress + len(data)
        if self._bytes_without_progress > self.head_bytes or self._pipelined_size() > self.pipelined_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        if self.upgrade_framing:
            return
        self._reading_request = True
        self._head_complete = False
        self._head_size = 0
        self._set_deadline(self.head_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._head_complete:  # else this is the head of an upgrade a second time
            self._add_to_head(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:  # else this is a trailer, or the head of an upgrade a second time
            self._add_to_head(len(name) + len(value))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.upgrade_framing:  # the same head a second time
            self.upgrade_framing = b""
            return
        self._head_complete = self._progressed = True
        self._set_deadline(None)  # the reader of the body limits its time
        if len(self.pipeline) >= self.max_pipelined:
            self.transport.abort()
            raise ValueError("too many pipelined requests")  # ends the parsing
        if self.parser.should_upgrade():
            self.upgrade_framing = framing_headers(self.headers)
        super().on_headers_complete()
        self._unanswered[self.cycle] = self._head_size + FIELD_BYTES * len(self.headers)
        self.flow.resume_reading()  # uvicorn pauses it after a pipelined request, and then misses the end of the connection

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        if self.upgrade_framing:  # the body follows
            return
        self._pass_on_body()
        self._reading_request = False
        self._progressed = True
        super().on_message_complete()
        self._set_deadline(None)
        if self.cycle.response_complete:
            self._forget_request()
            self._begin_idling(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        self._unanswered = {cycle: size for cycle, size in self._unanswered.items() if not cycle.response_complete}
        super().on_response_complete()
        if not self.flow.write_paused:
            self._set_reply_deadline(None)
        if self.transport.is_closing() or self._unanswered:
            return
        if self._error_reply:
            self._send_error_reply()
        elif not self._reading_request:
            self._forget_request()
            self._begin_idling(self.timeout_keep_alive)
        elif self._head_complete:
            self._set_deadline(self.rest_seconds)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed, after the replies to earlier requests, and close the connection."""
        if self.transport.is_closing():
            return
        self._set_deadline(None)
        body = HTTPStatus(self._error_status).phrase.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self._error_reply = STATUS_LINE[self._error_status] + head + body
        if self._reading_request and self._head_complete:  # the body of the newest request is malformed
            if self.cycle.response_started:
                self.transport.close()
                return
            self._withdraw_request()
        self.flow.resume_reading()
        if not self._unanswered:
            self._send_error_reply()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reply_deadline is None:  # not restarted for each part that is read: the time is for the whole reply
            self._set_reply_deadline(self.reply_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle is None or self.cycle.response_complete:
            self._set_reply_deadline(None)

    def _add_to_head(self, size: int) -> None:
        """Count the size of a part of the head. Raises ValueError, which ends the parsing, if the head is too large."""
        self._head_size += size
        if self._head_size > self.head_bytes or len(self.headers) == self.head_fields:
            self._error_status = 431
            raise ValueError("the head is too large")

    def _pipelined_size(self) -> int:
        """Return about how much memory the requests take that wait for the replies before theirs."""
        return sum(self._unanswered[cycle] + len(cycle.body) for cycle, _ in self.pipeline)

    def _pass_on_body(self) -> None:
        """Give the chunks of one read to uvicorn as one: it copies the whole body for each, and there may be thousands."""
        if self._body_parts:
            super().on_body(b"".join(self._body_parts))
            self._body_parts = []

    def _forget_request(self) -> None:
        """Drop a request that has been read and answered. uvicorn keeps its head, which may be large, until the next one."""
        self.url = b""
        self.headers = []
        self.scope = self.cycle = None  # type: ignore[assignment]

    def _withdraw_request(self) -> None:
        """Stop the newest request, so that the error is its reply."""
        del self._unanswered[self.cycle]
        self.pipeline = deque(entry for entry in self.pipeline if entry[0] is not self.cycle)
        _disconnect(self.cycle)

    def _send_error_reply(self) -> None:
        self.transport.write(self._error_reply)
        self.transport.close()

    def _begin_idling(self, seconds: float) -> None:
        self.idle_since = self.loop.time()
        self._set_deadline(seconds)

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, this one if no other is."""
        _connections_full.warn(connections=self.max_connections)
        idle = [other for other in self.connections if isinstance(other, Protocol) and other.idle_since is not None]
        longest = min((other for other in idle if other is not self), key=lambda other: other.idle_since or 0.0, default=self)
        longest.idle_since = None  # it is not closed twice
        longest.transport.abort()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _set_reply_deadline(self, seconds: float | None) -> None:
        if self._reply_deadline:
            self._reply_deadline.cancel()
        self._reply_deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Make a request's application see that the client is gone."""
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
