"""API keys: the file, the command that writes it, and requests with and without keys."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from commands import run_in_process
from loopback import wait_until
from podium.errors import InvalidInput
from podium.server.http.keys import Keys, add_key
from serving import REQUEST, ServerProcess


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer wrong", "Bearer", "Bearer {part}"],
    ids=["none", "wrong", "without a key", "part of the key"],
)
def test_request_without_valid_key_is_401(server_with_key, authorization):
    server, _, key = server_with_key
    headers = {} if authorization is None else {"authorization": authorization.format(part=key[:-1])}
    bodies = {"/v2/rerank": REQUEST, "/rerank": {"query": "a", "texts": ["b"]}, "/score": {}, "/search": {}}
    for path, body in bodies.items():
        reply = server.client.post(path, json=body, headers=headers)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "no valid API key" in reply.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 401) for path in ("/v1/models", "/info", "/metrics")),
        *((path, 200) for path in ("/health", "/ready", "/", "/docs", "/openapi.json")),
    ],
)
def test_paths_that_need_a_key(server_with_key, path, status):
    server, _, _ = server_with_key
    assert server.client.get(path).status_code == status


@pytest.mark.parametrize(
    "header", ["Bearer {}", "bearer {}", "{}"], ids=["bearer", "lower case", "without a scheme, as LlamaIndex's TEI client"]
)
def test_key_can_be_sent_as_authorization(server_with_key, header):
    server, _, key = server_with_key
    assert server.post("/v2/rerank", REQUEST, authorization=header.format(key)).status_code == 200


def test_key_can_be_sent_as_api_key(server_with_key):
    server, _, key = server_with_key
    assert server.post("/v2/rerank", REQUEST, api_key=key).status_code == 200
    assert server.post("/v2/rerank", REQUEST, api_key="wrong").status_code == 401


def test_file_contains_hashes_and_is_private(server_with_key):
    _, path, key = server_with_key
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_added_and_deleted_keys_take_effect_at_once(server_with_key):
    server, path, key = server_with_key
    other_key = add_key(path, "other-team")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {other_key}").status_code == 200
    lines = path.read_text().splitlines()
    path.write_text("# only the other team\n\n" + lines[1] + "\n")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 401
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {other_key}").status_code == 200


@pytest.mark.parametrize("damage", ["nonsense\n", None], ids=["invalid", "deleted"])
def test_last_valid_keys_are_used_while_the_file_is_unreadable(server_with_key, damage, caplog):
    server, path, key = server_with_key
    with caplog.at_level(logging.INFO, "podium"):
        path.unlink() if damage is None else path.write_text(damage)
        assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 200
        assert server.post("/v2/rerank", REQUEST).status_code == 401
    assert any("the last valid keys are used" in str(vars(record)) for record in caplog.records)


def test_last_key_can_be_deleted_and_another_added(server_with_key):
    server, path, key = server_with_key
    path.write_text("# no keys\n")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 401
    path.write_text("# no line break")
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {add_key(path, 'next')}").status_code == 200


def test_change_of_same_size_and_time_is_noticed(server_with_key):
    """`cp -p` and rsync keep the modification time, and write into the same file."""
    server, path, key = server_with_key
    stat = path.stat()
    text = path.read_text()
    other_digit = "1" if text[-2] == "0" else "0"
    path.write_text(text[:-2] + other_digit + "\n")  # the last digit of the key's hash is changed
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert server.post("/v2/rerank", REQUEST, authorization=f"Bearer {key}").status_code == 401


def test_names_in_the_file_are_unique(tmp_path):
    path = tmp_path / "keys.txt"
    add_key(path, "team")
    with pytest.raises(InvalidInput, match="already has a key named team"):
        add_key(path, "team")
    path.write_text(path.read_text() * 2)
    with pytest.raises(InvalidInput, match=r"line 2: a second key is named team; rename or delete one of them"):
        Keys(path)


def test_one_of_several_equal_names_is_added(tmp_path):
    def added(_):
        try:
            return bool(add_key(tmp_path / "keys.txt", "team"))
        except InvalidInput:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(added, range(40))) == 1
    Keys(tmp_path / "keys.txt")


@pytest.mark.parametrize(
    "name", ["", "two words", "#x", "x" * 65, "a\nb"], ids=["empty", "two words", "comment", "long", "two lines"]
)
def test_name_of_key_must_be_one_word(tmp_path, name):
    with pytest.raises(InvalidInput, match="one word"):
        add_key(tmp_path / "keys.txt", name)


def test_file_must_exist(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        Keys(tmp_path / "none.txt")


def create_key(folder, file):
    """Run `podium key` in a folder, and return the key that it prints."""
    command = [sys.executable, "-m", "podium", "key", "team", "--file", file]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()


def test_command_needs_an_existing_folder(tmp_path):
    code, _, err = run_in_process("key", "team", "--file", tmp_path / "none" / "keys.txt")
    assert code == 2
    assert "keys.txt cannot be written: No such file or directory; name a file in an existing folder" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_key_that_cannot_be_printed_is_an_error(tmp_path):
    command = [sys.executable, "-m", "podium", "key", "team", "--file", "keys.txt"]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert process.returncode == 1
    assert "nobody can use it; delete the line of team from keys.txt" in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_command_creates_a_key_for_the_server(tmp_path):
    key = create_key(tmp_path, "keys.txt")
    assert Keys(tmp_path / "keys.txt").key_name(f"Bearer {key}") == "team"
    with ServerProcess("--api-keys-file", "keys.txt", "--host", "0.0.0.0", cwd=tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}/v2/rerank"
        assert httpx.post(url, json=REQUEST).status_code == 401
        assert httpx.post(url, json=REQUEST, headers={"authorization": f"Bearer {key}"}).status_code == 200
        wait_until(lambda: "key=team" in server.log)
