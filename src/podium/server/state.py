"""What endpoints share: settings, models, admission, API keys and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from podium.server.http.admission import Admission
from podium.server.http.keys import Keys
from podium.server.models import Models
from podium.server.settings import Settings
from podium.server.telemetry.metrics import Metrics

__all__ = ["State", "state_of"]


@dataclass(frozen=True, slots=True)
class State:
    settings: Settings
    models: Models
    admission: Admission
    keys: Keys | None
    metrics: Metrics


def state_of(request: Request) -> State:
    """Return the state of the application that handles a request."""
    state: State = request.app.state.podium
    return state
