"""The server as an ASGI application: its routes, its middleware, and what it does when it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from podium.ranking import Reranker
from podium.server.dialects import DIALECTS
from podium.server.endpoints import about, pages
from podium.server.endpoints.requests import endpoint, error_outside_endpoints
from podium.server.endpoints.rerank import rerank
from podium.server.endpoints.search import search
from podium.server.http.admission import Admission
from podium.server.http.keys import Keys
from podium.server.http.memory import RequestMemory
from podium.server.models import Models
from podium.server.settings import Settings
from podium.server.state import State
from podium.server.telemetry.logs import log
from podium.server.telemetry.metrics import Metrics
from podium.types import Source

__all__ = ["create_app"]

THREADS = 64  # for short steps that would delay the event loop. Models and sources that block have threads of their own


def create_app(
    settings: Settings | None = None,
    *,
    rerankers: Mapping[str, Reranker] | None = None,
    source: Source | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
) -> Starlette:
    """Return the application. It serves `rerankers` by name, or loads the models of the settings when it starts.

    `on_failure` is called with the error if loading fails.
    """
    settings = settings or Settings()
    state = State(
        settings=settings,
        models=Models(rerankers or {}, source),
        admission=Admission(settings.max_requests, settings.max_memory),
        keys=Keys(settings.keys_file) if settings.keys_file else None,
        metrics=Metrics(),
    )
    app = Starlette(
        routes=_routes(),
        lifespan=lambda _: _lifespan(state, on_failure),
        middleware=[Middleware(RequestMemory, admission=state.admission), Middleware(_PathVariants), *_cors(settings)],
        exception_handlers={HTTPException: error_outside_endpoints, Exception: error_outside_endpoints},
    )
    app.state.podium = state
    return app


def _routes() -> list[Route]:
    paths = dict.fromkeys(path for dialect in DIALECTS for path in dialect.paths)
    return [
        *(Route(path, endpoint(rerank), methods=["POST"]) for path in paths),
        Route("/v1/check-api-key", endpoint(about.check_api_key), methods=["POST"]),
        Route("/search", endpoint(search), methods=["POST"]),
        Route("/v1/models", endpoint(about.models)),
        Route("/info", endpoint(about.info)),
        Route("/metrics", endpoint(about.metrics)),
        Route("/health", about.health),
        Route("/ready", about.ready),
        Route("/.well-known/live", about.health),  # Weaviate requests these two and /meta when it starts
        Route("/.well-known/ready", about.ready),
        Route("/meta", endpoint(about.info)),
        Route("/openapi.json", pages.openapi),
        Route("/docs", pages.docs),
        Route("/", pages.playground),
        Route("/page/{name}", pages.asset),
    ]


@contextlib.asynccontextmanager
async def _lifespan(state: State, on_failure: Callable[[BaseException], None] | None) -> AsyncIterator[None]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="podium-server"))
    loading = asyncio.ensure_future(_load(state, on_failure))
    try:
        yield
    finally:
        loading.cancel()
        await state.models.close()


async def _load(state: State, on_failure: Callable[[BaseException], None] | None) -> None:
    began = time.monotonic()
    try:
        await state.models.load(state.settings)
        log("ready", models=",".join(state.models.names), seconds=round(time.monotonic() - began, 2), process=os.getpid())
    except Exception as error:
        if on_failure is None:
            raise
        on_failure(error)


def _cors(settings: Settings) -> list[Middleware]:
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


class _PathVariants:
    """Middleware that corrects paths that clients join wrongly.

    A base URL that ends in a slash gives `//rerank`, one that already has a version gives `/v1/v2/rerank`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # Starlette's routes also match a path that ends in a line break.
            path = re.sub(r"\n\Z", "\N{REPLACEMENT CHARACTER}", scope["path"])
            one_slash = re.sub("//+", "/", path).rstrip("/") or "/"
            scope = {**scope, "path": re.sub(r"^(/v\d)+(?=/v\d/)", "", one_slash)}
        await self.app(scope, receive, send)
