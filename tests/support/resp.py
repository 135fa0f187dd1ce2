"""Servers on loopback that speak Redis's protocol: one replays a recording, one records, and one sends the replies of a test.

A recording is a JSON file of [words of a command, bytes of its reply] pairs, both as latin-1. The tests write the recordings if
they run against a real server: PODIUM_TEST_REDIS_URL=redis://… PODIUM_RECORD=1 pytest tests/sources/redis
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import socketserver
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Words = tuple[str, ...]
Answer = Callable[[Words], bytes | None]
HANDSHAKE = ("HELLO", "CLIENT", "AUTH", "SELECT", "PING", "COMMAND")
HELLO = {"server": "redis", "version": "7.4.1", "proto": 3, "id": 1, "mode": "standalone", "role": "master", "modules": []}
TOKEN = "0" * 32  # replaces the random token of a lease in recordings


def read_command(file: Any) -> Words | None:
    """Return the words of the next command, None if the client closed the connection."""
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
    """Return the bytes of the next complete reply, in either protocol."""
    line = file.readline()
    if not line:
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:].strip()
    if kind in b"$=!" and rest != b"-1":
        return line + file.read(int(rest) + 2)
    if kind in b"*~>%" and rest != b"-1":
        parts = int(rest) * (2 if kind == b"%" else 1)
        return line + b"".join(read_reply(file) for _ in range(parts))
    return line


def encode_reply(value: Any, protocol: int = 2) -> bytes:
    """Return a value as the bytes of a reply: a dict as a map (in protocol 2 as a flat list), an exception as an error."""
    if value is None:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n"
    if isinstance(value, Exception):
        return f"-{value}\r\n".encode()
    if isinstance(value, bool | int):
        return b":%d\r\n" % value
    if isinstance(value, float):
        return b",%r\r\n" % value if protocol == 3 else encode_reply(repr(value))
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return b"$%d\r\n%s\r\n" % (len(data), data)
    if isinstance(value, dict):
        parts = [part for pair in value.items() for part in pair]
        head = b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % len(parts)
        return head + b"".join(encode_reply(part, protocol) for part in parts)
    return b"*%d\r\n" % len(value) + b"".join(encode_reply(part, protocol) for part in value)


def is_lease_request(words: Words) -> bool:
    return words[0] == "SET" and words[1].endswith(".podium-lease")


def recorded_command(words: Words) -> Words:
    """Return a command in the form that recordings have: a digest instead of each word of more than 500 letters.

    Two values that differ between runs are replaced: the milliseconds that a search has left, and the token of a lease.
    """
    if is_lease_request(words):
        words = (*words[:2], "token", *words[3:])
    if "TIMEOUT" in words[:-1]:
        value_index = len(words) - words[::-1].index("TIMEOUT")  # after the last word TIMEOUT
        words = (*words[:value_index], "milliseconds", *words[value_index + 1 :])
    return tuple(word if len(word) <= 500 else "sha256:" + hashlib.sha256(word.encode()).hexdigest() for word in words)


def handshake_reply(words: Words) -> bytes:
    """Return the reply to a command of HANDSHAKE. These commands are not recorded: they differ between versions of redis-py."""
    if words[0] == "HELLO" and words[1:2] == ("3",):
        return encode_reply(HELLO, 3)
    if words[0] == "COMMAND":
        return encode_reply([])
    return b"+PONG\r\n" if words[0] == "PING" else b"+OK\r\n"


class FakeRedis:
    """A server on loopback. `answer` returns the bytes of the reply to a command, or None to close the connection instead.

    `commands` are the commands so far, without those of HANDSHAKE.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.commands: list[Words] = []
        self.connection_count = 0

    def __enter__(self) -> FakeRedis:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                fake.connection_count += 1
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

    def command_names(self) -> list[str]:
        """Return the first word of each command so far."""
        return [words[0] for words in self.commands]

    def _serve(self, rfile: Any, wfile: Any) -> None:
        while (words := read_command(rfile)) is not None:
            if words[0].upper() in HANDSHAKE:
                wfile.write(handshake_reply(words))
                continue
            self.commands.append(words)
            content = self.answer(words)
            if content is None:
                return
            wfile.write(content)


