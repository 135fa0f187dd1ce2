"""The cache directory: files that were not used for a long time are deleted."""

from __future__ import annotations

import os
import time

import pytest

import podium
from environment import NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS
from podium.local.cache import UNUSED_DAYS, delete_unused, mark_used

CACHES = [pytest.param("onnx", "int8", marks=NEEDS_ONNX), pytest.param("native", "native", marks=NEEDS_CORE)]
"""Runtimes, each with the folder of its cached weights."""


def write(path, age_in_days):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    seconds = time.time() - age_in_days * 24 * 60 * 60
    os.utime(path, (seconds, seconds))


def test_files_that_were_not_used_are_deleted(tmp_path):
    write(tmp_path / "old", UNUSED_DAYS + 1)
    write(tmp_path / ".old.unfinished", UNUSED_DAYS + 1)
    write(tmp_path / "recent", UNUSED_DAYS - 1)
    write(tmp_path / "folder" / "old", UNUSED_DAYS + 1)
    delete_unused(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "recent"]
    delete_unused(tmp_path / "missing")


def test_used_file_is_not_deleted(tmp_path):
    write(tmp_path / "old", UNUSED_DAYS + 1)
    mark_used(tmp_path / "old")
    delete_unused(tmp_path)
    assert (tmp_path / "old").exists()
    mark_used(tmp_path / "missing")


def test_time_of_a_file_that_was_used_today_stays(tmp_path):
    write(tmp_path / "file", 0.5)
    before = (tmp_path / "file").stat().st_mtime_ns
    mark_used(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mtime_ns == before


@pytest.mark.parametrize(("runtime", "folder"), CACHES)
def test_writing_weights_deletes_those_that_were_not_used(tmp_path, monkeypatch, runtime, folder):
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "cache"))

    def load(name):
        with podium.load(PARITY_MODELS / name, precision="int8", runtime=runtime):
            return set((tmp_path / "cache" / folder).iterdir())

    (used,) = load("electra")
    write(used.with_name("unused"), UNUSED_DAYS + 1)
    long_ago = time.time() - (UNUSED_DAYS + 1) * 24 * 60 * 60
    os.utime(used, (long_ago, long_ago))
    assert load("electra") == {used, used.with_name("unused")}
    assert len(load("bert") - {used}) == 1
    assert used.exists()
