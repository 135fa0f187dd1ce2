"""The server as an ASGI application: its routes, its middleware, its start and its shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from podium.ranking import Reranker
from podium.server.dialects import DIALECTS
from podium.server.dialects.dialect import Dialect
from podium.server.endpoints import about, pages
from podium.server.endpoints.requests import endpoint, error_outside_endpoints
from podium.server.endpoints.rerank import rerank
from podium.server.endpoints.search import search
from podium.server.http.admission import Admission
from podium.server.http.keys import Keys
from podium.server.http.memory import MemoryLimit
from podium.server.models import Models
from podium.server.settings import Settings
from podium.server.state import State
from podium.server.telemetry.logs import log
from podium.server.telemetry.metrics import Metrics
from podium.types import Source

__all__ = ["create_app"]

EXECUTOR_THREADS = 64  # for short steps in asyncio.to_thread; blocking models and sources have their own thread pools


def create_app(
    settings: Settings | None = None,
    *,
    rerankers: Mapping[str, Reranker] | None = None,
    source: Source | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
    on_failure: Callable[[Exception], None] | None = None,
) -> Starlette:
    """Return the application. It serves `rerankers` by their names, or loads the models of the settings when it starts.

    `source` is the index that the page searches. If the models cannot be loaded, `on_failure` is called with the error. Without
    `on_failure`, the error is raised in a task of the event loop.
    """
    settings = settings or Settings()
    state = State(
        settings=settings,
        models=Models(rerankers or {}, source),
        dialects=dialects,
        admission=Admission(settings.max_requests, settings.max_memory),
        keys=Keys(settings.keys_file) if settings.keys_file else None,
        metrics=Metrics(),
    )
    app = Starlette(
        routes=_routes(dialects),
        lifespan=lambda _: _lifespan(state, on_failure),
        middleware=[Middleware(MemoryLimit, admission=state.admission), Middleware(_CorrectPaths), *_cors(settings)],
        exception_handlers={HTTPException: error_outside_endpoints, Exception: error_outside_endpoints},
    )
    app.state.podium = state
    return app


def _routes(dialects: Sequence[Dialect]) -> list[Route]:
    """Return the routes. Those with `endpoint` check the API key, and are counted and logged; the others are open to all."""
    paths = dict.fromkeys(path for dialect in dialects for path in dialect.paths)
    return [
        *(Route(path, endpoint(rerank), methods=["POST"]) for path in paths),
        Route("/v1/check-api-key", endpoint(about.check_api_key), methods=["POST"]),
        Route("/search", endpoint(search), methods=["POST"]),
        Route("/v1/models", endpoint(about.models)),
        Route("/info", endpoint(about.info)),
        Route("/metrics", endpoint(about.metrics)),
        Route("/health", about.health),
        Route("/ready", about.ready),
        Route("/.well-known/live", about.health),  # when Weaviate starts, it requests this path and the next two
        Route("/.well-known/ready", about.ready),
        Route("/meta", endpoint(about.info)),
        Route("/openapi.json", pages.openapi),
        Route("/docs", pages.docs),
        Route("/", pages.playground),
        Route("/page/{name}", pages.asset),
    ]


@contextlib.asynccontextmanager
async def _lifespan(state: State, on_failure: Callable[[Exception], None] | None) -> AsyncIterator[None]:
    """Begin to load the models, while requests are already accepted. Close the models when the application stops."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="podium-server"))
    load_task = asyncio.ensure_future(_load_models(state, on_failure))
    try:
        yield
    finally:
        load_task.cancel()
        await state.models.close()


async def _load_models(state: State, on_failure: Callable[[Exception], None] | None) -> None:
    """Load the models of the settings. Call `on_failure` with an error, or raise it if there is no such function."""
    start = time.monotonic()
    try:
        await state.models.load(state.settings)
        log("ready", models=",".join(state.models.names), seconds=round(time.monotonic() - start, 2), process=os.getpid())
    except Exception as error:
        if on_failure is None:
            raise
        on_failure(error)


def _cors(settings: Settings) -> list[Middleware]:
    """Return the middleware that lets pages of other origins call this server, if the settings name such origins."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["api-key", "authorization", "content-type", "x-request-id", "x-request-timeout"],
        )
    ]


class _CorrectPaths:
    """Middleware that corrects the paths of clients that join a base URL and a path without care.

    `//rerank`, `/rerank/` and `/v1/v2/rerank` become `/rerank`, `/rerank` and `/v2/rerank`. The second version of the last one
    is that of the path, and the first one belongs to the base URL.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # Starlette's routes ignore a line break at the end of a path, so it is replaced by a character that no route has.
            path = re.sub(r"\n\Z", "\N{REPLACEMENT CHARACTER}", scope["path"])
            path = re.sub("//+", "/", path).rstrip("/") or "/"
            scope = {**scope, "path": re.sub(r"^(/v\d)+(?=/v\d/)", "", path)}
        await self.app(scope, receive, send)