class SlowReplies(FakeRedis):
    """A server that sends `reply` byte by byte within 10 seconds, so that each read of a client takes only a short time."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(lambda words: reply)
        self.is_cut_off = threading.Event()  # set if the client closes the connection before it has the reply

    def _serve(self, rfile: Any, wfile: Any) -> None:
        while (words := read_command(rfile)) is not None:
            if words[0].upper() in HANDSHAKE:
                wfile.write(handshake_reply(words))
                continue
            content = self.answer(words) or b""
            try:
                for byte in content:
                    wfile.write(bytes([byte]))
                    time.sleep(10 / len(content))
            except OSError:
                self.is_cut_off.set()
                raise


class Replay(FakeRedis):
    """A server that sends the replies of a recording. The last recorded reply to a command is repeated."""

    def __init__(self, recording: Path) -> None:
        self._replies: dict[Words, list[bytes]] = {}
        self._token = TOKEN
        for words, content in json.loads(recording.read_text(encoding="utf-8")):
            self._replies.setdefault(recorded_command(tuple(words)), []).append(content.encode("latin-1"))
        super().__init__(self._next_reply)

    def _next_reply(self, words: Words) -> bytes:
        if is_lease_request(words):
            self._token = words[2]
        replies = self._replies.get(recorded_command(words))
        if replies is None:
            return encode_reply(Exception(f"ERR not in this recording: {' '.join(words)[:200]!r}"))
        content = replies.pop(0) if len(replies) > 1 else replies[0]
        return content.replace(TOKEN.encode(), self._token.encode())


class Recorder(FakeRedis):
    """A proxy in front of a real server that records commands and replies."""

    def __init__(self, host: str, port: int, recording: Path) -> None:
        super().__init__(lambda words: None)
        self._address, self._recording = (host, port), recording
        self._exchanges: list[tuple[Sequence[str], str]] = []
        self._tokens: set[str] = set()
        self._lock = threading.Lock()

    def _serve(self, rfile: Any, wfile: Any) -> None:
        with socket.create_connection(self._address) as connection, connection.makefile("rb") as replies:
            while (words := read_command(rfile)) is not None:
                parts = [word.encode("latin-1") for word in words]
                connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                content = read_reply(replies)
                if words[0].upper() not in HANDSHAKE:
                    self._record(words, content.decode("latin-1"))
                wfile.write(content)

    def _record(self, words: Words, content: str) -> None:
        with self._lock:
            if is_lease_request(words):
                self._tokens.add(words[2])
            for token in self._tokens:
                content = content.replace(token, TOKEN)
            self._exchanges.append((recorded_command(words), content))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._recording.parent.mkdir(exist_ok=True)
        with self._lock:
            lines = ",\n".join(json.dumps([list(words), content]) for words, content in self._exchanges)
        self._recording.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


class Gate:
    """An `answer` for FakeRedis that waits until the gate is opened, and then closes the connection."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, words: Words) -> None:
        self._opened.wait(30)

    def open(self) -> None:
        self._opened.set()


class Keyspace:
    """An `answer` for FakeRedis: commands on strings and hashes, and transactions, in protocol 3.

    FakeRedis has one thread per connection, so the watched keys and queued commands of a connection are stored by thread.
    """

    def __init__(self) -> None:
        self.now = 0  # milliseconds; time passes only if a test changes this
        self.values: dict[str, Any] = {}
        self.expirations: dict[str, int] = {}
        self._versions: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._watched: dict[int, dict[str, int]] = defaultdict(dict)
        self._queued: dict[int, list[Words]] = {}

    def __call__(self, words: Words) -> bytes:
        with self._lock:
            queue = self._queued.get(threading.get_ident())
            if queue is not None and words[0] != "EXEC":
                queue.append(words)
                return b"+QUEUED\r\n"
            return encode_reply(self._value(words), 3)

    def _value(self, words: Words) -> Any:
        for key in [key for key, expiration in self.expirations.items() if expiration <= self.now]:
            self.delete(key)
        name = {"DEL": "delete", "EXEC": "execute"}.get(words[0], words[0].lower())
        return getattr(self, name)(*words[1:])

    def set(self, key: str, value: str, *options: str) -> str | None:
        if "NX" in options and key in self.values:
            return None
        self._versions[key] += 1
        self.values[key] = value
        if "PX" in options:
            self.expirations[key] = self.now + int(options[-1])
        return "OK"

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def pttl(self, key: str) -> int:
        return self.expirations[key] - self.now if key in self.values else -2

    def pexpire(self, key: str, milliseconds: str) -> int:
        if key not in self.values:
            return 0
        self._versions[key] += 1
        self.expirations[key] = self.now + int(milliseconds)
        return 1

    def delete(self, key: str) -> int:
        self._versions[key] += 1
        self.expirations.pop(key, None)
        return int(self.values.pop(key, None) is not None)

    def hset(self, key: str, *parts: str) -> int:
        self._versions[key] += 1
        self.values[key] = dict(zip(parts[::2], parts[1::2], strict=True))
        return len(parts) // 2

    def info(self, section: str) -> str:
        return "maxmemory_policy:noeviction"

    def watch(self, key: str) -> str:
        self._watched[threading.get_ident()][key] = self._versions[key]
        return "OK"

    def unwatch(self) -> str:
        self._watched.pop(threading.get_ident(), None)
        return "OK"

    def multi(self) -> str:
        self._queued[threading.get_ident()] = []
        return "OK"

    def execute(self) -> list[Any] | None:
        queued = self._queued.pop(threading.get_ident())
        watched = self._watched.pop(threading.get_ident(), {})
        if any(self._versions[key] != version for key, version in watched.items()):
            return None
        return [self._value(words) for words in queued]
