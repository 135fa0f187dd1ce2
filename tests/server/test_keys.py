"""API keys: the file, the command that writes it, and requests with and without them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import httpx
import pytest

from loopback import wait_until
from podium.errors import (
    InvalidInput,
)
from podium.server.http.keys import Keys, add_key
from serving import REQUEST, Process


def test_a_key_is_asked_for(keyed):
    server, _, key = keyed
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}, {"authorization": key[:-1]}):
        for path, body in (
            ("/v2/rerank", REQUEST),
            ("/rerank", {"query": "a", "texts": ["b"]}),
            ("/score", {}),
            ("/search", {}),
        ):
            refused = server.client.post(path, json=body, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "no valid API key" in refused.text
    for path in ("/v1/models", "/info", "/metrics"):
        assert server.client.get(path).status_code == 401
    for path in ("/health", "/ready", "/", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 200
    for authorization in (f"Bearer {key}", f"bearer {key}", key):  # the last as LlamaIndex's TEI client sends it
        assert server.post("/v2/rerank", REQUEST, authorization=authorization).status_code == 200


def test_keys_are_hashed_at_rest_and_read_again(keyed):
    server, path, key = keyed
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    second = add_key(path, "other-team")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {second}").status_code == 200
    lines = path.read_text().splitlines()
    path.write_text("# only the other team\n\n" + lines[1] + "\n")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 401
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {second}").status_code == 200


@pytest.mark.parametrize("damage", ["nonsense\n", None])
def test_while_the_keys_cannot_be_read_those_from_before_stay(keyed, damage, caplog):
    server, path, key = keyed
    with caplog.at_level(logging.INFO, "podium"):
        path.unlink() if damage is None else path.write_text(damage)
        assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 200
        assert server.post("/v2/rerank", REQUEST).status_code == 401
    assert any("the keys from before stay" in str(vars(record)) for record in caplog.records)


def test_the_last_key_can_be_taken_away_and_a_late_one_is_noticed(keyed):
    server, path, key = keyed
    path.write_text("# nobody\n")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 401
    path.write_text("# nobody")  # without an end of its line
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {add_key(path, 'next')}").status_code == 200


def test_a_copy_of_the_same_size_and_time_is_noticed(keyed):
    """`cp -p` and rsync keep the modification time, and write into the same file."""
    server, path, key = keyed
    before = path.stat()
    last = path.read_text()[-2]
    path.write_text(path.read_text()[:-2] + ("0" if last != "0" else "1") + "\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 401


def test_two_keys_of_one_name_are_refused(tmp_path):
    path = tmp_path / "keys.txt"
    add_key(path, "team")
    path.write_text(path.read_text() * 2)
    with pytest.raises(InvalidInput, match=r"line 2: a second key has the name team; rename or delete one of them"):
        Keys(path)


def test_a_key_may_be_sent_as_api_key(keyed):
    server, _, key = keyed
    assert server.post("/v2/rerank", REQUEST, api_key=key).status_code == 200
    assert server.post("/v2/rerank", REQUEST, api_key="wrong").status_code == 401


@pytest.mark.parametrize("name", ["", "two words", "#x", "x" * 65, "a\nb"])
def test_a_key_has_a_name_of_one_word(tmp_path, name):
    with pytest.raises(InvalidInput, match="one word"):
        add_key(tmp_path / "keys.txt", name)


def test_a_key_name_is_there_once(tmp_path):
    add_key(tmp_path / "keys.txt", "team")
    with pytest.raises(InvalidInput, match="has a key named team already"):
        add_key(tmp_path / "keys.txt", "team")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Keys(tmp_path / "none.txt")


def test_a_key_needs_a_folder_that_is_there(tmp_path):
    command = [sys.executable, "-m", "podium", "key", "team", "--file", str(tmp_path / "none" / "keys.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "keys.txt cannot be written: No such file or directory; name a file in a folder that is there" in done.stderr


def test_keys_are_made_by_a_command(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "podium", "key", "team", "--file", "keys.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.strip()
    assert Keys(tmp_path / "keys.txt").check(f"Bearer {key}") == "team"
    with Process("--api-keys-file", "keys.txt", "--host", "0.0.0.0", cwd=tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}/v2/rerank"
        assert httpx.post(url, json=REQUEST).status_code == 401
        assert httpx.post(url, json=REQUEST, headers={"authorization": f"Bearer {key}"}).status_code == 200
        wait_until(lambda: "key=team" in server.log)
