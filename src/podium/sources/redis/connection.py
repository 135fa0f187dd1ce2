"""Connections to Redis: by a URL, or through the client of a redisvl index."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podium.errors import InvalidInput, SourceError
from podium.extras import import_optional

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

__all__ = ["SCHEMES", "Connection", "index_connection", "is_cluster", "url_connection"]

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to connect to a server.

    - `address`: returns the server's address, without a password, for messages.
    - `connect`: returns a connected client of redis-py. None if the client is asynchronous; then `aconnect` returns it.
    - `is_own`: whether podium creates and closes the client.
    """

    address: Callable[[], str]
    connect: Callable[[], Any] | None = None
    aconnect: Callable[[], Awaitable[Any]] | None = None
    is_own: bool = False


def url_connection(url: str, timeout: float, options: Mapping[str, Any]) -> Connection:
    """Return the connection to the server at a URL. `timeout` is in seconds. `options` of redis-py replace podium's defaults.

    Raises InvalidInput for another URL. `Connection.connect` raises SourceError if redis-py refuses the URL or the options.
    """
    if not isinstance(url, str) or url.partition("://")[0] not in SCHEMES:
        raise InvalidInput(f"a Redis URL begins with {'://, '.join(SCHEMES)}://, as in redis://localhost:6379")
    factory = import_optional("redisvl.redis.connection", "redis").RedisConnectionFactory
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    defaults = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),  # no retries, because podium's class Server repeats a command once
        "protocol": 3,  # RESP3, in which the reply to a search that ran out of time has a warning
    }

    def connect() -> Any:
        try:
            return factory.get_redis_connection(url, **(defaults | dict(options)))
        except (ValueError, TypeError) as error:  # the error's own message is left out: it may contain a password
            raise SourceError(
                f"redis-py does not accept this URL or these connection options ({type(error).__name__}); check the options "
                "after ? in the URL, and the names and values of connection="
            ) from None

    return Connection(lambda: _url_address(url), connect=connect, is_own=True)


def index_connection(index: SearchIndex | AsyncSearchIndex) -> Connection:
    """Return the connection of a redisvl index. Raises InvalidInput for another object."""
    if not isinstance(getattr(index, "name", None), str) or not hasattr(index, "client") or not hasattr(index, "schema"):
        raise InvalidInput(
            f"index must be redisvl's SearchIndex or AsyncSearchIndex, not a {type(index).__name__}; to name an index, use "
            "RedisSource.from_url(url, index=name)"
        )

    def connect() -> Any:
        if index.client is None:
            index.exists()  # an index connects at its first command
        return index.client

    async def aconnect() -> Any:
        if index.client is None:
            await index.exists()
        return index.client

    def address() -> str:
        return _index_address(index)

    is_async = inspect.iscoroutinefunction(getattr(index, "exists", None))
    return Connection(address, aconnect=aconnect) if is_async else Connection(address, connect=connect)


def is_cluster(client: Any) -> bool:
    """Whether a client of redis-py is connected to a cluster."""
    return hasattr(client, "get_default_node")


def _url_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "the server of that URL"
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{port or 6379}"


def _index_address(index: Any) -> str:
    """Return the address of the server to which the client of a redisvl index is or will be connected, for messages."""
    client = index.client
    if client is None:
        url = getattr(index, "_redis_url", None)  # redisvl has no public name for it
        return _url_address(url) if isinstance(url, str) else "the server of that index"
    if is_cluster(client):
        node = client.get_default_node()
        return f"{node.host}:{node.port}"
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", {}) or {}
    if name := getattr(pool, "service_name", None):
        return f"sentinel {name}"
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
