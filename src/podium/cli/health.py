"""podium health: ask whether a server runs, for the health checks of containers, which then need no other program."""

from __future__ import annotations

import concurrent.futures
import http.client
from urllib.parse import urlsplit

import click

from podium.daemon_threads import start_on_thread
from podium.errors import Argument, InvalidInput, PodiumError
from podium.inputs import check_positive_number

__all__ = ["health"]

CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


@click.command()
@click.argument("url", default="http://127.0.0.1:8080")
@click.option("--ready", is_flag=True, help="Ask whether the models are loaded, instead of only whether the server runs.")
@click.option(
    "--timeout", type=click.FloatRange(0, 3600, min_open=True), default=3.0, show_default=True, help="Maximum seconds."
)
def health(url: str, ready: bool, timeout: float) -> None:
    """Exit with 0 if a server answers, otherwise with 1.

    URL is that of the server, by default http://127.0.0.1:8080. Its path /health is requested, or /ready with --ready. No key
    is needed.
    """
    check_positive_number("timeout", timeout)  # a range of click contains nan
    connection, path = _connection(url, timeout)
    # On a thread, because the timeout of a connection does not limit a head that arrives byte by byte.
    reply = start_on_thread(lambda: _status(connection, path + ("/ready" if ready else "/health")), "podium-health")
    try:
        status = reply.result(timeout)
    except (TimeoutError, concurrent.futures.TimeoutError):  # they are the same since Python 3.11
        raise PodiumError(
            f"the server did not answer within {timeout:g} seconds; look at its log, or allow more with ", Argument("timeout")
        ) from None
    except UnicodeError:  # The name of the host cannot be encoded, for example because a part of it is empty.
        raise _invalid_url() from None
    except (OSError, http.client.HTTPException) as error:
        raise PodiumError(
            f"the server could not be reached ({type(error).__name__}); check that it runs, and its host and port"
        ) from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise PodiumError(f"the server answered with status {status}; look at its log")


def _connection(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection to a server, which is not open yet, and the path of its URL. Raises InvalidInput."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.scheme not in CONNECTIONS or parts.query or not url.isascii() or not url.isprintable():
            raise _invalid_url()
        connection = CONNECTIONS[parts.scheme](parts.hostname, parts.port, timeout=timeout)
    except (ValueError, http.client.InvalidURL):
        raise _invalid_url() from None
    return connection, parts.path.rstrip("/")


def _invalid_url() -> InvalidInput:
    return InvalidInput("the URL of a server is http://host:port or https://host:port; correct it")


def _status(connection: http.client.HTTPConnection, path: str) -> int:
    """Return the status of a reply, without its content."""
    connection.request("GET", path)
    with connection.getresponse() as reply:
        return reply.status
