"""Hashes of a model's files. Those of large files are stored, so that the next process does not read them again."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import pytest

from loopback import wait_until
from podium.local.files.versions import SETTLED_NS, STORED_FROM_BYTES

DIGEST = """
import sys
from pathlib import Path
from podium.local.files.versions import digest_of

print(digest_of([Path(sys.argv[1])]))
"""


@pytest.fixture
def weights(tmp_path):
    """A large file that has not changed for some time."""
    path = tmp_path / "weights"
    path.write_bytes(b"a" * STORED_FROM_BYTES)
    wait_until(lambda: time.time_ns() > path.stat().st_ctime_ns + SETTLED_NS)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PODIUM_CACHE", str(folder))
    return folder


def digest_in_a_process(path):
    return subprocess.run([sys.executable, "-c", DIGEST, path], capture_output=True, text=True, check=True).stdout.strip()


def stored_files(cache):
    return list((cache / "digests").glob("*"))


def test_stored_hash_is_used_until_the_file_changes(weights, cache):
    digest = digest_in_a_process(weights)
    assert digest == hashlib.sha256(weights.read_bytes()).hexdigest()
    (stored,) = stored_files(cache)
    assert stored.read_text() == digest
    stored.write_text("0" * 64)
    assert digest_in_a_process(weights) == "0" * 64
    status = weights.stat()
    weights.write_bytes(b"b" * STORED_FROM_BYTES)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))  # copying programs keep this time
    assert digest_in_a_process(weights) == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", [b"", b"0" * 63, b"\xff" * 64, b"0" * 64 + b"\n"], ids=["empty", "short", "bytes", "line"])
def test_damaged_hash_is_computed_again(weights, cache, damage):
    digest = digest_in_a_process(weights)
    (stored,) = stored_files(cache)
    stored.write_bytes(damage)
    assert digest_in_a_process(weights) == digest
    assert stored.read_text() == digest


def test_hash_of_a_file_that_has_just_changed_is_not_stored(tmp_path, cache):
    """It could change again within the resolution of its time of change."""
    path = tmp_path / "weights"
    path.write_bytes(b"a" * STORED_FROM_BYTES)
    in_an_hour = time.time_ns() + 3600 * 10**9
    os.utime(path, ns=(in_an_hour, in_an_hour))  # because a busy machine may start the process later than SETTLED_NS
    digest_in_a_process(path)
    assert stored_files(cache) == []
