"""HostedScorer: scores of a provider's model, requested over HTTP in threads or on an event loop."""

from __future__ import annotations

import dataclasses
import functools
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from podium.deadlines import seconds_left
from podium.errors import Argument, InvalidInput, ProviderError
from podium.forks import renew_after_fork
from podium.hosted import wire
from podium.hosted.connections import AsyncClients, ConnectionPool, new_client
from podium.hosted.credentials import Credentials, split_login
from podium.hosted.providers import Provider, find_provider
from podium.hosted.retries import Policy, Request
from podium.hosted.transport import asend_all, send_all
from podium.inputs import without_none
from podium.scorers import BaseScorer
from podium.threads import to_thread
from podium.types import ScoreKind, Scores

__all__ = ["HostedScorer"]

MAX_TIMEOUT = 1_000_000  # seconds; the system cannot wait for arbitrarily many


class HostedScorer(BaseScorer):
    """A hosted model. It can be shared between threads and event loops, which reuse its connections.

    - `provider`: a provider's name, or a Provider of your own.
    - `api_key`: default is the provider's environment variable. A server of your own may need no key.
    - `base_url`: the server. Default is the provider's environment variable, such as COHERE_BASE_URL, else its public server.
      A user and password in the URL are sent as basic authentication. They replace the key if both use the same header.
    - `timeout`: seconds until the last reply must have arrived, retries included. A reply that arrives in time is decoded
      even if that takes longer.
    - `retries`: how often a failed request is sent again.
    - `max_documents`: the maximum number of documents per request. Default is the provider's limit. A call with more documents
      becomes several requests, at most 8 at a time.
    - `client`, `async_client`: your own httpx clients. podium does not close them.

    A reply may have at most 8 MB plus eight times the size of its request, and never more than 64 MB. The constructor raises
    MissingKey and InvalidInput, scoring raises ProviderError.
    """

    def __init__(
        self,
        provider: str | Provider,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        max_documents: int | None = None,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        self.provider = find_provider(provider) if isinstance(provider, str) else provider
        self._model = _checked_model(self.provider, model)
        server, login = split_login(_checked_base_url(self.provider, base_url))
        self._server = server  # None for the provider's public server
        self._url = wire.request_url(self.provider, self._model, server)
        self._credentials = Credentials(self.provider, api_key, login, is_required=server is None)
        self._policy = _checked_policy(timeout, retries)
        self._max_documents = _checked_max_documents(max_documents)
        _check_clients(client, async_client)
        self._client = client
        self._async_clients = AsyncClients(async_client)
        if client is None:
            new_client().close()  # so that invalid proxies or certificates are reported now, not in the first call
        self._open_connections()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"HostedScorer({self.model!r})"

    @property
    def model(self) -> str:
        return f"{self.provider.name}:{self._model}"

    @property
    def identity(self) -> str:
        """The server's URL, without user and password: two servers can run different models under the same name."""
        return self._url

    @property
    def listwise(self) -> bool:
        return self.provider.is_listwise(self._model)

    @property
    def is_async(self) -> bool:
        return True

    @property
    def is_remote(self) -> bool:
        return True

    @property
    def score_kind(self) -> ScoreKind:
        return self.provider.score_kind

    def settings(self) -> dict[str, Any]:
        """The model's name, its server if it is not the public one, and the limits of a call. API keys are left out."""
        options = {"base_url": self._server, "max_documents": self._max_documents}
        return {
            "model": self.model,
            **without_none(options),
            "timeout": self._policy.timeout,
            "retries": self._policy.retries,
        }

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.score_with(query, texts, before_retry=None)

    def score_with(self, query: str, texts: Sequence[str], *, before_retry: Callable[[], float] | None) -> Scores:
        """Do what `score` does. `before_retry` is called before a retry, and returns the minimum number of seconds to wait."""
        policy = dataclasses.replace(self._current_policy, before_retry=before_retry)
        return _scores(send_all(self._requests(query, texts), self._connections, policy))

    def request_ranges(self, query: str, texts: Sequence[str]) -> list[range]:
        """Return a range for each request of a call: the indices of its texts."""
        return wire.request_ranges(self.provider, self._model, query, texts, self._max_documents)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        requests = await to_thread(self._requests, query, texts)  # counting megabytes of text would block the event loop
        replies = await asend_all(requests, await self._async_clients.client(), self._current_policy)
        return await to_thread(_scores, replies)

    def renew(self) -> None:
        """Replace the connections of threads. In a forked process, the old ones could receive replies to the parent's requests.

        Clients for event loops stay, because a forked process needs a loop of its own, and so does the user's own client.
        """
        # The old pool would be closed with the scorer, but a thread that did not survive the fork may hold its lock.
        self._close_connections.detach()
        self._open_connections()

    def _open_connections(self) -> None:
        """Create the pool of connections. It is closed by `close`, or when the scorer is garbage-collected."""
        self._connections = ConnectionPool(self._client)
        self._close_connections = weakref.finalize(self, self._connections.close)

    def close(self) -> None:
        self._close_connections()

    async def aclose(self) -> None:
        await self._async_clients.aclose()
        self.close()

    @property
    def _current_policy(self) -> Policy:
        """The policy, with a timeout that ends at the deadline of the call (see podium.deadlines)."""
        left = seconds_left()
        if left is None:
            return self._policy
        return dataclasses.replace(self._policy, timeout=min(self._policy.timeout, max(left, 0.0)))

    def _requests(self, query: str, texts: Sequence[str]) -> list[Request]:
        """Return the requests of a call, each for a part of the texts, in their order."""
        ranges = self.request_ranges(query, texts)
        return [self._request(query, [texts[index] for index in indices]) for indices in ranges]

    def _request(self, query: str, texts: list[str]) -> Request:
        provider = self.provider
        credentials = self._credentials

        def error_for(status: int, content: bytes) -> ProviderError:
            # The provider's message is left out of the error if it repeats a text or a secret.
            return wire.error_for(provider, status, content, [query, *texts], credentials.secrets)

        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "podium"}
        return Request(
            title=provider.title,
            url=self._url,
            headers={**headers, **provider.headers, **credentials.headers},
            content=functools.partial(wire.request_body, provider, self._model, query, texts),
            parse=functools.partial(wire.parse_reply, provider, count=len(texts)),
            error_for=error_for,
        )


