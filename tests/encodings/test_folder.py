"""FolderEncodings: encodings are never lost or confused, even if processes are killed or files are damaged."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import filelock
import numpy as np
import pytest

from environment import ROOT
from loopback import wait_until
from podium.encodings.folder import FolderEncodings
from podium.encodings.generation import MAGIC, MAX_RECENT
from podium.errors import SourceError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


def key(number: int) -> bytes:
    """Return the key of a test's encoding. The multiplication spreads keys over all values, as hashes are."""
    return b"%016x" % (number * 0x9E3779B97F4A7C15 % 2**64)


def encoding(number: int) -> bytes:
    """Return a test's encoding, whose length depends on its number."""
    return b"%d." % number * (1 + number % 50)


def numbered(*numbers: int) -> dict[bytes, bytes]:
    """Return the encodings with these numbers, by their keys."""
    return {key(number): encoding(number) for number in numbers}


def patient_store(folder: Path) -> FolderEncodings:
    """Return a store that waits up to a minute until it can write, because the machine may be busy."""
    return FolderEncodings(folder, put_seconds=60)


def contents(store: FolderEncodings, *numbers: int) -> dict[bytes, bytes]:
    """Return those of the encodings with these numbers that the store has, by their keys."""
    return {key: bytes(value) for key, value in store.get([key(number) for number in numbers]).items()}


def test_encodings_are_returned_by_every_store_on_the_folder(tmp_path):
    first_store = FolderEncodings(tmp_path / "e")
    second_store = FolderEncodings(tmp_path / "e")
    assert contents(second_store, 1) == {}
    first_store.put(numbered(1, 2))
    assert contents(second_store, 1, 2, 3) == numbered(1, 2)
    second_store.put(numbered(2, 3))
    assert contents(first_store, 1, 2, 3) == numbered(1, 2, 3)
    assert contents(FolderEncodings(tmp_path / "e"), 1, 2, 3) == numbered(1, 2, 3)


def test_many_keys_are_found_before_and_after_they_are_sorted(tmp_path):
    store = FolderEncodings(tmp_path)
    count = MAX_RECENT + 500
    for start in range(0, count, 2_000):
        store.put(numbered(*range(start, min(start + 2_000, count))))
    store.put(numbered(count, count + 1))
    expected = numbered(*range(count + 2))
    for reader in (store, FolderEncodings(tmp_path)):
        assert contents(reader, *range(count + 10)) == expected


def test_stored_encoding_is_not_written_again(tmp_path):
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
    (tmp_path / "notes.keys").write_text("")
    store = FolderEncodings(tmp_path)
    assert contents(store, 1) == {}
    store.put(numbered(1))
    assert contents(FolderEncodings(tmp_path), 1) == numbered(1)
    store.compact({key(1)})
    assert contents(FolderEncodings(tmp_path), 1) == numbered(1)
    assert (tmp_path / "7.keys").read_text() == "not podium's"


@pytest.mark.parametrize("name", ["0.data", "0.keys"])
def test_named_pipe_is_not_opened(tmp_path, name):
    """Opening a named pipe would wait until another process writes to it."""
    FolderEncodings(tmp_path).put(numbered(1))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    store = FolderEncodings(tmp_path)
    assert contents(store, 1) == {}
    store.put(numbered(2))
    assert contents(store, 1, 2) == numbered(2)
    store.compact({key(2)})
    assert contents(store, 2) == numbered(2)


@pytest.mark.parametrize("name", ["0.data.unfinished", "0.keys.unfinished"])
def test_new_generation_does_not_overwrite_the_target_of_a_link(tmp_path, name):
    (tmp_path / "target").write_text("a file of the user")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / name).symlink_to(tmp_path / "target")
    FolderEncodings(tmp_path / "e").put(numbered(1))
    assert (tmp_path / "target").read_text() == "a file of the user"
    assert contents(FolderEncodings(tmp_path / "e"), 1) == numbered(1)


def test_files_that_replace_those_of_an_open_store_are_read_instead(tmp_path):
    """The store must not use positions in the old files to read the new ones."""
    store = FolderEncodings(tmp_path / "store")
    store.put(numbered(*range(10)))
    assert len(contents(store, *range(10))) == 10
    for count in (60, 5):
        shutil.rmtree(tmp_path / "store")
        FolderEncodings(tmp_path / "store").put(numbered(*reversed(range(count))))
        assert contents(store, *range(count)) == numbered(*range(count))
        assert contents(store, *range(count, 70)) == {}


def test_records_of_a_file_that_grew_are_ignored_and_overwritten(tmp_path):
    FolderEncodings(tmp_path).put(numbered(*range(10)))
    size = (tmp_path / "0.keys").stat().st_size
    os.truncate(tmp_path / "0.keys", 1 << 38)  # a sparse file, which takes no space
    store = FolderEncodings(tmp_path)
    for _ in range(3):
        assert contents(store, *range(20)) == numbered(*range(10))
    store.put(numbered(*range(20)))
    assert (tmp_path / "0.keys").stat().st_size < 3 * size
    for reader in (store, FolderEncodings(tmp_path)):
        assert contents(reader, *range(20)) == numbered(*range(20))


