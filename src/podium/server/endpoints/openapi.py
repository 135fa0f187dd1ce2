"""The OpenAPI description of the server, generated from the tables of the dialects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from podium.server.dialects import DIALECTS, cohere
from podium.server.dialects.call import Refusal
from podium.server.dialects.dialect import Dialect
from podium.server.dialects.fields import request_schema
from podium.server.endpoints import search

__all__ = ["openapi_document"]

Schema = Mapping[str, Any]

ERROR_DESCRIPTIONS = {
    400: "The request is not valid, or exceeds a limit",
    401: "No valid API key",
    403: "A page of another site, or an unknown host name",
    404: "No such model",
    408: "The body arrived too slowly",
    413: "The body is too large",
    415: "The Content-Type is one that pages of any site may send; send application/json",
    429: "Too many requests are in progress",
    500: "The server failed",
    502: "A provider behind the server failed",
    503: "The server is loading or shutting down, or a provider is unavailable",
    504: "Not done in time",
}
KEY_STATUSES = (401,)
"""Statuses that only a server with API keys returns."""
ORIGIN_STATUSES = (403, 415)
"""Statuses that only a server without API keys returns, because it checks where requests come from (see check_origin)."""
ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class PathWithoutBody:
    """A path whose requests have no body. `needs_key`: whether they need a key if the server has API keys."""

    method: str
    path: str
    summary: str
    needs_key: bool


PATHS_WITHOUT_BODY = (
    PathWithoutBody("post", "/v1/check-api-key", "Check the request's key, for clients of Cohere", needs_key=True),
    PathWithoutBody("get", "/v1/models", "The models, by the names that requests use", needs_key=True),
    PathWithoutBody("get", "/info", "The first model, as Text Embeddings Inference describes one", needs_key=True),
    PathWithoutBody("get", "/meta", "The first model in the same format, for Weaviate", needs_key=True),
    PathWithoutBody("get", "/health", "Whether the process runs", needs_key=False),
    PathWithoutBody("get", "/ready", "Whether requests are accepted", needs_key=False),
    PathWithoutBody("get", "/.well-known/live", "Whether the process runs, for Weaviate", needs_key=False),
    PathWithoutBody("get", "/.well-known/ready", "Whether requests are accepted, for Weaviate", needs_key=False),
)


def openapi_document(*, needs_key: bool, dialects: Sequence[Dialect] = DIALECTS) -> dict[str, Any]:
    """Return the OpenAPI document of a server. `needs_key`: whether the server has API keys, so most requests need one."""
    paths: dict[str, Any] = {}
    for path in dict.fromkeys(path for dialect in dialects for path in dialect.paths):
        paths[path] = {"post": _rerank_operation([dialect for dialect in dialects if path in dialect.paths], needs_key)}
    search_title = "Find candidates in the server's index"
    search_schema = request_schema(search.FIELDS, is_complete=True)
    paths["/search"] = {"post": _operation(search_title, search_schema, ANY_OBJECT, cohere.DIALECT, needs_key)}
    for row in PATHS_WITHOUT_BODY:
        is_guarded = needs_key and row.needs_key
        statuses = [503] if row.path.endswith("/ready") else []
        if row.needs_key:
            statuses += KEY_STATUSES if needs_key else (400, *ORIGIN_STATUSES)  # 400 for a malformed Host header
        responses = _responses(ANY_OBJECT, cohere.DIALECT, statuses)
        paths[row.path] = {row.method: {"summary": row.summary, "responses": responses, **_security(is_guarded)}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "podium", "version": version("podium"), "description": "Puts search results in order of relevance."},
        "paths": paths,
    }
    if needs_key:
        document["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    return document


def _rerank_operation(dialects: Sequence[Dialect], needs_key: bool) -> dict[str, Any]:
    """Return the operation of a path that these dialects share. Its schemas allow the bodies of all these dialects."""
    default = dialects[0]
    if len(dialects) == 1:
        return _operation(default.title, default.request_schema, default.reply_schema, default, needs_key)
    title = " · ".join(dialect.title for dialect in dialects)
    body_schema = {"anyOf": [{"title": dialect.title, **dialect.request_schema} for dialect in dialects]}
    reply_schema = {"anyOf": [dialect.reply_schema for dialect in dialects]}
    return _operation(title, body_schema, reply_schema, default, needs_key)


def _operation(title: str, body_schema: Schema, reply_schema: Schema, dialect: Dialect, needs_key: bool) -> dict[str, Any]:
    """Return an operation with a body. Its errors are in the format of `dialect`."""
    possible = (*ERROR_DESCRIPTIONS, 422)  # 422 is the status of an invalid request in some dialects
    impossible = ORIGIN_STATUSES if needs_key else KEY_STATUSES
    statuses = [status for status in possible if status not in impossible]
    return {
        "summary": title,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body_schema}}},
        "responses": _responses(reply_schema, dialect, statuses),
        **_security(needs_key),
    }


def _responses(reply_schema: Schema, dialect: Dialect, statuses: Sequence[int]) -> dict[str, Any]:
    """Return the responses of an operation: 200, and an error in the dialect's format for each of `statuses`."""
    responses = {"200": {"description": "Done", "content": {"application/json": {"schema": reply_schema}}}}
    for status in statuses:
        message = ERROR_DESCRIPTIONS[400 if status == 422 else status]
        example = dialect.error(Refusal(status, message), "…")
        content = {"application/json": {"schema": ANY_OBJECT, "example": example}}
        responses[str(status)] = {"description": message, "content": content}
    return responses


def _security(needs_key: bool) -> dict[str, Any]:
    return {"security": [{"key": []}]} if needs_key else {}
