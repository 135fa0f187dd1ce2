"""Redis on loopback: replays what a real server answered, records it, or answers what a test says. Speaks RESP over sockets.

A recording is a JSON file of [command's words, reply's bytes] pairs, both as latin-1, one per test and protocol. It is made
by running the tests against a real server: PODIUM_TEST_REDIS_URL=redis://… PODIUM_RECORD=1 pytest tests/sources/test_redis.py
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Words = tuple[str, ...]
Answer = Callable[[Words], bytes | None]
HANDSHAKE = ("HELLO", "CLIENT", "AUTH", "SELECT", "PING", "COMMAND")
HELLO = {"server": "redis", "version": "7.4.1", "proto": 3, "id": 1, "mode": "standalone", "role": "master", "modules": []}


def read_command(file: Any) -> Words | None:
    """Return the words of the next command, None where the client hung up."""
    line = file.readline()
    if not line:
        return None
    assert line[:1] == b"*", line
    words = []
    for _ in range(int(line[1:])):
        size = int(file.readline()[1:])
        words.append(file.read(size + 2)[:-2].decode("latin-1"))
    return tuple(words)


def read_reply(file: Any) -> bytes:
    """Return the bytes of the next whole reply, of either protocol."""
    line = file.readline()
    if not line:
        raise ConnectionError("the server hung up")
    kind, rest = line[:1], line[1:].strip()
    if kind in b"$=!" and rest != b"-1":
        return line + file.read(int(rest) + 2)
    if kind in b"*~>%" and rest != b"-1":
        parts = int(rest) * (2 if kind == b"%" else 1)
        return line + b"".join(read_reply(file) for _ in range(parts))
    return line


def reply(value: Any, protocol: int = 2) -> bytes:
    """Write a value as a server would: dicts are maps in protocol 3, flat lists before; errors are exceptions."""
    if value is None:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n"
    if isinstance(value, Exception):
        return f"-{value}\r\n".encode()
    if isinstance(value, bool | int):
        return b":%d\r\n" % value
    if isinstance(value, float):
        return b",%r\r\n" % value if protocol == 3 else reply(repr(value))
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return b"$%d\r\n%s\r\n" % (len(data), data)
    if isinstance(value, dict):
        parts = [each for pair in value.items() for each in pair]
        head = b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % len(parts)
        return head + b"".join(reply(each, protocol) for each in parts)
    return b"*%d\r\n" % len(value) + b"".join(reply(each, protocol) for each in value)


def recorded(words: Words) -> Words:
    """Return a command as recordings name it: a word of more than 500 letters by its digest.

    What differs from run to run is left out: the milliseconds that a search has left, and the token of a lease.
    """
    if words[0] == "SET" and words[1].endswith(".podium-lease"):
        words = (*words[:2], "token", *words[3:])
    if "TIMEOUT" in words[:-1]:
        at = len(words) - 1 - words[::-1].index("TIMEOUT") + 1
        words = (*words[:at], "milliseconds", *words[at + 1 :])
    return tuple(word if len(word) <= 500 else "sha256:" + hashlib.sha256(word.encode()).hexdigest() for word in words)


def greeted(words: Words) -> bytes:
    """Answer what every client says first. These differ between versions of redis-py and mean nothing here."""
    if words[0] == "HELLO" and words[1:2] == ("3",):
        return reply(HELLO, 3)
    if words[0] == "COMMAND":
        return reply([])
    return b"+PONG\r\n" if words[0] == "PING" else b"+OK\r\n"


class Fake:
    """A server on loopback: `answer` gives a reply's bytes for a command's words; None hangs up without one."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.commands: list[Words] = []
        self.connections = 0

    def __enter__(self) -> Fake:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                fake.connections += 1
                with contextlib.suppress(OSError):
                    fake._serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, rfile: Any, wfile: Any) -> None:
        while (words := read_command(rfile)) is not None:
            if words[0].upper() in HANDSHAKE:
                wfile.write(greeted(words))
                continue
            self.commands.append(words)
            given = self.answer(words)
            if given is None:
                return
            wfile.write(given)


class Replay(Fake):
    """A server that answers as the recorded one did; the last answer to a command is repeated."""

    def __init__(self, recording: Path) -> None:
        self._answers: dict[Words, list[bytes]] = {}
        for words, given in json.loads(recording.read_text(encoding="utf-8")):
            self._answers.setdefault(recorded(tuple(words)), []).append(given.encode("latin-1"))
        super().__init__(self._next)

    def _next(self, words: Words) -> bytes:
        given = self._answers.get(recorded(words))
        if given is None:
            return reply(Exception(f"ERR not in this recording: {' '.join(words)[:200]!r}"))
        return given.pop(0) if len(given) > 1 else given[0]


class Recorder(Fake):
    """A proxy in front of a real server that writes down what both say."""

    def __init__(self, host: str, port: int, recording: Path) -> None:
        super().__init__(lambda words: None)
        self._to, self._recording = (host, port), recording
        self._heard: list[tuple[Sequence[str], str]] = []
        self._lock = threading.Lock()

    def _serve(self, rfile: Any, wfile: Any) -> None:
        with socket.create_connection(self._to) as connection, connection.makefile("rb") as replies:
            while (words := read_command(rfile)) is not None:
                parts = [word.encode("latin-1") for word in words]
                connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                given = read_reply(replies)
                if words[0].upper() not in HANDSHAKE:
                    with self._lock:
                        self._heard.append((recorded(words), given.decode("latin-1")))
                wfile.write(given)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        time.sleep(0.05)
        self._recording.parent.mkdir(exist_ok=True)
        lines = ",\n".join(json.dumps([list(words), given]) for words, given in self._heard)
        self._recording.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


class Gate:
    """An answer that does not come until the gate is opened."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, words: Words) -> None:
        self._opened.wait(30)

    def open(self) -> None:
        self._opened.set()
