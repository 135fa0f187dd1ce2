"""The server as an ASGI application: which path leads where, and what happens when it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from podium.ranking import Reranker
from podium.server.dialects import DIALECTS
from podium.server.endpoints import about, pages
from podium.server.endpoints.requests import endpoint, unrouted
from podium.server.endpoints.rerank import rerank
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

THREADS = 64  # for short steps that would hold up the event loop; models and sources that block have threads of their own


def create_app(
    settings: Settings | None = None,
    *,
    rerankers: Mapping[str, Reranker] | None = None,
    source: Source | None = None,
    failed: Callable[[BaseException], None] | None = None,
) -> Starlette:
    """Return the application. `rerankers` by name are served as they are; else those of the settings, loaded at its start.

    `failed` is told where loading fails, which no request can see.
    """
    settings = settings or Settings()
    state = State(
        settings,
        Models(rerankers or {}, source),
        Admission(settings.max_requests, settings.max_memory),
        Keys(settings.keys_file) if settings.keys_file else None,
        Metrics(),
    )
    app = Starlette(
        routes=_routes(),
        lifespan=lambda _: _running(state, failed),
        middleware=[Middleware(RequestMemory, admission=state.admission), Middleware(_PathVariants), *_cors(settings)],
        exception_handlers={HTTPException: unrouted, Exception: unrouted},
    )
    app.state.podium = state
    return app


def _routes() -> list[Route]:
    paths = dict.fromkeys(path for dialect in DIALECTS for path in dialect.paths)
    return [
        *(Route(path, endpoint(rerank), methods=["POST"]) for path in paths),
        Route("/v1/check-api-key", endpoint(about.check_api_key), methods=["POST"]),
        Route("/search", endpoint(pages.search), methods=["POST"]),
        Route("/v1/models", endpoint(about.models)),
        Route("/info", endpoint(about.info)),
        Route("/metrics", endpoint(about.metrics)),
        Route("/health", about.health),
        Route("/ready", about.ready),
        Route("/.well-known/live", about.health),  # Weaviate asks these two and /meta when it starts
        Route("/.well-known/ready", about.ready),
        Route("/meta", endpoint(about.info)),
        Route("/openapi.json", pages.openapi),
        Route("/docs", pages.docs),
        Route("/", pages.playground),
        Route("/page/{name}", pages.asset),
    ]


@contextlib.asynccontextmanager
async def _running(state: State, failed: Callable[[BaseException], None] | None) -> AsyncIterator[None]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="podium-server"))
    loading = asyncio.ensure_future(_load(state, failed))
    try:
        yield
    finally:
        loading.cancel()
        await state.models.close()


async def _load(state: State, failed: Callable[[BaseException], None] | None) -> None:
    began = time.monotonic()
    try:
        await state.models.load(state.settings)
        log("ready", models=",".join(state.models.names), seconds=round(time.monotonic() - began, 2), process=os.getpid())
    except Exception as error:
        if failed is None:
            raise
        failed(error)


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
    """Middleware that maps the paths that clients join wrongly to the one they mean.

    A base URL that ends in a slash gives `//rerank`, one that already has a version gives `/v1/v2/rerank`.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            # Starlette's routes also match a path that ends in a line break.
            path = re.sub(r"\n\Z", "\N{REPLACEMENT CHARACTER}", scope["path"])
            one_slash = re.sub("//+", "/", path).rstrip("/") or "/"
            scope = {**scope, "path": re.sub(r"^(/v\d)+(?=/v\d/)", "", one_slash)}
        await self.app(scope, receive, send)
