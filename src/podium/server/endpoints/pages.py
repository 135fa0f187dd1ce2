"""The pages and what only they use: the playground, the API's description, a search for candidates."""

from __future__ import annotations

import asyncio
import time
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from podium.documents import as_json as document_as_json
from podium.inputs import checked_query
from podium.search import search_source
from podium.server.dialects.call import Refusal, count, text
from podium.server.endpoints.openapi import description
from podium.server.endpoints.requests import Seen, as_json
from podium.server.endpoints.rerank import characters_of, in_time, posted
from podium.server.http.memory import room_of
from podium.server.state import State, state_of
from podium.types import Candidates

__all__ = ["asset", "docs", "openapi", "playground", "search"]

CANDIDATES, MAX_CANDIDATES = 20, 1000
MAX_QUERY_CHARACTERS = 10_000  # a search looks up every word
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# Nothing from another host, nothing inline: a document that is shown can't run anything.
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
    return as_json(description(state_of(request).keys is not None))


async def search(request: Request, state: State, seen: Seen) -> Response:
    """Return what the server's index finds for a query, best first, for the page to have reranked."""
    body = await posted(request, state, seen)
    query = checked_query(text(body, "query"))
    if len(query) > MAX_QUERY_CHARACTERS:
        raise Refusal(400, f"the query has {len(query):,} characters; /search takes {MAX_QUERY_CHARACTERS:,}")
    candidates = min(count(body, "candidates") or CANDIDATES, MAX_CANDIDATES)
    offset = count(body, "offset") or 0
    if (source := state.models.source) is None:
        raise Refusal(404, "this server was started without an index; podium serve --index PLACE gives it one")
    with state.admission.place("search", only_model=False):
        began = time.perf_counter()
        found = await in_time(lambda: search_source(source, query, candidates, offset), request, state.settings)
        seconds = time.perf_counter() - began
    # As text and as bytes, each character at most as an escape of six.
    room_of(request).grow(sum(12 * characters_of(document) for document in found))
    documents = [document_as_json(document) for document in found]
    fields = list(getattr(source, "text_fields", None) or ())
    total, notes = (found.total, found.notes) if isinstance(found, Candidates) else (None, ())
    answer = {"documents": documents, "total": total, "notes": list(notes), "fields": fields, "seconds": seconds}
    return await asyncio.to_thread(as_json, answer)


def _file(name: str, media_type: str) -> Response:
    files = {file.name: file for file in (resources.files("podium.server") / "browser").iterdir()}
    if not media_type or name not in files:
        raise HTTPException(404)
    return Response(files[name].read_bytes(), headers=HEADERS, media_type=media_type)
