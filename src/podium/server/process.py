"""The server as one process or several: the listening socket, workers, signals and shutdown."""

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

from podium.errors import InvalidInput, PodiumError
from podium.server.app import create_app
from podium.server.http.memory import share_heap
from podium.server.http.protocol import Protocol
from podium.server.settings import Settings
from podium.server.telemetry import logs

__all__ = ["listening_socket", "serve"]

QUEUED_CONNECTIONS = 2048  # connections that the kernel queues until the server accepts them
ACCEPTED_AT_ONCE = 16  # connections that asyncio accepts in a row, before Protocol can close idle connections
LAST_REPLIES_SECONDS = 20  # time for clients to read the last replies at shutdown
EXIT_SECONDS = 25  # time until the process exits at shutdown, even if a thread is busy
LOADING_EXIT_SECONDS = 5  # used instead of EXIT_SECONDS while models are loading, when no client waits for a reply
REPLACEMENT_SECONDS = 1  # time between the end of a worker and the start of the one that replaces it
KEEP_ALIVE_SECONDS = 75  # most load balancers close idle connections after 60, and must close them before the server does


def serve(settings: Settings) -> int:
    """Serve until a signal or a failure, and return the exit code.

    Raises InvalidInput if the address is not available, and PodiumError if workers cannot be started.
    """
    share_heap()
    logs.set_up(settings.log_format)
    listener = listening_socket(settings)
    settings = replace(settings, port=listener.getsockname()[1])  # port 0 in the settings means any free port
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logs.log("listening", url=f"http://{host}:{settings.port}/", loading=",".join(settings.models))
    return run_server(settings, listener) if settings.workers == 1 else run_workers(settings, listener)


class _Server(uvicorn.Server):
    """uvicorn's server with a graceful shutdown: it answers requests that it has accepted, and refuses others with 503."""

    def __init__(self, settings: Settings) -> None:
        self.exit_code = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settings = settings
        self._app = create_app(settings, on_failure=self._stop_after_failure)
        config = uvicorn.Config(
            self._app, http=Protocol, ws="none", access_log=False, log_config=None, server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=LAST_REPLIES_SECONDS, backlog=ACCEPTED_AT_ONCE,
        )  # fmt: skip
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_loop_error)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUED_CONNECTIONS)  # asyncio has limited the kernel's queue to ACCEPTED_AT_ONCE, too

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves out this step then, and would log the end of the application's task as an error
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain and stop after the first signal. If there are no workers, stop at once after a second one."""
        if self._loop is None:  # the server has not started, so there is nothing to drain
            self._stop(0)
        elif not self._app.state.podium.admission.is_draining:
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        elif self._settings.workers == 1:
            self.force_exit = True
            self._stop(1)
        # A second signal does not stop a worker, because it can be the first one again: a service manager may signal all
        # processes, and the parent forwards its signal. The parent itself kills the workers after a second signal.

    async def _drain(self) -> None:
        """Wait until accepted requests are answered, at most for the drain timeout, and stop."""
        admission = self._app.state.podium.admission
        logs.log("draining", requests=admission.request_count, process=os.getpid())
        try:
            await asyncio.wait_for(admission.drain(), self._settings.drain_timeout)
        except asyncio.TimeoutError:
            logs.log("drain_timeout", level=logging.WARNING, requests=admission.request_count)
            self.config.timeout_graceful_shutdown = 1  # in seconds; then uvicorn cancels the remaining requests
        self._stop(0)

    def _stop_after_failure(self, error: BaseException) -> None:
        logs.log("failed", level=logging.ERROR, error=" ".join(str(error).split()))
        self._stop(1)

    def _stop(self, exit_code: int) -> None:
        """Begin to shut down. After some seconds, the process exits even if a thread is busy, for example with a download."""
        self.exit_code = exit_code
        self.should_exit = True
        seconds = EXIT_SECONDS if self._app.state.podium.models.is_loaded else LOADING_EXIT_SECONDS
        timer = threading.Timer(seconds, os._exit, (exit_code,))
        timer.daemon = True
        timer.start()


_loop_errors = logs.RateLimitedLog("event_loop")


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of asyncio, at most one in ten seconds: without free file descriptors, every new connection is an error."""
    error = context.get("exception")
    _loop_errors.warn(message=context.get("message"), error=f"{type(error).__name__}: {error}" if error else None)


