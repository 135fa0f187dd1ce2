"""The files of the web pages (the playground and the API's documentation), and the OpenAPI document."""

from __future__ import annotations

from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from podium.server.endpoints.openapi import openapi_document
from podium.server.endpoints.requests import json_response
from podium.server.state import state_of

__all__ = ["asset", "docs", "openapi", "playground"]

MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# With these headers, a browser loads no files from other hosts and runs no inline scripts. So a document cannot run code.
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
    return _file_response("playground.html", "text/html")


async def docs(request: Request) -> Response:
    return _file_response("docs.html", "text/html")


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    return _file_response(name, MEDIA_TYPES.get(name.rpartition(".")[2], ""))


async def openapi(request: Request) -> Response:
    state = state_of(request)
    return json_response(openapi_document(needs_key=state.keys is not None, dialects=state.dialects))


def _file_response(name: str, media_type: str) -> Response:
    """Return a file of the folder `browser`. Raises HTTPException 404 if there is no such file, or if `media_type` is ""."""
    files = {file.name: file for file in (resources.files("podium.server") / "browser").iterdir()}
    if not media_type or name not in files:
        raise HTTPException(404)
    return Response(files[name].read_bytes(), headers=HEADERS, media_type=media_type)
