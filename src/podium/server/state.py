"""State: the settings, models, dialects, limits, API keys and metrics that all endpoints share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from podium.server.dialects.dialect import Dialect
from podium.server.http.admission import Admission
from podium.server.http.keys import Keys
from podium.server.models import Models
from podium.server.settings import Settings
from podium.server.telemetry.metrics import Metrics

__all__ = ["State", "state_of"]


@dataclass(frozen=True, slots=True)
class State:
    """What the endpoints of an application share. `keys` is None if requests need no API key."""

    settings: Settings
    models: Models
    dialects: Sequence[Dialect]
    admission: Admission
    keys: Keys | None
    metrics: Metrics


def state_of(request: Request) -> State:
    """Return the state of the application that handles a request."""
    state: State = request.app.state.podium
    return state
