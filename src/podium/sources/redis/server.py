"""Server: runs commands for an index with redis-py, blocking or awaited, each search within one deadline.

The meaning of the commands is in `commands` and `replies`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, TypeVar

from podium.errors import InvalidInput, PodiumError, SourceError
from podium.forks import renew_after_fork
from podium.sources.redis.commands import Command
from podium.sources.redis.connection import Connection, index_connection, is_cluster, url_connection
from podium.sources.redis.failures import TOO_SLOW, is_connection_lost, source_error
from podium.steps import adrive, drive

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

__all__ = ["Deadline", "Server", "Steps"]

Result = TypeVar("Result")
Steps = Generator[Command, Any, Result]
"""Yields commands, receives their replies, and returns a result."""

UNDECODED = {"NEVER_DECODE": True}  # redis-py's option to return bytes, whatever decode_responses is
KEYLESS = ("FT.", "INFO")


class Deadline:
    """The moment at which a search must be over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def milliseconds_left(self) -> int:
        """Return the TIMEOUT for a command: at least 1, because the server takes 0 for no limit."""
        return max(1, int(1000 * self.seconds_left()))


class Server:
    """A Redis, for the commands of one index. A command whose connection broke is sent once more.

    `seconds` is the time that one search, or one command outside of a search, may take.
    """

    def __init__(self, index: str, seconds: float, connection: Connection) -> None:
        self.index, self.seconds, self._connection = index, seconds, connection
        self._client: Any = None
        self.renew()
        renew_after_fork(self)

    @classmethod
    def from_index(cls, index: SearchIndex | AsyncSearchIndex, seconds: float) -> Server:
        """Return the server of a redisvl index."""
        connection = index_connection(index)
        return cls(index.name, seconds, connection)

    @classmethod
    def from_url(cls, url: str, index: str, seconds: float, options: Mapping[str, Any] | None = None) -> Server:
        """Return the server at a URL. Nothing is sent yet. `options` are redis-py's."""
        if not isinstance(index, str) or not index:
            raise InvalidInput("name the index, as in from_url('redis://localhost:6379', index='docs')")
        return cls(index, seconds, url_connection(url, seconds, options or {}))

    @property
    def address(self) -> str:
        return self._connection.address()

    def renew(self) -> None:
        """Replace the lock, which a thread of the parent process may hold. redis-py replaces its connections itself."""
        self._lock = threading.Lock()

    def run(self, steps: Steps[Result], deadline: Deadline) -> Result:
        """Run the commands of the steps one after the other and return their result. Raises SourceError at the deadline."""
        if self._connection.connect is None:
            steps.close()
            raise InvalidInput("this source has an AsyncSearchIndex, which can only be awaited; use asearch, or a SearchIndex")
        try:
            return self._start(steps, deadline).result(deadline.seconds_left())
        except FutureTimeout:
            raise self._too_slow() from None

    async def arun(self, steps: Steps[Result], deadline: Deadline) -> Result:
        """Do what `run` does without blocking the event loop. If the client is not asynchronous, it runs on a thread."""

        async def perform(command: Command) -> Any:
            self._check_time(deadline)
            return await self._aexecute(command)

        is_async = self._connection.aconnect is not None
        work = adrive(steps, perform) if is_async else asyncio.wrap_future(self._start(steps, deadline))
        try:
            return await asyncio.wait_for(work, deadline.seconds_left())
        except (asyncio.TimeoutError, FutureTimeout):
            raise self._too_slow() from None

    def execute(self, *command: Any) -> Any:
        """Run one command and return its reply. Raises SourceError."""
        client = self.client()
        return self.attempt(lambda: client.execute_command(*command, **_options(client, command)))

    def execute_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and return their replies. Raises SourceError."""
        client = self.client()

        def send() -> list[Any]:
            pipeline = client.pipeline(transaction=False)  # a new one for each attempt: one that failed forgets its commands
            for command in commands:
                pipeline.execute_command(*command, **_options(client, command))
            return list(pipeline.execute())

        return self.attempt(send)

    def transaction(self, commands: Sequence[Command], *, key: str, value: bytes) -> list[Any] | None:
        """Run commands in one transaction and return their replies, or run none and return None if `key` does not hold `value`.

        In a cluster, whose transactions cannot span shards, the key is checked before the commands are sent.
        """
        client = self.client()

        def send() -> list[Any] | None:
            with client.pipeline() as pipeline:
                pipeline.watch(key)
                if pipeline.execute_command("GET", key, **UNDECODED) != value:
                    return None
                pipeline.multi()
                for command in commands:
                    pipeline.execute_command(*command)
                return list(pipeline.execute())

        if is_cluster(client):
            return self.execute_many(commands) if self.execute("GET", key) == value else None
        return self.attempt(send)

    def attempt(self, call: Callable[[], Result]) -> Result:
        """Return the result of a call that uses the client. Repeats it once if the connection broke. Raises SourceError."""
        with self._source_errors():
            try:
                return call()
            except Exception as error:
                if not is_connection_lost(error):
                    raise
            return call()

    def client(self) -> Any:
        """Return the blocking client, connected."""
        client = self._client
        if client is None and self._connection.connect is not None:
            new = self.attempt(self._connection.connect)  # without the lock, because another thread may fork meanwhile
            with self._lock:
                client = self._client = self._client or new
            if client is not new and self._connection.is_own:
                new.close()
        return client

    def close(self) -> None:
        """Close the connections, unless they belong to a redisvl index."""
        with self._lock:
            if self._client is not None and self._connection.is_own:
                self._client.close()
                self._client = None

    def _start(self, steps: Steps[Result], deadline: Deadline) -> Future[Result]:
        """Run the steps on a daemon thread: the client of a redisvl index may have no timeout, and would wait for ever."""
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()  # so that a caller that gives up cannot cancel it

        def perform(command: Command) -> Any:
            self._check_time(deadline)
            return self.execute(*command)

        def work() -> None:
            try:
                future.set_result(drive(steps, perform))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="podium-redis").start()
        return future

    async def _aexecute(self, command: Command) -> Any:
        async def call() -> Any:
            client = await self._connection.aconnect()  # type: ignore[misc]  # arun checks that it is set
            return await client.execute_command(*command, **_options(client, command))

        with self._source_errors():
            try:
                return await call()
            except Exception as error:
                if not is_connection_lost(error):
                    raise
            return await call()

    def _check_time(self, deadline: Deadline) -> None:
        if not deadline.seconds_left():
            raise self._too_slow()

    def _too_slow(self) -> SourceError:
        return SourceError(TOO_SLOW.format(address=self.address))

    @contextlib.contextmanager
    def _source_errors(self) -> Iterator[None]:
        """Raise errors of redis-py as SourceErrors."""
        try:
            yield
        except PodiumError:
            raise
        except Exception as error:
            raise source_error(error, self.address, self.index) from error


def _options(client: Any, command: Command) -> dict[str, Any]:
    """Return redis-py's options for a command. In a cluster, one without a key may go to any node."""
    anywhere = is_cluster(client) and str(command[0]).startswith(KEYLESS)
    return UNDECODED | ({"target_nodes": client.get_default_node()} if anywhere else {})
