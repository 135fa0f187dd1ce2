"""Fixtures of the server's tests."""

from __future__ import annotations

import pytest

from podium.server.http.keys import add_key
from podium.server.settings import Settings
from serving import ServerThread, rerankers


@pytest.fixture
def server_with_key(tmp_path):
    """Return a running server with one API key, the path of its file of keys, and the key."""
    path = tmp_path / "keys.txt"
    key = add_key(path, "search-team")
    with ServerThread(Settings(keys_file=path), rerankers=rerankers()) as server:
        yield server, path, key