def test_encodings_of_a_file_that_was_truncated_are_missing(tmp_path):
    store = FolderEncodings(tmp_path)
    store.put(numbered(*range(1000)))
    assert len(contents(store, *range(1000))) == 1000
    os.truncate(tmp_path / "0.data", 100)
    assert len(contents(store, *range(1000))) < 20


def test_compaction_keeps_live_encodings_also_for_open_readers(tmp_path):
    store = FolderEncodings(tmp_path)
    reader = FolderEncodings(tmp_path)
    store.put(numbered(*range(100)))
    assert contents(reader, 5) == numbered(5)
    live = {key(number) for number in range(0, 100, 10)}
    bytes_before, bytes_after = store.compact(live)
    assert bytes_after < bytes_before / 5
    for each_store in (store, reader, FolderEncodings(tmp_path)):
        assert contents(each_store, *range(100)) == numbered(*range(0, 100, 10))
    reader.put(numbered(101))
    assert contents(store, 101) == numbered(101)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "lock") == ["1.data", "1.keys"]


def test_compaction_deletes_unfinished_files_of_killed_processes(tmp_path):
    store = FolderEncodings(tmp_path)
    store.put(numbered(1))
    for name in ("1.keys.unfinished", "0123456789abcdef.data.unfinished", "my.unfinished"):
        (tmp_path / name).write_bytes(MAGIC)
    store.compact({key(1)})
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "1.data", "1.keys", "my.unfinished"}


@pytest.mark.parametrize("name", ["3.data", "3.keys"])
def test_compaction_deletes_the_file_of_an_incomplete_generation(tmp_path, name):
    """A process that is killed while it renames or deletes the two files leaves one of them."""
    store = FolderEncodings(tmp_path)
    store.put(numbered(1, 2))
    (tmp_path / name).write_bytes(MAGIC + bytes(1_000))
    bytes_before, bytes_after = store.compact({key(1)})
    assert bytes_after < bytes_before - 1_000
    assert contents(FolderEncodings(tmp_path), 1, 2) == numbered(1)
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "4.data", "4.keys"}


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_folder import numbered, patient_store
store = patient_store(Path(sys.argv[1]))
start, end = int(sys.argv[3]), int(sys.argv[4])
while start < end:
    store.put(numbered(*range(start, min(start + 7, end))))
    start += 7
