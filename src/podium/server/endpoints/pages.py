"""The files of the web pages: the playground, and the API's documentation."""

from __future__ import annotations

from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from podium.server.endpoints.openapi import description
from podium.server.endpoints.requests import json_response
from podium.server.state import state_of

__all__ = ["asset", "docs", "openapi", "playground"]

MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# Nothing is loaded from another host, and nothing inline runs, so a document that is shown cannot run code.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


async def playground(request: Request) -> Response:
    return _file("playground.html", "text/html")


async def docs(request: Request) -> Response:
    return _file("docs.html", "text/html")


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    return _file(name, MEDIA_TYPES.get(name.rpartition(".")[2], ""))


async def openapi(request: Request) -> Response:
    return json_response(description(needs_key=state_of(request).keys is not None))


def _file(name: str, media_type: str) -> Response:
    files = {file.name: file for file in (resources.files("podium.server") / "browser").iterdir()}
    if not media_type or name not in files:
        raise HTTPException(404)
    return Response(files[name].read_bytes(), headers=HEADERS, media_type=media_type)
