"""A server as a process, or several: who listens, what signals do, how it ends. Blocks until then."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from podium.errors import InvalidInput
from podium.server.app import create_app
from podium.server.http.memory import share_heap
from podium.server.http.protocol import Protocol
from podium.server.settings import Settings
from podium.server.telemetry import logs

__all__ = ["serve"]

BACKLOG = 2048
ACCEPTED_AT_ONCE = 16  # connections, before any of them is closed because there are too many
WRITE_SECONDS, STOP_SECONDS = 20, 25  # to send replies when all is computed; to end after that, whatever hangs
KEEP_ALIVE = 75  # seconds; longer than the 60 of most load balancers, so that it is they who close


def serve(settings: Settings) -> int:
    """Serve until told to stop; return the exit code. Raises InvalidInput where it cannot listen."""
    logs.set_up(settings.log_format)
    listening = listening_socket(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logs.log("listening", url=f"http://{host}:{settings.port}/", loading=",".join(settings.models))
    return _one(settings, listening) if settings.workers == 1 else _several(settings, listening)


class _Server(uvicorn.Server):
    """uvicorn's, but told to stop it first answers whom it has accepted, and says 503 to others until then."""

    def __init__(self, settings: Settings) -> None:
        self.failure = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settings = settings
        self._app = create_app(settings, failed=self._failed)
        config = uvicorn.Config(
            self._app, http=Protocol, ws="none", access_log=False, log_config=None, server_header=False,
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=WRITE_SECONDS, backlog=ACCEPTED_AT_ONCE,
        )  # fmt: skip
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_loop_failure)
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)  # asyncio has set it to the number that it accepts at once

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or self._app.state.podium.admission.draining:
            if self._settings.workers > 1:
                return  # told by whoever ends a whole group of processes, then by its parent: that is once
            self.force_exit = True  # told twice: now
            self._stop(1)
        else:
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    async def _drain(self) -> None:
        admission = self._app.state.podium.admission
        logs.log("draining", requests=admission.requests, process=os.getpid())
        try:
            await asyncio.wait_for(admission.drain(), self._settings.drain_timeout)
        except asyncio.TimeoutError:
            logs.log("drain_timeout", level=logging.WARNING, requests=admission.requests)
            self.config.timeout_graceful_shutdown = 1
        self._stop(0)

    def _failed(self, error: BaseException) -> None:
        logs.log("failed", level=logging.ERROR, error=" ".join(str(error).split()))
        self._stop(1)

    def _stop(self, code: int) -> None:
        """End; where a thread that nothing can interrupt would hold that up, such as a download's, without it."""
        self.failure, self.should_exit = code, True
        seconds = STOP_SECONDS if self._app.state.podium.models.loaded else 5  # then there is no reply to wait for
        hard = threading.Timer(seconds, os._exit, (code,))
        hard.daemon = True
        hard.start()


_loop_failures = logs.RateLimitedLog("event_loop")


def _log_loop_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio reports, such as an accept without a free file descriptor, which it can do thousands of times."""
    error = context.get("exception")
    _loop_failures.warn(message=context.get("message"), error=f"{type(error).__name__}: {error}" if error else None)


def _one(settings: Settings, listening: socket.socket) -> int:
    share_heap()
    server = _Server(settings)
    server.run(sockets=[listening])
    logs.log("stopped", process=os.getpid())
    return server.failure


def _several(settings: Settings, listening: socket.socket) -> int:
    """Run workers that share the socket, and start another where one dies."""
    with tempfile.TemporaryDirectory(prefix="podium-metrics-") as meeting:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = meeting
        stop, workers = threading.Event(), list[BaseProcess]()

        def told(*_: object) -> None:
            for worker in workers if stop.is_set() else ():
                worker.kill()  # told twice: now
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, told)
        begin = _beginner(settings, listening)
        workers += [begin() for _ in range(settings.workers)]
        code = _watch(workers, begin, stop)
        _end(workers, settings.drain_timeout + 10)
    return code


def _beginner(settings: Settings, listening: socket.socket) -> Callable[[], BaseProcess]:
    context = multiprocessing.get_context("spawn")

    def begin() -> BaseProcess:
        worker = context.Process(target=_work, args=(settings, listening), daemon=False)
        worker.start()
        return worker

    return begin


def _watch(workers: list[BaseProcess], begin: Callable[[], BaseProcess], stop: threading.Event) -> int:
    """Return when told to stop (0), or when a worker says that it can't begin (its code)."""
    while not stop.is_set():
        connection.wait([worker.sentinel for worker in workers], timeout=0.2)
        for at, worker in enumerate(workers):
            if worker.exitcode is None or stop.is_set():
                continue
            if worker.exitcode > 0:
                return worker.exitcode
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
            logs.log("worker_died", level=logging.ERROR, process=worker.pid, code=worker.exitcode)
            time.sleep(0.5)  # not a busy loop, should it die at once each time
            workers[at] = begin()
    return 0


def _end(workers: list[BaseProcess], seconds: float) -> None:
    for worker in workers:
        worker.terminate()
    ends = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, ends - time.monotonic()))
        if worker.exitcode is None:
            worker.kill()


def _work(settings: Settings, listening: socket.socket) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the parent, which tells us once
    logs.set_up(settings.log_format)
    threading.Thread(target=_follow_parent, daemon=True).start()
    raise SystemExit(_one(settings, listening))


def _follow_parent() -> None:
    """Stop when the parent is gone, also where it was killed and could tell nobody."""
    parent: Any = multiprocessing.parent_process()
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def listening_socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
        # A reply is a head and a body; else the body would wait until the client acknowledges the head, 40 ms. asyncio does
        # this by itself only for sockets that were made as TCP by name.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        why = str(error.strerror or error).partition(" (")[0]
        raise InvalidInput(
            f"cannot listen on {settings.host}:{settings.port} ({why}); choose another --port or --host"
        ) from error
