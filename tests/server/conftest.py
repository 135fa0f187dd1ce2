"""Fixtures of the server's tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podium.server.http.keys import add_key
from podium.server.settings import Settings
from serving import Serving, rerankers


@pytest.fixture
def keyed(tmp_path):
    path = tmp_path / "keys.txt"
    key = add_key(path, "search-team")
    with Serving(replace(Settings(), keys_file=path), rerankers=rerankers()) as server:
        yield server, path, key
