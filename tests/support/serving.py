"""podium's own server for tests: in a thread, with a test's rerankers, or as a process, as users start it."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import uvicorn

import podium
from fakes import WordOverlap
from loopback import wait_until
from podium.server.app import create_app
from podium.server.http.protocol import Protocol
from podium.server.settings import Settings
from podium.types import Scores


class QuickServer(uvicorn.Server):
    """uvicorn's server, which checks every 0.01 seconds instead of 0.1 whether it should stop. Many tests start one."""

    async def main_loop(self) -> None:
        ticks = itertools.count()
        while not await self.on_tick(next(ticks)):
            await asyncio.sleep(0.01)


class ServerThread:
    """The server in a thread of this process, on a free port. `state` is the application's State.

    `options` are arguments of create_app.
    """

    def __init__(self, settings: Settings | None = None, *, protocol: type[Protocol] = Protocol, **options: Any) -> None:
        self.app = create_app(settings or Settings(), **options)
        self.state = self.app.state.podium
        config = uvicorn.Config(
            self.app, port=0, http=protocol, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = QuickServer(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)

    def __enter__(self) -> ServerThread:
        self._thread.start()
        wait_until(lambda: self._server.started and self.state.models.is_loaded)
        self.loop = self._server.servers[0].get_loop()
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=120, verify=False)  # loading certificates takes time
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(10)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Post a JSON body. Headers are named with underscores, such as `x_request_id`."""
        http_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, json=body, headers=http_headers)


class ServerProcess:
    """The process `podium serve` on a free port. `log` is its log so far. `open_files` is its limit of open files."""

    def __init__(
        self, *options: str, cwd: Path | None = None, start_new_session: bool = False, open_files: int | None = None
    ) -> None:
        command = serve_command("--port", "0", *options, open_files=open_files)
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=cwd, start_new_session=start_new_session
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> ServerProcess:
        wait_until(lambda: "listening" in self.log or self.process.poll() is not None)
        match = re.search(r'url["=: ]+(http://[^/\s"]+)', self.log)
        assert match, self.log
        self.url = match[1]
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=120, verify=False)
        wait_until(lambda: self.client.get("/ready").status_code == 200)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(10)
            if self.process.stderr and not self._reader.is_alive():
                self.process.stderr.close()

    def resident_bytes(self) -> int:
        """Return the bytes of memory that the process uses at this time."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.append(line)


def serve_command(*options: str, open_files: int | None = None) -> list[str]:
    """Return the command `podium serve`. `open_files` is its limit of open files."""
    command = [sys.executable, "-m", "podium", "serve", *options]
    return command if open_files is None else ["bash", "-c", f'ulimit -n {open_files}; exec "$@"', "bash", *command]


def failed_start(*options: str, open_files: int | None = None) -> tuple[int, str]:
    """Run a `podium serve` that cannot start. Return its exit code and its output on stderr."""
    command = serve_command(*options, open_files=open_files)
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return process.returncode, process.stderr


REQUEST = {"query": "red fruit", "documents": ["the sea", "a red fruit"]}


class WaitingScorer(WordOverlap):
    """An asynchronous scorer whose calls wait for `release`. `started_count` and `cancelled_count` are numbers of calls."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.started_count = 0
        self.cancelled_count = 0

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        self.started_count += 1
        try:
            while not self.release.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        return self.score(query, texts)


class BlockingScorer(WordOverlap):
    """A scorer whose calls block their threads until `release` is set. `started_count` is the number of calls."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.started_count = 0

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.started_count += 1
        self.release.wait(30)
        return super().score(query, texts)


def rerankers(**scorers: Any) -> dict[str, podium.Reranker]:
    """Return a reranker for each scorer, by name. Before them there is "words", which has a WordOverlap."""
    return {"words": podium.Reranker(WordOverlap()), **{name: podium.Reranker(scorer) for name, scorer in scorers.items()}}


def http_request(content: Any, path: str = "/v2/rerank", *, headers: bytes = b"") -> bytes:
    """Return a POST request as bytes. `content` is a JSON value, or the bytes of the body. `headers` are complete lines."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%b" % (path.encode(), headers)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def connect(server: ServerThread | ServerProcess, *, receive_buffer: int | None = None) -> socket.socket:
    """Return a new connection to the server. With a small `receive_buffer`, the server has to keep unread replies."""
    connection = socket.socket()
    connection.settimeout(60)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", server.port))
    return connection


def received_until_closed(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    received = bytearray()
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionError:
        pass
    return bytes(received)


def post_with_short_timeout(server: ServerThread, path: str, request: Any) -> httpx.Response:
    """Post a request on a new connection. The server answers 504 if it is not done after half a second."""
    return httpx.post(f"{server.url}{path}", json=request, headers={"x-request-timeout": "0.5"}, timeout=60, verify=False)
