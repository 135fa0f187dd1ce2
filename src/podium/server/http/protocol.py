"""HTTP/1.1 connections: uvicorn's protocol, with limits on the time and the memory that a connection can take."""

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

MAX_CONNECTIONS = 4096  # the limit for a process that may open enough files
FIELD_BYTES = 130  # memory of the Python objects of a header field, besides its text

_connections_full = RateLimitedLog("connections_full")


def connection_limit() -> int:
    """Return how many connections this process accepts. A quarter of the files it may open, at least 64, is for other uses."""
    if sys.platform == "win32":
        return 512  # select() cannot watch more there
    import resource

    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if open_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, open_files - max(64, open_files // 4)))


class Protocol(HttpToolsProtocol):
    """One connection. A request's head is its first line and its header fields.

    uvicorn waits forever for a head, accepts heads and trailers of any size, and keeps a reply until the client reads it. This
    class limits their sizes. It also has two timers: `_request_timer` runs while the client has to send something, and
    `_reply_timer` while the client has to read a reply. When a timer ends, the connection is closed.

    asyncio calls `connection_made`, `data_received`, `pause_writing`, `resume_writing` and `connection_lost`. The parser calls
    the methods `on_…` during `data_received`. uvicorn's `cycle` is the newest request together with its response.
    """

    max_connections = connection_limit()
    head_seconds = 10.0  # from connecting, or from a request's first byte, to the end of its head
    head_bytes = 65_536  # maximum size of a head, of trailers, or of other data that does not add to a body
    head_fields = 200  # maximum number of header fields
    rest_seconds = 10.0  # for a client to send the rest of a request that was answered before all of it arrived
    reply_seconds = 60.0  # for a client to read a reply
    max_pipelined = 16  # maximum number of requests that wait for the replies to earlier requests of the same connection
    pipelined_bytes = 65_536  # maximum memory of those waiting requests together

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self.upgrade_framing = b""
        self.idle_since: float | None = None  # the loop's time when the last request ended; None during a request
        self._request_timer: asyncio.TimerHandle | None = None
        self._reply_timer: asyncio.TimerHandle | None = None
        self._is_reading_request = False  # between a request's first and last byte
        self._is_head_complete = False
        self._head_size = 0  # bytes of the head of the current request, so far
        self._has_progressed = False  # whether the newest data completed a head, added to a body or ended a request
        self._bytes_without_progress = 0  # received since the last progress
        self._body_parts: list[bytes] = []  # parts of the current body that were in the newest data
        self._unanswered: dict[RequestResponseCycle, int] = {}  # request without a complete reply → memory of its head
        self._error_status = 400  # the status of the reply if the parser fails
        self._error_reply = b""  # set when the parser has failed; sent after the replies to earlier requests

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that pause_writing is called whenever the client has to read
        self._begin_idling(self.head_seconds)
        if len(self.connections) > self.max_connections:
            self._close_longest_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.idle_since = None
        self._set_request_timer(None)
        self._set_reply_timer(None)
        self._unset_keepalive_if_required()  # otherwise uvicorn's timer keeps this object in memory
        super().connection_lost(exc)
        for cycle in self._unanswered:  # uvicorn notifies only the newest request
            _disconnect(cycle)
        self._unanswered.clear()
        self.pipeline.clear()
        self._forget_request()

    def data_received(self, data: bytes) -> None:
        if self._error_reply:  # data after a malformed request is ignored
            return
        if self.idle_since is not None:
            self.idle_since = None
            self._set_request_timer(self.head_seconds)
        self._has_progressed = False
        super().data_received(data)
        if self._error_reply:
            return
        self._pass_on_body()
        self._bytes_without_progress = 0 if self._has_progressed else self._bytes_without_progress + len(data)
        if self._bytes_without_progress > self.head_bytes or self._pipelined_size() > self.pipelined_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        if self.upgrade_framing:
            return
        self._is_reading_request = True
        self._is_head_complete = False
        self._head_size = 0
        self._set_request_timer(self.head_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_head_complete:  # the second head of an upgrade is ignored
            self._add_to_head(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head_complete:  # trailers, and the second head of an upgrade, are ignored
            self._add_to_head(len(name) + len(value))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.upgrade_framing:  # this is the second head of an upgrade
            self.upgrade_framing = b""
            return
        self._has_progressed = True
        self._set_request_timer(None)  # read_body limits the time of the body
        if len(self.pipeline) >= self.max_pipelined:
            self.transport.abort()
            raise ValueError("too many pipelined requests")  # the parser ends when its callback fails
        if self.parser.should_upgrade():
            self.upgrade_framing = framing_headers(self.headers)
        super().on_headers_complete()  # This fails if the URL is malformed. Then `cycle` is still the previous request.
        self._is_head_complete = True
        self._unanswered[self.cycle] = self._head_size + FIELD_BYTES * len(self.headers)
        self.flow.resume_reading()  # uvicorn pauses after a pipelined request, and would not notice that the client disconnects

    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        if self.upgrade_framing:  # only the head of an upgrade is complete; its body follows
            return
        self._pass_on_body()
        self._is_reading_request = False
        self._has_progressed = True
        super().on_message_complete()
        self._set_request_timer(None)
        if self.cycle.response_complete:
            self._forget_request()
            self._begin_idling(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        self._unanswered = {cycle: size for cycle, size in self._unanswered.items() if not cycle.response_complete}
        super().on_response_complete()
        if not self.flow.write_paused:
            self._set_reply_timer(None)
        if self.transport.is_closing() or self._unanswered:
            return
        if self._error_reply:
            self._send_error_reply()
        elif not self._is_reading_request:
            self._forget_request()
            self._begin_idling(self.timeout_keep_alive)
        elif self._is_head_complete:
            self._set_request_timer(self.rest_seconds)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed, after the replies to earlier requests, and close the connection."""
        if self.transport.is_closing():
            return
        self._set_request_timer(None)
        body = HTTPStatus(self._error_status).phrase.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self._error_reply = STATUS_LINE[self._error_status] + head + body
        if self._is_reading_request and self._is_head_complete:  # the body of the newest request is malformed
            if self.cycle.response_started:
                self.transport.close()
                return
            self._withdraw_request()
        self.flow.resume_reading()
        if not self._unanswered:
            self._send_error_reply()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reply_timer is None:  # the timer is not restarted after a part of the reply: it limits the whole reply
            self._set_reply_timer(self.reply_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle is None or self.cycle.response_complete:
            self._set_reply_timer(None)

    def _add_to_head(self, size: int) -> None:
        """Count `size` more bytes of the head. Raises ValueError, which ends the parser, if the head becomes too large."""
        self._head_size += size
        if self._head_size > self.head_bytes or len(self.headers) == self.head_fields:
            self._error_status = 431
            raise ValueError("the head is too large")

    def _pipelined_size(self) -> int:
        """Return about how much memory is taken by requests that wait for the replies to earlier requests."""
        return sum(self._unanswered[cycle] + len(cycle.body) for cycle, _ in self.pipeline)

    def _pass_on_body(self) -> None:
        """Pass the body parts of the newest data to uvicorn in one call. uvicorn copies the body so far in every call."""
        if self._body_parts:
            super().on_body(b"".join(self._body_parts))
            self._body_parts = []

    def _forget_request(self) -> None:
        """Release a request that was read and answered. uvicorn would keep its head, which may be large, until the next."""
        self.url = b""
        self.headers = []
        self.scope = self.cycle = None  # type: ignore[assignment]

    def _withdraw_request(self) -> None:
        """Stop the newest request without a reply, so that the error becomes the reply."""
        del self._unanswered[self.cycle]
        self.pipeline = deque(entry for entry in self.pipeline if entry[0] is not self.cycle)
        _disconnect(self.cycle)

    def _send_error_reply(self) -> None:
        self.transport.write(self._error_reply)
        self.transport.close()

    def _begin_idling(self, seconds: float) -> None:
        self.idle_since = self.loop.time()
        self._set_request_timer(seconds)

    def _close_longest_idle(self) -> None:
        """Close the connection that has been idle longest, or this one if no other connection is idle."""
        _connections_full.warn(connections=self.max_connections)
        others = [other for other in self.connections if isinstance(other, Protocol) and other is not self]
        idle = [other for other in others if other.idle_since is not None]
        longest_idle = min(idle, key=lambda other: other.idle_since or 0.0, default=self)
        longest_idle.idle_since = None  # so that it is not closed twice
        longest_idle.transport.abort()

    def _set_request_timer(self, seconds: float | None) -> None:
        """Close the connection after `seconds`, or stop the timer if None. This replaces the time that was set before."""
        if self._request_timer:
            self._request_timer.cancel()
        self._request_timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _set_reply_timer(self, seconds: float | None) -> None:
        """Do with the reply timer what `_set_request_timer` does with the request timer."""
        if self._reply_timer:
            self._reply_timer.cancel()
        self._reply_timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Notify the application, if it still handles the request, that the client has disconnected."""
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
