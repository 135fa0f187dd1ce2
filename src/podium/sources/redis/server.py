"""Server: runs the commands for an index with redis-py, blocking or asynchronous. A search has one deadline."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, TypeVar

from podium.daemon_threads import start_on_thread
from podium.errors import InvalidInput, PodiumError, SourceError
from podium.forks import renew_after_fork
from podium.sources.memory import is_limited, reserve, reserve_for_json
from podium.sources.redis.commands import Command
from podium.sources.redis.connection import Connection, index_connection, is_cluster, url_connection
from podium.sources.redis.failures import TOO_SLOW, is_connection_lost, source_error
from podium.steps import adrive, drive

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

__all__ = ["Deadline", "Server", "Steps"]

Result = TypeVar("Result")
Steps = Generator[Command, Any, Result]
"""A generator that yields commands, receives their replies, and returns a result."""

UNDECODED = {"NEVER_DECODE": True}  # redis-py's option to return bytes even if decode_responses is set
# If memory is limited, at most this many commands run at once: the size of a reply is known only when it is in memory.
UNCOUNTED_REPLIES = 2
KEYLESS_COMMANDS = ("FT.", "INFO")  # the beginnings of the names of commands without a key


class Deadline:
    """The time at which a search must be finished."""

    def __init__(self, seconds: float) -> None:
        self._end_time = time.monotonic() + seconds

    def seconds_left(self) -> float:
        return max(0.0, self._end_time - time.monotonic())

    def milliseconds_left(self) -> int:
        """Return the TIMEOUT for a command: at least 1, because 0 means no limit."""
        return max(1, int(1000 * self.seconds_left()))


class Server:
    """A Redis server, for the commands of one index. If the connection breaks, a command is sent once more.

    `timeout` is the number of seconds that one search may take. For other commands, it is the time until the server
    sends the next part of its reply.
    """

    def __init__(self, index: str, timeout: float, connection: Connection) -> None:
        self.index = index
        self.timeout = timeout
        self._connection = connection
        self._client: Any = None
        self.renew()
        renew_after_fork(self)

    @classmethod
    def from_index(cls, index: SearchIndex | AsyncSearchIndex, timeout: float) -> Server:
        """Return the server of a redisvl index. Raises InvalidInput for another object."""
        connection = index_connection(index)  # raises InvalidInput before the name of another object is read
        return cls(index.name, timeout, connection)

    @classmethod
    def from_url(cls, url: str, index: str, timeout: float, options: Mapping[str, Any] | None = None) -> Server:
        """Return the server at a URL. It is connected at the first command. `options` are options of redis-py.

        Raises InvalidInput for another URL, or if `index` is not a name.
        """
        if not isinstance(index, str) or not index:
            raise InvalidInput("name the index, as in from_url('redis://localhost:6379', index='docs')")
        return cls(index, timeout, url_connection(url, timeout, options or {}))

    @property
    def address(self) -> str:
        return self._connection.address()

    @property
    def index_label(self) -> str:
        """The name of the index for messages, such as "index 'docs' on localhost:6379"."""
        return f"index {self.index!r} on {self.address}"

    def renew(self) -> None:
        """Replace the locks after a fork: threads of the parent may hold them. redis-py replaces its connections itself."""
        self._lock = threading.Lock()
        self._uncounted = threading.BoundedSemaphore(UNCOUNTED_REPLIES)

    def run(self, steps: Steps[Result], deadline: Deadline) -> Result:
        """Run the commands of the steps one after the other and return their result.

        Raises SourceError if a command fails or the deadline has passed, and InvalidInput if the client is asynchronous.
        """
        if self._connection.connect is None:
            steps.close()
            raise InvalidInput("this source has an AsyncSearchIndex, which can only be awaited; use asearch, or a SearchIndex")
        try:
            return self._start(steps, deadline).result(deadline.seconds_left())
        except FutureTimeout:
            raise self._timeout_error() from None

    async def arun(self, steps: Steps[Result], deadline: Deadline) -> Result:
        """Do what `run` does without blocking the event loop. A blocking client runs on a thread."""

        async def perform(command: Command) -> Any:
            self._check_time(deadline)
            reply = await self._aexecute(command)
            _reserve_reply(reply)
            return reply

        is_async = self._connection.aconnect is not None
        work = adrive(steps, perform) if is_async else asyncio.wrap_future(self._start(steps, deadline))
        try:
            return await asyncio.wait_for(work, deadline.seconds_left())
        except (asyncio.TimeoutError, FutureTimeout):
            raise self._timeout_error() from None

    def execute(self, *command: Any) -> Any:
        """Run one command with the blocking client and return its reply. Raises SourceError."""
        client = self.client()
        return self.attempt(lambda: client.execute_command(*command, **_redis_options(client, command)))

    def execute_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and return their replies. Raises SourceError."""
        client = self.client()

        def send() -> list[Any]:
            pipeline = client.pipeline(transaction=False)  # a new one for each attempt: after a failure it has no commands
            for command in commands:
                pipeline.execute_command(*command, **_redis_options(client, command))
            return list(pipeline.execute())

        return self.attempt(send)

    def transaction(self, commands: Sequence[Command], *, key: str, value: bytes) -> list[Any] | None:
        """Run commands in one transaction and return their replies. If `key` does not hold `value`, run none and return None.

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
        """Return the blocking client, connected; None if the connection is asynchronous. Raises SourceError."""
        client = self._client
        if client is None and self._connection.connect is not None:
            # Connect without the lock: connecting takes time, and in a process that is forked meanwhile it would stay locked.
            new_client = self.attempt(self._connection.connect)
            with self._lock:
                if self._client is None:
                    self._client = new_client
                client = self._client
            if client is not new_client and self._connection.is_own:
                new_client.close()  # another thread connected first
        return client

    def close(self) -> None:
        """Close the connections, unless they belong to a redisvl index."""
        with self._lock:
            if self._client is not None and self._connection.is_own:
                self._client.close()
                self._client = None

    def _start(self, steps: Steps[Result], deadline: Deadline) -> Future[Result]:
        """Run the steps on a daemon thread and return the future of their result.

        A thread is needed because the client of a redisvl index may have no timeout and block forever.
        """

        def perform(command: Command) -> Any:
            with self._uncounted if is_limited() else contextlib.nullcontext():
                self._check_time(deadline)
                reply = self.execute(*command)
                _reserve_reply(reply)
            return reply

        return start_on_thread(lambda: drive(steps, perform), "podium-redis")

    async def _aexecute(self, command: Command) -> Any:
        """Do what `execute` does with the asynchronous client."""

        async def call() -> Any:
            client = await self._connection.aconnect()  # type: ignore[misc]  # arun checks that it is set
            return await client.execute_command(*command, **_redis_options(client, command))

        with self._source_errors():
            try:
                return await call()
            except Exception as error:
                if not is_connection_lost(error):
                    raise
            return await call()

    def _check_time(self, deadline: Deadline) -> None:
        if not deadline.seconds_left():
            raise self._timeout_error()

    def _timeout_error(self) -> SourceError:
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


def _reserve_reply(reply: Any) -> None:
    """If memory is limited, reserve the memory of a reply and of the values that will be decoded from it."""
    if not is_limited():
        return
    if isinstance(reply, bytes):
        reserve(len(reply))
        reserve_for_json(reply)
    elif isinstance(reply, Mapping | list | tuple):
        for value in reply.values() if isinstance(reply, Mapping) else reply:
            _reserve_reply(value)


def _redis_options(client: Any, command: Command) -> dict[str, Any]:
    """Return redis-py's options for a command. In a cluster, commands without a key go to the default node."""
    if is_cluster(client) and str(command[0]).startswith(KEYLESS_COMMANDS):
        return UNDECODED | {"target_nodes": client.get_default_node()}
    return dict(UNDECODED)
