"""Endpoints about the server itself: its models, health, readiness and metrics."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from podium.ranking import Reranker
from podium.scorers import as_scorer
from podium.server.endpoints.requests import Record, json_response
from podium.server.state import State, state_of

__all__ = ["check_api_key", "health", "info", "metrics", "models", "ready"]


async def health(request: Request) -> Response:
    """Answer that the process runs, also while models load, so that an orchestrator does not kill it."""
    return json_response({"status": "ok"})


async def ready(request: Request) -> Response:
    """Answer whether requests are accepted. They are if the models are loaded and the server is not shutting down."""
    state = state_of(request)
    if state.admission.is_draining:
        return json_response({"status": "draining"}, 503, **{"retry-after": "1"})
    if not state.models.is_loaded:
        return json_response({"status": "loading"}, 503, **{"retry-after": "1"})
    return json_response({"status": "ready"})


async def models(request: Request, state: State, record: Record) -> Response:
    """List the models in the format of OpenAI and vLLM. The field `search` tells the page whether the server has an index."""
    data = [_model_entry(name, reranker) for name, reranker in state.models.rerankers.items()]
    return json_response({"object": "list", "data": data, "search": state.models.source is not None})


async def info(request: Request, state: State, record: Record) -> Response:
    """Describe the first model in the format of Text Embeddings Inference."""
    reranker = state.models.rerankers[state.models.served_name(None)]
    scorer = as_scorer(reranker.scorer)
    return json_response(
        {
            "model_id": reranker.model,
            "model_sha": scorer.revision,
            "model_dtype": scorer.precision,
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_concurrent_requests": state.settings.max_requests,
            "max_input_length": scorer.max_length,
            "max_batch_tokens": 16384,  # TEI's default; podium has no such limit
            "max_client_batch_size": state.settings.max_documents,
            "auto_truncate": True,
            "tokenization_workers": scorer.threads or 1,
            "version": version("podium"),
        }
    )


async def check_api_key(request: Request, state: State, record: Record) -> Response:
    """Answer a request of Cohere's clients that checks their key. A request with an invalid key does not get here."""
    return json_response({"valid": True, "organization_id": "", "owner_id": ""})


async def metrics(request: Request, state: State, record: Record) -> Response:
    """Return the metrics in the text format of Prometheus."""
    text, media_type = state.metrics.text()
    return Response(text, media_type=media_type)


def _model_entry(name: str, reranker: Reranker) -> dict[str, object]:
    scorer = as_scorer(reranker.scorer)
    return {
        "id": name,
        "object": "model",
        "created": 0,  # unknown, but OpenAI's format requires it
        "owned_by": "podium",
        "root": reranker.model,
        "revision": scorer.revision,
        "score_kind": scorer.score_kind,
        "max_model_len": scorer.max_length,
    }
