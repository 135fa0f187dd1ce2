"""The server as one or several processes: the listening socket, workers, signals and shutdown."""

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

__all__ = ["listening_socket", "serve"]

BACKLOG = 2048
ACCEPTED_AT_ONCE = 16  # connections, before any of them is closed because there are too many
WRITE_SECONDS = 20  # at shutdown, for clients to read the last replies
STOP_SECONDS = 25  # at shutdown, until the process exits in any case
LOADING_STOP_SECONDS = 5  # the same while models load, when there are no replies to wait for
KEEP_ALIVE = 75  # seconds; longer than the 60 of most load balancers, so that they close idle connections and not the server


def serve(settings: Settings) -> int:
    """Serve until a signal, and return the exit code. Raises InvalidInput if the address is not available."""
    logs.set_up(settings.log_format)
    listening = listening_socket(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logs.log("listening", url=f"http://{host}:{settings.port}/", loading=",".join(settings.models))
    return run_server(settings, listening) if settings.workers == 1 else run_workers(settings, listening)


class _Server(uvicorn.Server):
    """uvicorn's server with a graceful shutdown: it answers requests that it has accepted, and refuses others with 503."""

    def __init__(self, settings: Settings) -> None:
        self.exit_code = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settings = settings
        self._app = create_app(settings, on_failure=self._on_failure)
        config = uvicorn.Config(
            self._app, http=Protocol, ws="none", access_log=False, log_config=None, server_header=False,
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=WRITE_SECONDS, backlog=ACCEPTED_AT_ONCE,
        )  # fmt: skip
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_loop_error)
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)  # asyncio has set it to the number of connections that it accepts at once

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain and stop after the first signal, stop at once after a second one."""
        if self._loop is not None and not self._app.state.podium.admission.draining:
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        elif self._settings.workers == 1:
            self.force_exit = True
            self._stop(1)
        # A worker can get one signal twice: Ctrl-C reaches the whole process group, and the parent forwards it.

    async def _drain(self) -> None:
        admission = self._app.state.podium.admission
        logs.log("draining", requests=admission.requests, process=os.getpid())
        try:
            await asyncio.wait_for(admission.drain(), self._settings.drain_timeout)
        except asyncio.TimeoutError:
            logs.log("drain_timeout", level=logging.WARNING, requests=admission.requests)
            self.config.timeout_graceful_shutdown = 1
        self._stop(0)

    def _on_failure(self, error: BaseException) -> None:
        logs.log("failed", level=logging.ERROR, error=" ".join(str(error).split()))
        self._stop(1)

    def _stop(self, exit_code: int) -> None:
        """Begin to shut down. A thread that cannot be interrupted, such as a download's, does not prevent it."""
        self.exit_code = exit_code
        self.should_exit = True
        seconds = STOP_SECONDS if self._app.state.podium.models.loaded else LOADING_STOP_SECONDS
        timer = threading.Timer(seconds, os._exit, (exit_code,))
        timer.daemon = True
        timer.start()


_loop_errors = logs.RateLimitedLog("event_loop")


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio reports. It can report thousands of times that there is no free file for a new connection."""
    error = context.get("exception")
    _loop_errors.warn(message=context.get("message"), error=f"{type(error).__name__}: {error}" if error else None)


def run_server(settings: Settings, listening: socket.socket) -> int:
    """Serve in this process, and return the exit code."""
    share_heap()
    server = _Server(settings)
    server.run(sockets=[listening])
    logs.log("stopped", process=os.getpid())
    return server.exit_code


def run_workers(settings: Settings, listening: socket.socket) -> int:
    """Serve in several processes that share the socket, and return the exit code. A worker that dies is replaced."""
    context = multiprocessing.get_context("spawn")
    stop = threading.Event()
    workers: list[BaseProcess] = []

    def start_worker() -> BaseProcess:
        worker = context.Process(target=_run_worker, args=(settings, listening), daemon=False)
        worker.start()
        return worker

    def handle_signal(*_: object) -> None:
        """Stop after the first signal, kill the workers after a second one."""
        if stop.is_set():
            for worker in workers:
                worker.kill()
        stop.set()

    with tempfile.TemporaryDirectory(prefix="podium-metrics-") as metrics_folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle_signal)
        workers += [start_worker() for _ in range(settings.workers)]
        exit_code = _replace_dead_workers(workers, start_worker, stop)
        _terminate(workers, settings.drain_timeout + 10)
    return exit_code


def _replace_dead_workers(workers: list[BaseProcess], start_worker: Callable[[], BaseProcess], stop: threading.Event) -> int:
    """Return 0 when `stop` is set, or the exit code of a worker that could not start."""
    while not stop.is_set():
        connection.wait([worker.sentinel for worker in workers], timeout=0.2)
        for index, worker in enumerate(workers):
            if worker.exitcode is None or stop.is_set():
                continue
            if worker.exitcode > 0:
                return worker.exitcode
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
            logs.log("worker_died", level=logging.ERROR, process=worker.pid, code=worker.exitcode)
            time.sleep(0.5)  # not a busy loop if workers die at once
            workers[index] = start_worker()
    return 0


def _terminate(workers: list[BaseProcess], seconds: float) -> None:
    """Stop the workers, and kill those that still run after so many seconds."""
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.exitcode is None:
            worker.kill()


def _run_worker(settings: Settings, listening: socket.socket) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal's Ctrl-C reaches only the parent, which forwards it
    logs.set_up(settings.log_format)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    raise SystemExit(run_server(settings, listening))


def _stop_with_parent() -> None:
    """Stop this worker when its parent ends, even if it was killed."""
    parent: Any = multiprocessing.parent_process()
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def listening_socket(settings: Settings) -> socket.socket:
    """Return a socket that listens on the host and port of the settings. Raises InvalidInput."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (")[0]
        raise InvalidInput(
            f"cannot listen on {settings.host}:{settings.port} ({reason}); choose another --port or --host"
        ) from error
    # A reply is two writes, head and body. Without this the body waits until the client acknowledges the head, 40 ms. asyncio
    # sets it only on sockets whose protocol is named TCP.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
