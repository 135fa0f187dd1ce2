"""What a server and its workers are started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a server's choices.

    `models` are names by which clients ask → what `podium.load` takes, as keyword arguments with its `name`; the first
    answers requests that name none. `max_memory` is bytes of bodies, decoded requests and replies together; the other
    limits are bytes, documents, characters, requests and seconds, as their names say.
    """

    models: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"podium-mini": {"name": "podium-mini"}})
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    keys_file: Path | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    index: str | None = None
    index_text: tuple[str, ...] = ()
    index_embed: str | None = None
    cache: str | None = None
    max_body: int = 32_000_000
    max_documents: int = 10_000
    max_characters: int = 1_000_000
    max_requests: int = 256
    max_memory: int = 512_000_000
    timeout: float = 60.0
    read_timeout: float = 15.0
    drain_timeout: float = 60.0
    log_format: str = "text"
