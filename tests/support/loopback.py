"""HTTP servers on loopback: of a rerank API or a model hub, in their real formats, and with the faults that a test sets."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    method: str
    path: str
    headers: Message  # names can be in any case; headers["name"] is None if the header was not sent
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Answer:
    """A response of Loopback, and its faults.

    - `drop`: close the connection instead of sending a response.
    - `seconds`: the time before the response.
    - `drip`: the seconds before each byte of the body. `drip_headers`: the seconds before each byte of the head.
    - `length`: the Content-Length, which may be wrong. By default it is right.
    """

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    seconds: float = 0
    drip: float = 0
    drip_headers: float = 0
    length: int | None = None


def as_json(payload: Any, status: int = 200, **headers: str) -> Answer:
    """Return a response with a JSON body. Headers are named with underscores, such as `retry_after`."""
    header_names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(payload).encode(), {"Content-Type": "application/json", **header_names})


class Loopback:
    """A server that sends the response that `answer` returns for a request. `requests` are all requests so far."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections: set[Any] = set()
        self.finished_count = 0  # responses that were sent completely
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> Loopback:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                loopback._handle(self, Request(self.command, self.path, self.headers, self.rfile.read(length)))

            do_GET = do_HEAD = do_PUT = do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256  # many clients may connect at once

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            self.connections.add(handler.client_address)
        answer = self.answer(request)
        self._stopped.wait(answer.seconds)
        with contextlib.suppress(OSError):  # the client closed the connection
            self._send(handler, answer, with_body=request.method != "HEAD")
            with self._lock:
                self.finished_count += 1

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, *, with_body: bool) -> None:
        if answer.drop:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        length = len(answer.content) if answer.length is None else answer.length
        headers = {**answer.headers, "Content-Length": length}
        lines = [f"HTTP/1.1 {answer.status} x", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        body = answer.content if with_body else b""
        if answer.drip_headers:
            self._drip(handler, head, answer.drip_headers)
            head = b""
        if answer.drip:
            handler.wfile.write(head)
            self._drip(handler, body, answer.drip)
        else:
            handler.wfile.write(head + body)  # in one write, because a second one would wait for a delayed acknowledgement
        handler.close_connection = answer.length is not None

    def _drip(self, handler: BaseHTTPRequestHandler, content: bytes, seconds: float) -> None:
        """Send the content byte by byte, with a wait before each byte."""
        for byte in content:
            if self._stopped.wait(seconds):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()


def word_scores(query: str, texts: list[str]) -> list[float]:
    """Return a score between 0 and 1 for each text: the share of the query's words and pairs of words that are in it.

    Of texts with the same share, the shorter one has the higher score.
    """
    grams = _grams(query)
    return [round(max(0.0, len(grams & _grams(text)) / len(grams) - len(text) / 1e7), 6) for text in texts]


def _grams(text: str) -> set[tuple[str, ...]]:
    words = [word.strip("?.,():") for word in text.lower().split()]
    return {(word,) for word in words} | set(itertools.pairwise(words))


def cohere(request: Request) -> Answer:
    """Answer as Cohere's v2 API does: the best `top_n` documents, best first, without their texts."""
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return as_json({"id": "1", "results": _best_results(request.json, "top_n"), "meta": meta})


def voyage(request: Request) -> Answer:
    """Answer as Voyage's API does: the best `top_k` documents, best first, without their texts."""
    body = request.json
    usage = {"total_tokens": sum(len(text.split()) for text in body["documents"])}
    return as_json({"object": "list", "data": _best_results(body, "top_k"), "model": body["model"], "usage": usage})


def _best_results(body: dict[str, Any], limit_key: str) -> list[dict[str, Any]]:
    scores = word_scores(body["query"], body["documents"])
    indices = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [{"index": index, "relevance_score": scores[index]} for index in indices[: body.get(limit_key)]]


class Hub:
    """An `answer` for Loopback: a model hub, which serves the list of a repository's files, and the files.

    - `folders`: the name of a repository → the folder with its files.
    - `gated`: the names of repositories that cannot be accessed.
    - `failing`: files whose download is interrupted.
    - `etag`, `sha`: replace the ETag of files and the commit in the description of a model.
    - `delay`: the seconds before a description.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self.gated: set[str] = set()
        self.failing: set[str] = set()
        self.etag: str | None = None
        self.sha: str | None = None
        self.delay = 0.0

    def __call__(self, request: Request) -> Answer:
        path = unquote(urlsplit(request.path).path).strip("/")
        if path.startswith("api/models/"):
            return self._info("/".join(path.split("/")[2:4]))
        name, _, rest = path.partition("/resolve/")
        file = rest.partition("/")[2]
        if name in self.gated:
            return Answer(403, headers={"X-Error-Code": "GatedRepo"})
        if name not in self.folders:
            return Answer(401, headers={"X-Error-Code": "RepoNotFound"})
        if file in self.failing:
            return Answer(drop=True)
        if not (self.folders[name] / file).is_file():
            return Answer(404, headers={"X-Error-Code": "EntryNotFound"})
        content = (self.folders[name] / file).read_bytes()
        etag = self.etag or hashlib.sha256(content).hexdigest()
        return Answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit(name), "Accept-Ranges": "bytes"})

    def commit(self, name: str) -> str:
        return hashlib.sha1(name.encode()).hexdigest()

    def _info(self, name: str) -> Answer:
        if name not in self.folders:
            return Answer(401, headers={"X-Error-Code": "RepoNotFound"})
        folder = self.folders[name]
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        siblings = [{"rfilename": str(file.relative_to(folder)), "size": file.stat().st_size} for file in files]
        description = {"id": name, "modelId": name, "sha": self.sha or self.commit(name), "siblings": siblings}
        return replace(as_json(description), seconds=self.delay)


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Wait until the condition is true, at most `seconds`. The default is long, because the machine may be busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {seconds:g} s"
        time.sleep(0.005)
