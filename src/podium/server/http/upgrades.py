"""A parser of HTTP requests that ignores `Upgrade`, as RFC 9110 (7.8) allows: the request is answered in HTTP/1.1.

Java's HttpClient requests HTTP/2 in this way on every new connection. llhttp, the parser of httptools, ends such a request
after its head, and would parse its body as the next request. So a new parser reads the body. Before the body, it gets a second
head, which has only the framing of the first: `Content-Length` or `Transfer-Encoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import httptools

__all__ = ["RequestParser", "framing_headers"]

FRAMING = (b"content-length", b"transfer-encoding")


class UpgradeProtocol(Protocol):
    """A connection whose requests may ask for an upgrade."""

    parser: httptools.HttpRequestParser
    upgrade_framing: bytes
    """The framing of an upgrade with a body, from the end of its head until the second head was parsed; else b""."""


class RequestParser(httptools.HttpRequestParser):
    """The parser of a connection. After an upgrade with a body, it replaces itself in `protocol.parser` by a new one."""

    def __init__(self, protocol: UpgradeProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn: data after "Connection: close" is ignored

    def feed_data(self, data: Any) -> None:
        while True:
            try:
                super().feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]  # the data after the head
            if framing := self._protocol.upgrade_framing:
                parser = self._protocol.parser = RequestParser(self._protocol)
                parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
                parser.feed_data(data)
                return


def framing_headers(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the header lines that define where the body ends, b"" for a request without a body."""
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers if name in FRAMING)