def run_server(settings: Settings, listener: socket.socket) -> int:
    """Serve in this process, and return the exit code."""
    server = _Server(settings)
    server.run(sockets=[listener])
    logs.log("stopped", process=os.getpid())
    return server.exit_code


def run_workers(settings: Settings, listener: socket.socket) -> int:
    """Serve in several processes that share the socket, and return the exit code. A worker that dies is replaced.

    Raises PodiumError if the first workers cannot be started.
    """
    context = multiprocessing.get_context("spawn")
    stop = threading.Event()
    workers: list[BaseProcess] = []

    def start_worker() -> BaseProcess:
        worker = context.Process(target=_run_worker, args=(settings, listener), daemon=False)
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
        for signal_number in _ending_signals():
            signal.signal(signal_number, handle_signal)
        try:
            for _ in range(settings.workers):
                if stop.is_set():
                    break
                workers.append(start_worker())  # one by one, so that they are terminated if a later one cannot be started
        except OSError as error:
            _terminate(workers, EXIT_SECONDS)
            raise PodiumError(
                f"cannot start worker {len(workers) + 1} of {settings.workers} ({error.strerror or type(error).__name__}); "
                "allow more processes and open files, or choose fewer --workers"
            ) from error
        try:
            return _watch(workers, start_worker, stop)
        finally:
            _terminate(workers, settings.drain_timeout + EXIT_SECONDS)


def _ending_signals() -> list[int]:
    """Return the signals that stop the server. A closed terminal sends SIGHUP, which nohup ignores."""
    signals: list[int] = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signals.append(signal.SIGHUP)
    return signals


def _watch(workers: list[BaseProcess], start_worker: Callable[[], BaseProcess], stop: threading.Event) -> int:
    """Replace workers that end, until `stop` is set. Return the exit code of the server.

    If one of the first workers ends with an error, this returns its exit code, because a replacement would probably fail, too:
    for example, a model cannot be loaded. A replacement that fails is replaced again, because the cause may be temporary.
    """
    first_workers = list(workers)
    while not stop.is_set():
        connection.wait([worker.sentinel for worker in workers], timeout=0.2)  # in seconds; then `stop` is checked
        for index, worker in enumerate(workers):
            if worker.exitcode is None or stop.is_set():
                continue
            if worker.exitcode > 0 and worker in first_workers:  # the exit code of a killed worker is below 0
                return worker.exitcode
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
            logs.log("worker_died", level=logging.ERROR, process=worker.pid, code=worker.exitcode)
            stop.wait(REPLACEMENT_SECONDS)  # so that this is not a busy loop if every new worker ends
            try:
                workers[index] = start_worker()
            except OSError as error:  # too many processes or open files; the dead worker is found again in the next round
                logs.log("worker_not_started", level=logging.ERROR, error=error.strerror or type(error).__name__)
    return 0


def _terminate(workers: list[BaseProcess], seconds: float) -> None:
    """Stop the workers, and kill each worker that still runs after `seconds`."""
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.exitcode is None:
            worker.kill()


def _run_worker(settings: Settings, listener: socket.socket) -> None:
    share_heap()
    if hasattr(os, "setsid"):
        os.setsid()  # so that Ctrl-C in a terminal reaches only the parent, which forwards it to the workers
    logs.set_up(settings.log_format)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        raise SystemExit(run_server(settings, listener))
    finally:
        logging.shutdown()  # writes the last lines; multiprocessing does not call it


def _stop_with_parent() -> None:
    """Stop this worker when its parent process ends, even if the parent is killed."""
    parent: Any = multiprocessing.parent_process()
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def listening_socket(settings: Settings) -> socket.socket:
    """Return a socket that listens on the host and port of the settings. Raises InvalidInput."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=QUEUED_CONNECTIONS)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (")[0]  # without Python's "(while attempting to bind …)"
        raise InvalidInput(
            f"cannot listen on {settings.host}:{settings.port} ({reason}); choose another --port or --host"
        ) from error
    # A reply is written in two parts. Without this option the second part waits up to 40 ms until the client acknowledges the
    # first. asyncio sets the option only for sockets that were created with IPPROTO_TCP.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
