"""What a server's endpoints share: its choices, its models, who is in, who may come in, what was counted."""

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
    state: State = request.app.state.podium
    return state
