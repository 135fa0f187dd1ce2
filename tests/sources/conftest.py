"""Markers of the tests of sources."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "recording(name): the recording of a Redis server that the test replays")