"""


def start_writer(folder: Path, start: int, end: int) -> subprocess.Popen[bytes]:
    """Start a process that writes the encodings `start` to `end`, seven at a time."""
    arguments = [str(folder), str(ROOT / "tests" / "encodings"), str(start), str(end)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")}
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], env=environment)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


@contextlib.contextmanager
def killed_process(work: Callable[[], object]) -> Iterator[None]:
    """Repeat the work in a forked process, until the process is killed at the end of the block."""
    process = os.fork()
    if not process:
        with contextlib.suppress(BaseException):
            while True:
                work()
        os._exit(1)
    try:
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


@needs_fork
def test_killed_writer_leaves_every_finished_encoding(tmp_path):
    draw = random.Random(1)
    count = 0
    for _ in range(20):
        writer = FolderEncodings(tmp_path)
        next_numbers = itertools.count(count, 7)

        def write() -> None:
            start = next(next_numbers)  # noqa: B023  called in the process that is forked next
            writer.put(numbered(*range(start, start + 7)))  # noqa: B023

        reader = FolderEncodings(tmp_path)
        with killed_process(write):
            wait_until(lambda: contents(reader, count))  # noqa: B023  called before the loop goes on
            time.sleep(draw.random() * 0.05)
        stored = contents(FolderEncodings(tmp_path), *range(count, count + 20_000))
        assert stored == numbered(*range(count, count + len(stored)))
        count += len(stored)
    assert contents(FolderEncodings(tmp_path), *range(count)) == numbered(*range(count))


@needs_fork
def test_killed_compaction_loses_nothing(tmp_path):
    """A process is killed while it compacts. Either the old files or the new ones are complete."""
    live = numbered(*range(0, 3_000, 2))
    FolderEncodings(tmp_path).put(numbered(*range(3_000)))
    draw = random.Random(2)
    for _ in range(12):
        with killed_process(lambda: FolderEncodings(tmp_path).compact(set(live))):
            time.sleep(draw.random() * 0.1)
        assert contents(FolderEncodings(tmp_path), *range(0, 3_000, 2)) == live
    FolderEncodings(tmp_path).compact(set(live))
    assert len([path for path in tmp_path.iterdir() if path.suffix in (".data", ".keys")]) == 2


def test_processes_can_write_at_the_same_time(tmp_path):
    writers = [start_writer(tmp_path, start, start + 400) for start in (0, 200, 1_000)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert contents(FolderEncodings(tmp_path), *range(2_000)) == numbered(*range(600), *range(1_000, 1_400))


def test_threads_share_a_store(tmp_path):
    store = patient_store(tmp_path)

    def work(start: int) -> None:
        for number in range(start, start + 100):
            store.put(numbered(number))
            assert contents(store, number) == numbered(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [0, 50, 100, 150]))
    assert contents(store, *range(250)) == numbered(*range(250))


def test_thread_reads_while_another_waits_to_write(tmp_path):
    store = patient_store(tmp_path)
    store.put(numbered(1))
    with ThreadPoolExecutor(1) as pool, filelock.FileLock(tmp_path / "lock"):
        future = pool.submit(store.put, numbered(2))
        for _ in range(20):
            assert contents(store, 1) == numbered(1)
        assert not future.done()
        assert contents(store, 2) == {}
    assert contents(store, 2) == numbered(2)


def test_threads_wait_for_a_held_lock_only_once(tmp_path):
    """If every call waited, each of the 1,600 calls would take a fifth of a second."""
    store = FolderEncodings(tmp_path, put_seconds=0.2)
    store.put(numbered(1))

    def put(first: int) -> None:
        for number in range(first, first + 200):
            store.put(numbered(number))
            assert contents(store, 1, number) == numbered(1)

    with ThreadPoolExecutor(8) as pool:
        with filelock.FileLock(tmp_path / "lock"):
            futures = [pool.submit(put, first) for first in range(1_000, 2_600, 200)]
            unfinished = wait(futures, timeout=30).not_done
        assert not unfinished
        assert [future.result() for future in futures] == [None] * 8

    def is_written() -> bool:
        store.put(numbered(2))
        return contents(store, 2) == numbered(2)

    wait_until(is_written)


def test_error_names_a_lock_that_is_not_a_file(tmp_path, caplog):
    store = FolderEncodings(tmp_path)
    (tmp_path / "lock").mkdir()
    store.put(numbered(1))
    assert contents(store, 1) == {}
    assert "lock is not a file; delete or rename it" in caplog.text
    with pytest.raises(SourceError, match="lock is not a file; delete or rename it"):
        store.compact({key(1)})


@needs_fork
def test_forked_process_reads_and_writes(tmp_path):
    """Another thread of the parent writes during the fork, and can hold the store's locks."""
    store = patient_store(tmp_path)
    store.put(numbered(*range(10)))
    stopped = threading.Event()
    may_write = threading.Event()

    def write() -> None:
        number = 1_000
        while not stopped.is_set():
            store.put(numbered(number))
            number += 1
            may_write.wait()  # otherwise this thread would hold the lock nearly all the time, and the child would wait

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(100, 110):
            may_write.set()
            pid = os.fork()
            if not pid:
                store.put(numbered(number))
                os._exit(0 if contents(store, 1, number) == numbered(1, number) else 1)
            may_write.clear()
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stopped.set()
        may_write.set()
        writer.join()
    assert contents(store, *range(100, 110)) == numbered(*range(100, 110))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_folder import contents, numbered
from podium.encodings.folder import FolderEncodings
from podium.errors import SourceError
folder = Path(sys.argv[1])
store = FolderEncodings(folder)
store.put(numbered(*range(50)))
size = (folder / "0.data").stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
store.put(numbered(*range(50, 100)))
assert contents(store, *range(100)) == numbered(*range(50))
assert (folder / "0.data").stat().st_size == size
resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
try:
    store.compact(set(numbered(*range(50))))
except SourceError as error:
    assert "free some disk space" in str(error)
else:
    raise AssertionError("compaction did not fail")
assert contents(store, *range(50)) == numbered(*range(50))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put(numbered(*range(50, 100)))
assert contents(store, *range(100)) == numbered(*range(100))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
def test_full_disk_loses_nothing(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")}
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(ROOT / "tests" / "encodings")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "0.data", "0.keys"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_read(tmp_path):
    FolderEncodings(tmp_path).put(numbered(1))
    tmp_path.chmod(0o500)
    try:
        store = FolderEncodings(tmp_path)
        store.put(numbered(2))
        assert contents(store, 1, 2) == numbered(1)
    finally:
        tmp_path.chmod(0o700)


def test_path_that_is_not_a_folder_stores_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = FolderEncodings(tmp_path / "file")
    store.put(numbered(1))
    store.put(numbered(2))
    assert contents(store, 1) == {}
    assert len(caplog.records) == 1


def test_encodings_are_aligned_to_16_bytes(tmp_path):
    store = FolderEncodings(tmp_path)
    store.put(numbered(*range(20)))
    addresses = [np.frombuffer(value, np.uint8).ctypes.data for value in store.get(list(numbered(*range(20)))).values()]
    assert not any(address % 16 for address in addresses)
