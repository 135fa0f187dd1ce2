"""FolderEncodings: nothing that was put is lost or mixed up, whatever is killed or damaged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from environment import ROOT
from podium.encodings.folder import MAX_RECENT, FolderEncodings


def key(number: int) -> bytes:
    return b"%016x" % (number * 0x9E3779B97F4A7C15 % 2**64)


def encoding(number: int) -> bytes:
    return b"%d." % number * (1 + number % 50)


def numbered(*numbers: int) -> dict[bytes, bytes]:
    return {key(number): encoding(number) for number in numbers}


def contents(store: FolderEncodings, *numbers: int) -> dict[bytes, bytes]:
    return {key: bytes(value) for key, value in store.get([key(number) for number in numbers]).items()}


def test_encodings_are_returned_by_every_store_on_the_folder(tmp_path):
    writer, reader = FolderEncodings(tmp_path / "e"), FolderEncodings(tmp_path / "e")
    assert contents(reader, 1) == {}
    writer.put(numbered(1, 2))
    assert contents(reader, 1, 2, 3) == numbered(1, 2)
    reader.put(numbered(2, 3))
    assert contents(writer, 1, 2, 3) == numbered(1, 2, 3)
    assert contents(FolderEncodings(tmp_path / "e"), 1, 2, 3) == numbered(1, 2, 3)


def test_many_keys_are_found_before_and_after_they_are_sorted(tmp_path):
    store = FolderEncodings(tmp_path)
    count = MAX_RECENT + 500
    for start in range(0, count, 2_000):
        store.put(numbered(*range(start, min(start + 2_000, count))))
    store.put(numbered(count, count + 1))
    everything = numbered(*range(count + 2))
    for opened in (store, FolderEncodings(tmp_path)):
        assert contents(opened, *range(count + 10)) == everything


def test_a_stored_encoding_is_not_written_again(tmp_path):
    store = FolderEncodings(tmp_path)
    store.put(numbered(1))
    size = (tmp_path / "0.data").stat().st_size
    store.put(numbered(1))
    assert (tmp_path / "0.data").stat().st_size == size


@pytest.mark.parametrize("name", ["0.data", "0.keys"])
def test_damage_makes_encodings_missing_and_never_wrong(tmp_path, name):
    numbers = range(40)
    draw = random.Random(3)
    for attempt in range(60):
        folder = tmp_path / str(attempt)
        FolderEncodings(folder).put(numbered(*numbers))
        content = bytearray((folder / name).read_bytes())
        if attempt % 3:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        else:
            del content[draw.randrange(len(content)) :]
        (folder / name).write_bytes(content)
        store = FolderEncodings(folder)
        assert contents(store, *numbers).items() <= numbered(*numbers).items()
        store.put(numbered(*numbers))
        assert contents(FolderEncodings(folder), *numbers) == numbered(*numbers)


def test_files_of_another_program_are_ignored(tmp_path):
    (tmp_path / "7.keys").write_text("not podium's")
    (tmp_path / "7.data").write_text("nor this")
    store = FolderEncodings(tmp_path)
    assert contents(store, 1) == {}
    store.put(numbered(1))
    assert contents(FolderEncodings(tmp_path), 1) == numbered(1)
    assert (tmp_path / "7.keys").read_text() == "not podium's"


def test_compaction_keeps_what_is_live_for_open_readers_too(tmp_path):
    store, reader = FolderEncodings(tmp_path), FolderEncodings(tmp_path)
    store.put(numbered(*range(100)))
    assert contents(reader, 5) == numbered(5)
    live = {key(number) for number in range(0, 100, 10)}
    before, after = store.compact(live)
    assert after < before / 5
    for opened in (store, reader, FolderEncodings(tmp_path)):
        assert contents(opened, *range(100)) == numbered(*range(0, 100, 10))
    reader.put(numbered(101))
    assert contents(store, 101) == numbered(101)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "lock") == ["1.data", "1.keys"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_folder import numbered
from podium.encodings.folder import FolderEncodings
store = FolderEncodings(Path(sys.argv[1]))
start = int(sys.argv[3])
while True:
    store.put(numbered(*range(start, start + 7)))
    start += 7
"""


def test_a_writer_that_is_killed_leaves_every_finished_encoding(tmp_path):
    draw, seen = random.Random(1), 0
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(ROOT / "tests" / "encodings"), str(seen)],
                                  env=os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")})  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not contents(FolderEncodings(tmp_path), seen):
            time.sleep(0.02)
        time.sleep(draw.random() * 0.05)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        store = FolderEncodings(tmp_path)
        count = len(contents(store, *range(seen, seen + 20_000)))
        assert count, "the writer did not start"
        assert contents(store, *range(seen, seen + count)) == numbered(*range(seen, seen + count))
        seen += count
    store = FolderEncodings(tmp_path)
    assert contents(store, *range(seen)) == numbered(*range(seen))
