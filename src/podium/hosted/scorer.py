"""HostedScorer: a provider's row and a model's name → scores, over HTTP, with a thread or with an event loop."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import ssl
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpx

from podium.errors import InvalidInput, MissingKey, ProviderError
from podium.forks import renew_after_fork
from podium.hosted import wire
from podium.hosted.connections import SINGLE_CONNECTION, Connections
from podium.hosted.providers import Provider, provider
from podium.hosted.transport import Exchange, Policy, aexchange, exchange
from podium.scorers import BaseScorer
from podium.types import ScoreKind, Scores

__all__ = ["HostedScorer"]

CONCURRENT_REQUESTS = 8  # of one call
# Of all calls. Both the same: httpcore counts busy connections among those to keep, and would close each after use.
CONNECTIONS = httpx.Limits(max_connections=100, max_keepalive_connections=100)
SOCKET_TIMEOUT = 15.0  # seconds of silence after which a server is asked again, if time is left

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)


class _Credentials:
    """The headers that authorise requests, and the secrets in them, which no repr or list of local variables shows."""

    __slots__ = ("headers", "secrets")

    def __init__(self, headers: Mapping[str, str], secrets: Sequence[str]) -> None:
        self.headers, self.secrets = headers, secrets

    def __repr__(self) -> str:
        return "<credentials>"


class _LoopClient:
    """An event loop's client. It closes when the loop does, even if nobody calls aclose.

    Loops close the asynchronous generators that are still open before they end (asyncio.run sees to it), so one
    that closes the client when it is closed itself is how to be told.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.lifetime = self._lifetime()

    async def begin(self) -> None:
        await self.lifetime.__anext__()

    async def _lifetime(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.client.aclose()


class HostedScorer(BaseScorer):
    """A hosted model. Safe to share between threads and event loops, which share its connections each.

    `api_key`, else the provider's environment variable; a server of your own (`base_url`, else for example
    COHERE_BASE_URL in the environment) may need none. `timeout` is seconds in all; a reply that arrives in time is read to
    its end, at most 64 MB, even if that takes until after the deadline. `retries` is how often a failed request is sent again. A call with more documents than the provider takes at once (or than `max_documents`) becomes several
    requests, at most 8 at a time. A `client` or `async_client` of yours is used as it is and stays yours to close.
    A user and password in `base_url` are sent as basic authentication, in place of the key where both use that header.
    Raises MissingKey, InvalidInput; when scoring, ProviderError.
    """

    def __init__(
        self,
        name: str,
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
        self.provider = provider(name)
        self._model = _checked_model(self.provider, model)
        base, login = _without_login(_found_url(self.provider, base_url))
        self._url = wire.request_url(self.provider, self._model, base)
        self._credentials = _credentials(self.provider, api_key, login, required=base is None)
        self._policy = _checked_policy(timeout, retries)
        self._max_documents = _checked_count(max_documents)
        _check_clients(client, async_client)
        self._given_client, self._given_async_client = client, async_client
        # An AsyncClient's connections belong to the event loop that made them, so each loop has its own.
        self._loops: weakref.WeakKeyDictionary[Any, _LoopClient] = weakref.WeakKeyDictionary()
        if client is None:
            _make_client().close()  # the environment may name a proxy or certificates that cannot be used
        self.renew()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"HostedScorer({self.model!r})"

    @property
    def model(self) -> str:
        return f"{self.provider.name}:{self._model}"

    @property
    def identity(self) -> str:
        """The server's address, without user and password: two servers can run different models under the same name."""
        return self._url

    @property
    def listwise(self) -> bool:
        """Whether documents are scored against each other, so that a score depends on what was beside it."""
        return self.provider.is_listwise(self._model)

    @property
    def is_async(self) -> bool:
        return True

    @property
    def score_kind(self) -> ScoreKind:
        return self.provider.score_kind

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        runs, requests = self._prepared(query, texts)
        return self._scores(exchange(requests, self._connections, self._policy), runs)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        # Megabytes of JSON are written and read on other threads, so that the event loop goes on.
        runs, requests = await asyncio.to_thread(self._prepared, query, texts)
        replies = await aexchange(requests, await self._async_client(), self._policy)
        return await asyncio.to_thread(self._scores, replies, runs)

    def close(self) -> None:
        self._finish()

    def renew(self) -> None:
        """Begin without connections: one shared with a parent process would bring the parent's answers.

        A forgotten reranker closes them when it is collected.
        """
        self._connections = Connections(_make_client, self._given_client)
        self._finish = weakref.finalize(self, self._connections.close)

    async def aclose(self) -> None:
        kept = self._loops.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept.lifetime.aclose()
        self.close()

    async def _async_client(self) -> httpx.AsyncClient:
        if self._given_async_client is not None:
            return self._given_async_client
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = _LoopClient(_made(httpx.AsyncClient, CONNECTIONS))
            await self._loops[loop].begin()
        return self._loops[loop].client

    def _prepared(self, query: str, texts: Sequence[str]) -> tuple[list[range], list[Exchange]]:
        """Return which texts go into which request, and the requests."""
        runs = wire.parts(self.provider, self._model, query, texts, self._max_documents)
        return runs, [self._exchange(query, [texts[index] for index in run]) for run in runs]

    def _exchange(self, query: str, texts: list[str]) -> Exchange:
        row, credentials = self.provider, self._credentials
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "podium", **row.headers}

        def error_for(status: int, content: bytes) -> ProviderError:
            return wire.error_for(row, status, content, [query, *texts], credentials.secrets)

        content = wire.request_body(row, self._model, query, texts)
        return Exchange(row.title, self._url, {**headers, **credentials.headers}, content, error_for)

    def _scores(self, contents: list[bytes], runs: list[range]) -> Scores:
        replies = [wire.read_reply(self.provider, content, len(run)) for content, run in zip(contents, runs, strict=True)]
        counted = [reply.tokens for reply in replies if reply.tokens is not None]
        billed: dict[str, float] = {}
        for reply in replies:
            for unit, count in reply.billed.items():
                billed[unit] = billed.get(unit, 0) + count
        return Scores(
            values=[score for reply in replies for score in reply.scores],
            total_tokens=sum(counted) if len(counted) == len(replies) else None,
            billed=billed,
            notes=(f"sent as {len(runs)} requests",) if len(runs) > 1 else (),
        )


def _made(kind: Callable[..., Client], limits: httpx.Limits) -> Client:
    """Return a client. Raises InvalidInput where the environment asks for what no client can do."""
    try:
        return kind(limits=limits, verify=_certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")))
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"no HTTP client can be made with this environment ({type(error).__name__}); check the variables HTTP_PROXY, "
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None  # the error may repeat a proxy's password


def _make_client() -> httpx.Client:
    return _made(httpx.Client, SINGLE_CONNECTION)


@functools.lru_cache(maxsize=4)
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return the certificates to trust, read once: httpx finds these two variables itself. They take 20 ms to read."""
    return httpx.create_ssl_context()


def _credentials(row: Provider, api_key: Any, login: tuple[str, str] | None, *, required: bool) -> _Credentials:
    """Return what authorises requests. Raises MissingKey, InvalidInput."""
    headers, secrets = {}, []
    if key := _found_key(row, api_key, required=required):
        headers[row.key_header] = row.key_format.format(key)
        secrets.append(key)
    if login is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        secrets += [login[1], headers["Authorization"]]
    return _Credentials(headers, secrets)


def _found_key(row: Provider, given: Any, *, required: bool) -> str | None:
    if given is not None and not isinstance(given, str):
        raise InvalidInput(f"api_key must be a string, not a {type(given).__name__}")
    key = (given or (os.environ.get(row.key_variable, "") if row.key_variable else "")).strip()
    if key and not (key.isascii() and key.isprintable()):
        raise MissingKey(f"the API key for {row.title} holds characters that no HTTP header can; copy it again")
    if not key and required and row.key_variable:
        raise MissingKey(f"{row.title} needs an API key; set {row.key_variable}, or pass api_key")
    return key or None


def _without_login(base_url: str | None) -> tuple[str | None, tuple[str, str] | None]:
    """Return the address without user and password, and these: httpx logs addresses as they are."""
    if base_url is None or "@" not in urlsplit(base_url).netloc:
        return base_url, None
    parts = urlsplit(base_url)
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(user), unquote(password))


def _checked_model(row: Provider, model: Any) -> str:
    if not isinstance(model, str) or not model.isprintable():
        raise InvalidInput("a model is named by a string of printable characters")
    if not model.strip() and (row.model_key or "{model}" in row.path):
        raise InvalidInput(f"{row.title} needs a model's name: {row.name}:<model>")
    return model


def _found_url(row: Provider, base_url: Any) -> str | None:
    """Return where the server is, if not at its public address: as given, else as the environment says."""
    variable = f"{row.name.upper()}_BASE_URL"
    base_url = base_url or os.environ.get(variable) or None
    if base_url is None and row.url is None:
        raise InvalidInput(f"{row.title} has no public server; say where yours is with base_url='http://…' or {variable}")
    if base_url is not None and not (isinstance(base_url, str) and base_url.startswith(("http://", "https://"))):
        raise InvalidInput("base_url must begin with http:// or https://")
    if base_url is not None and {"?", "#"} & set(base_url):
        raise InvalidInput("base_url must be an address without ? and #; a path is added to it")
    return base_url


def _checked_policy(timeout: Any, retries: Any) -> Policy:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e6:
        raise InvalidInput(f"timeout must be a positive number of seconds, not {timeout!r:.40}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise InvalidInput(f"retries must be 0 or more, not {retries!r:.40}")
    return Policy(float(timeout), min(SOCKET_TIMEOUT, float(timeout)), retries, CONCURRENT_REQUESTS)


def _checked_count(count: Any) -> int | None:
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise InvalidInput(f"max_documents must be a positive whole number, not {count!r:.40}")
    return count


def _check_clients(client: Any, async_client: Any) -> None:
    if client is not None and not isinstance(client, httpx.Client):
        raise InvalidInput(f"client must be an httpx.Client, not a {type(client).__name__}")
    if async_client is not None and not isinstance(async_client, httpx.AsyncClient):
        raise InvalidInput(f"async_client must be an httpx.AsyncClient, not a {type(async_client).__name__}")
