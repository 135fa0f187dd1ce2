"""The dialects, one row each, and which of them a path speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.server import superset, tei, vllm, whole
from podium.server.calls import Call, Refusal
from podium.types import Ranking

__all__ = ["DIALECTS", "Dialect", "error_before_reading", "speaking"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How clients of one kind ask and are answered: pure functions, and what they take and give as JSON Schema.

    `refused` is the status of what is wrong with a request's fields, `marked` the field that tells its requests from
    others' on the same path.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Call]
    reply: Callable[[Call, Sequence[Ranking], str], Any]
    error: Callable[[Refusal, str], dict[str, Any]]
    request_schema: Mapping[str, Any]
    reply_schema: Mapping[str, Any]
    refused: int = 400
    marked: str | None = None


DIALECTS = (
    Dialect(
        "tei", "Text Embeddings Inference", ("/rerank",),
        tei.read, tei.reply, tei.error, tei.REQUEST, tei.REPLY, refused=422, marked="texts",
    ),
    Dialect(
        "cohere", "Cohere, Jina, Voyage, Together", ("/v2/rerank", "/v1/rerank", "/rerank"),
        superset.read, superset.reply, superset.error, superset.REQUEST, superset.REPLY,
    ),
    Dialect("vllm", "vLLM", ("/v1/score", "/score"), vllm.read, vllm.reply, vllm.error, vllm.REQUEST, vllm.REPLY),
    Dialect("podium", "podium", ("/rank",), whole.read, whole.reply, whole.error, whole.REQUEST, whole.REPLY),
)  # fmt: skip


def speaking(path: str, body: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a request: the first on its path whose mark it has, or that has none."""
    return next(row for row in DIALECTS if path in row.paths and (row.marked is None or row.marked in body))


def error_before_reading(path: str, refusal: Refusal, request: str) -> dict[str, Any]:
    """Return the body of an error that came before the request was read, for whichever client of the path it is."""
    spoken = [row for row in DIALECTS if path in row.paths] or DIALECTS[1:2]
    return {key: value for row in reversed(spoken) for key, value in row.error(refusal, request).items()}
