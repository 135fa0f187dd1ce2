"""podium's own server for tests: in a thread around given rerankers, or as the process that users start."""

from __future__ import annotations

import asyncio
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


class Serving:
    """The application over a real socket, in a thread. `state` is its own, to look at."""

    def __init__(self, settings: Settings | None = None, *, protocol: type[Protocol] = Protocol, **given: Any) -> None:
        self.app = create_app(settings or Settings(), **given)
        self.state = self.app.state.podium
        config = uvicorn.Config(
            self.app, port=0, http=protocol, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        wait_until(lambda: self._server.started and self.state.models.loaded)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(10)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, json=body, headers=named)


class Process:
    """`podium serve` on a port of its own. `log` is what it has said so far."""

    def __init__(
        self, *options: str, cwd: Path | None = None, start_new_session: bool = False, open_files: int | None = None
    ) -> None:
        command = [sys.executable, "-m", "podium", "serve", "--port", "0", *options]
        if open_files is not None:
            command = ["bash", "-c", f'ulimit -n {open_files}; exec "$@"', "bash", *command]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=cwd, start_new_session=start_new_session
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        wait_until(lambda: "listening" in self.log or self.process.poll() is not None)
        found = re.search(r'url["=: ]+(http://[^/\s"]+)', self.log)
        assert found, self.log
        self.url = found[1]
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=60)
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
        """Return how much memory the process has now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.append(line)


def refused(*options: str) -> tuple[int, str]:
    """Return the exit code and the words of a `podium serve` that should not start."""
    command: Sequence[str] = [sys.executable, "-m", "podium", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


ASKED = {"query": "red fruit", "documents": ["the sea", "a red fruit"]}


class Waiting(WordOverlap):
    """An asynchronous scorer that waits until it may go on, and counts who was cancelled meanwhile."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.begun, self.cancelled = 0, 0

    async def ascore(self, query, texts):
        self.begun += 1
        try:
            while not self.may_go_on.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.score(query, texts)


class Hanging(WordOverlap):
    """A scorer that blocks its thread."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def score(self, query, texts):
        self.may_go_on.wait(30)
        return super().score(query, texts)


def words(**others):
    return {"words": podium.Reranker(WordOverlap()), **{name: podium.Reranker(scorer) for name, scorer in others.items()}}


def post_without_waiting(server, request, path="/v2/rerank"):
    """Send a request and return its connection."""
    body = json.dumps(request).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def post_briefly(server, path, request):
    """Post a request that has little time, on a connection of its own."""
    return httpx.post(f"{server.url}{path}", json=request, headers={"x-request-timeout": "0.5"}, timeout=60)


def hung_up(connection):
    """Whether the server closes a connection; it waits for that."""
    connection.settimeout(60)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True
