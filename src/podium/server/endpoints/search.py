"""The endpoint /search: candidates from the server's index, which the page then reranks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from podium.documents import as_json, id_of
from podium.errors import SourceError
from podium.inputs import checked_query
from podium.search import search_source
from podium.server.dialects.call import Refusal
from podium.server.dialects.fields import COUNT, QUERY, Field, check_names, read_fields
from podium.server.endpoints.requests import Record, json_response
from podium.server.endpoints.rerank import received_body, within_time_limit
from podium.server.endpoints.sizes import document_size
from podium.server.http.memory import request_memory
from podium.server.state import State
from podium.sources.memory import limited_by
from podium.threads import to_thread
from podium.types import Candidates

__all__ = ["FIELDS", "search"]

DEFAULT_CANDIDATES = 20
MAX_CANDIDATES = 1000
MAX_OFFSET = 10_000  # limited, because a source has to find and sort all documents before the offset
MAX_QUERY_CHARACTERS = 10_000  # limited, because a source looks up every word of the query
REPLY_BYTES_PER_CHARACTER = 12  # an escape such as \u00e9 has six characters, and is in memory as a string and as bytes
BYTES_PER_CANDIDATE = 12_000  # reserved before a search; podium's sources reserve more for each document that they load

FIELDS = (
    QUERY,
    Field(
        "candidates",
        COUNT,
        f"Number of documents; {DEFAULT_CANDIDATES} if absent. More than {MAX_CANDIDATES:,} are never returned.",
        argument="candidates",
    ),
    Field("offset", COUNT, f"Number of the best documents to skip, at most {MAX_OFFSET:,}.", argument="offset"),
)


async def search(request: Request, state: State, record: Record) -> Response:
    """Return the documents that the server's index finds for a query, in the order of the index."""
    body = await received_body(request, state, record)
    check_names(FIELDS, body.content)
    values = read_fields(FIELDS, body.content)
    query = checked_query(values["query"])
    candidates = min(values.get("candidates", DEFAULT_CANDIDATES), MAX_CANDIDATES)
    offset = values.get("offset", 0)
    if len(query) > MAX_QUERY_CHARACTERS:
        raise Refusal(400, f"the query has {len(query):,} characters; /search accepts {MAX_QUERY_CHARACTERS:,}")
    if offset > MAX_OFFSET:
        raise Refusal(400, f"offset must be at most {MAX_OFFSET:,}")
    source = state.models.searched_source()
    memory = request_memory(request)
    expected_bytes = candidates * BYTES_PER_CANDIDATE
    with state.admission.slot("search", is_only_model=False):  # searches leave some slots to the models
        memory.grow(expected_bytes)
        start = time.perf_counter()
        with limited_by(memory.grow):  # podium's sources call it for each document
            documents = await within_time_limit(
                lambda: search_source(source, query, candidates, offset), request, state.settings
            )
        seconds = time.perf_counter() - start
    reply_bytes = await to_thread(_reply_bytes, documents)
    memory.grow(reply_bytes - expected_bytes)  # the memory reserved for the search is now the memory of its reply
    reply: dict[str, Any] = {
        "total": None,
        "notes": [],
        "fields": list(getattr(source, "text_fields", None) or ()),  # a user's source may not have this attribute
        "seconds": seconds,
    }
    if isinstance(documents, Candidates):  # a user's source may return a list
        reply |= {"total": documents.total, "notes": list(documents.notes)}
    return await to_thread(_response, reply, documents)


def _reply_bytes(documents: Sequence[Any]) -> int:
    """Return about how many bytes of memory a reply with these documents takes."""
    return REPLY_BYTES_PER_CHARACTER * sum(document_size(document).character_count for document in documents)


def _response(reply: dict[str, Any], documents: Sequence[Any]) -> Response:
    """Return the response with a reply and its documents. Raises SourceError if a document is nested too deeply."""
    return json_response({"documents": [_json_document(document) for document in documents], **reply})


def _json_document(document: Any) -> Any:
    try:
        return as_json(document)
    except RecursionError:
        raise SourceError(
            f"document {id_of(document)!r:.100} of the index is nested too deeply; index it again without its inner lists"
        ) from None
