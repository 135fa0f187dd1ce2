"""The API's description, made from the dialects' own tables."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from podium.server.dialects import DIALECTS, cohere
from podium.server.dialects.call import Dialect, Refusal

__all__ = ["description"]

REFUSED = {
    400: "Not understood, or more than is taken",
    401: "No valid key",
    404: "No such model",
    408: "The body came too slowly",
    413: "The body is too large",
    429: "Too many requests are waiting",
    500: "The server failed",
    502: "A provider behind the server failed",
    503: "Loading, shutting down, or a provider is not there",
    504: "Not done in time",
}
ANYTHING = {"type": "object"}
SEARCH = {
    "type": "object",
    "required": ["query"],
    "properties": {
        "query": {"type": "string", "minLength": 1},
        "candidates": {"type": ["integer", "null"], "minimum": 0},
        "offset": {"type": ["integer", "null"], "minimum": 0},
    },
}
WITHOUT_BODY = (  # method, path, summary, whether it needs a key
    ("post", "/v1/check-api-key", "Whether the request's key is valid, for Cohere's clients", True),
    ("get", "/v1/models", "The models, by the names that requests use", True),
    ("get", "/info", "The first model, as Text Embeddings Inference describes one", True),
    ("get", "/meta", "The same, for Weaviate", True),
    ("get", "/health", "Whether the process lives", False),
    ("get", "/ready", "Whether requests are taken", False),
    ("get", "/.well-known/live", "Whether the process lives, for Weaviate", False),
    ("get", "/.well-known/ready", "Whether requests are taken, for Weaviate", False),
)


def description(keys: bool) -> dict[str, Any]:
    """Return the OpenAPI document. `keys`: requests need one."""
    paths: dict[str, Any] = {}
    for path in dict.fromkeys(path for row in DIALECTS for path in row.paths):
        paths[path] = {"post": _posted([row for row in DIALECTS if path in row.paths], keys)}
    paths["/search"] = {"post": _operation("Find candidates in the server's index", SEARCH, ANYTHING, cohere.DIALECT, keys)}
    for method, path, summary, guarded in WITHOUT_BODY:
        answers = _answers(ANYTHING, cohere.DIALECT, (401,) if keys and guarded else (503,) if path.endswith("/ready") else ())
        paths[path] = {method: {"summary": summary, "responses": answers, **_security(keys and guarded)}}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "podium", "version": version("podium"), "description": "Puts search results in order of relevance."},
        "paths": paths,
    }
    if keys:
        described["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    return described


def _posted(rows: list[Dialect], keys: bool) -> dict[str, Any]:
    """Return one operation for all who speak on a path; where they are several, a body is one of theirs."""
    if len(rows) == 1:
        return _operation(rows[0].title, rows[0].request_schema, rows[0].reply_schema, rows[0], keys)
    asked = {"anyOf": [{"title": row.title, **row.request_schema} for row in rows]}
    given = {"anyOf": [row.reply_schema for row in rows]}
    return _operation(" · ".join(row.title for row in rows), asked, given, rows[0], keys)


def _operation(title: str, asked: Any, given: Any, row: Dialect, keys: bool) -> dict[str, Any]:
    statuses = [status for status in (*REFUSED, 422) if (status != 401 or keys)]
    return {
        "summary": title,
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": _answers(given, row, statuses),
        **_security(keys),
    }


def _answers(given: Any, row: Dialect, statuses: Any) -> dict[str, Any]:
    answers = {"200": {"description": "Done", "content": {"application/json": {"schema": given}}}}
    for status in statuses:
        example = row.error(Refusal(status, REFUSED.get(status, REFUSED[400])), "…")
        content = {"application/json": {"schema": {"type": "object"}, "example": example}}
        answers[str(status)] = {"description": REFUSED.get(status, REFUSED[400]), "content": content}
    return answers


def _security(keys: bool) -> dict[str, Any]:
    return {"security": [{"key": []}]} if keys else {}
