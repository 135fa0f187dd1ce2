"""What a server says of itself: its models, whether it lives, whether it is ready, its metrics."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from podium.ranking import Reranker
from podium.scorers import as_scorer
from podium.server.endpoints.requests import Seen, as_json
from podium.server.state import State, state_of

__all__ = ["check_api_key", "health", "info", "metrics", "models", "ready"]


async def health(request: Request) -> Response:
    """Say that the process lives; nothing of models, so that loading one is no reason to be killed."""
    return as_json({"status": "ok"})


async def ready(request: Request) -> Response:
    """Say whether requests are taken: models are loaded and the server is not shutting down."""
    state = state_of(request)
    why = "draining" if state.admission.draining else "loading" if not state.models.loaded else None
    return as_json({"status": why}, 503, **{"retry-after": "1"}) if why else as_json({"status": "ready"})


async def models(request: Request, state: State, seen: Seen) -> Response:
    """List the models as OpenAI's and vLLM's clients expect, with what podium knows of each."""
    data = [_model(name, reranker) for name, reranker in state.models.rerankers.items()]
    return as_json({"object": "list", "data": data, "search": state.models.source is not None})


async def info(request: Request, state: State, seen: Seen) -> Response:
    """Describe the first model as Text Embeddings Inference does."""
    reranker = state.models.rerankers[state.models.served_name(None)]
    scorer = as_scorer(reranker.scorer)
    return as_json(
        {
            "model_id": reranker.model,
            "model_sha": reranker.scorer.revision,
            "model_dtype": scorer.precision,
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_concurrent_requests": state.settings.max_requests,
            "max_input_length": scorer.max_length,
            "max_batch_tokens": 16384,
            "max_client_batch_size": state.settings.max_documents,
            "auto_truncate": True,
            "tokenization_workers": scorer.threads or 1,
            "version": version("podium"),
        }
    )


async def check_api_key(request: Request, state: State, seen: Seen) -> Response:
    """Answer Cohere's check of a key. A wrong key never gets here: it is a 401 before."""
    return as_json({"valid": True, "organization_id": "", "owner_id": ""})


async def metrics(request: Request, state: State, seen: Seen) -> Response:
    written, media_type = state.metrics.written()
    return Response(written, media_type=media_type)


def _model(name: str, reranker: Reranker) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "podium",
        "root": reranker.model,
        "revision": reranker.scorer.revision,
        "score_kind": reranker.scorer.score_kind,
        "max_model_len": as_scorer(reranker.scorer).max_length,
    }