def _scores(replies: Sequence[wire.Reply]) -> Scores:
    """Return the scores in the replies to all requests of a call."""
    token_counts = [reply.tokens for reply in replies if reply.tokens is not None]
    billed: dict[str, float] = {}
    for reply in replies:
        for unit, count in reply.billed.items():
            billed[unit] = billed.get(unit, 0) + count
    return Scores(
        values=[score for reply in replies for score in reply.scores],
        total_tokens=sum(token_counts) if len(token_counts) == len(replies) else None,
        billed=billed,
        notes=(f"sent as {len(replies)} requests",) if len(replies) > 1 else (),
    )


def _checked_model(provider: Provider, model: Any) -> str:
    if not isinstance(model, str) or not model.isprintable():
        raise InvalidInput("a model's name must be a string of printable characters")
    if not model.strip() and (provider.model_key or "{model}" in provider.path):
        raise InvalidInput(f"{provider.title} needs a model's name: {provider.name}:<model>")
    return model


def _checked_base_url(provider: Provider, base_url: Any) -> str | None:
    """Return `base_url`, or else the URL in the environment, or else None, which means the provider's public server."""
    variable = f"{provider.name.upper()}_BASE_URL"
    url = base_url or os.environ.get(variable) or None
    if url is None:
        if provider.url is None:
            raise InvalidInput(f"{provider.title} has no public server; pass yours as base_url='http://…' or set {variable}")
        return None
    name = Argument("base_url") if base_url else f"the environment variable {variable}"
    if not (isinstance(url, str) and url.startswith(("http://", "https://"))):
        raise InvalidInput(name, " must begin with http:// or https://")
    if {"?", "#"} & set(url):
        raise InvalidInput(name, " must not contain ? or #, because a path is appended to it")
    if not _has_host(url):
        raise InvalidInput(
            name,
            " is not a valid URL; write http://host:port, an IPv6 address in brackets, and special characters of a user name "
            "and password as %2F and the like",
        )
    return url


def _has_host(url: str) -> bool:
    """Whether both urllib and httpx can parse a URL and find a host in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if the port is not a number from 0 to 65535
        return bool(parts.hostname and httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):
        return False


def _checked_policy(timeout: Any, retries: Any) -> Policy:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < MAX_TIMEOUT:
        raise InvalidInput(f"timeout must be a number of seconds between 0 and {MAX_TIMEOUT:,}, not {timeout!r:.40}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise InvalidInput(f"retries must be a whole number, 0 or more, not {retries!r:.40}")
    return Policy(float(timeout), retries)


def _checked_max_documents(max_documents: Any) -> int | None:
    if max_documents is None:
        return None
    if isinstance(max_documents, bool) or not isinstance(max_documents, int) or max_documents < 1:
        raise InvalidInput(f"max_documents must be a positive whole number, not {max_documents!r:.40}")
    return max_documents


def _check_clients(client: Any, async_client: Any) -> None:
    if client is not None and not isinstance(client, httpx.Client):
        raise InvalidInput(f"client must be an httpx.Client, not a {type(client).__name__}")
    if async_client is not None and not isinstance(async_client, httpx.AsyncClient):
        raise InvalidInput(f"async_client must be an httpx.AsyncClient, not a {type(async_client).__name__}")
