"""An index in a folder that the reader must not write to: its files are linked in a temporary folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import podium
from read_only import DROP_PRIVILEGES, READ_ONLY, WRITABLE, set_modes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions work differently there")

READER = f"""
import sys, podium

podium.EmbeddedIndex.open(sys.argv[1]).search("apple", 1)  # imports everything while this user can still read it
{DROP_PRIVILEGES}
index = podium.EmbeddedIndex.open(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        print(len(index.search("apple", None)), flush=True)
"""


class Owner:
    """An index whose folders another process can only read, and a folder for the temporary files of that process."""

    def __init__(self, folder: Path) -> None:
        os.chmod(folder, 0o755)
        self.folder = folder / "index"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        os.chmod(self.temporary, 0o777)
        self.index = podium.EmbeddedIndex.create(self.folder)
        self.add(0)

    def add(self, number: int) -> None:
        """Replace the documents of the index."""
        set_modes(self.folder, WRITABLE)
        self.index.add([f"apple {number} {i}" for i in range(4)], ids=list("abcd"))
        set_modes(self.folder, READ_ONLY)

    def reader(self) -> subprocess.Popen[str]:
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(self.folder)],
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert reader.stdout.readline() == "open\n"
        return reader

    def links(self) -> list[Path]:
        return [path for path in self.temporary.rglob("*") if path.is_symlink()]


@pytest.fixture
def owner():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders cannot be read by other users
        owner = Owner(Path(folder))
        yield owner
        set_modes(owner.folder, WRITABLE)


def searches(reader: subprocess.Popen[str], count: int) -> list[int]:
    """Let a reader search this often, and return how many documents each search returned."""
    print(count, file=reader.stdin, flush=True)
    return [int(reader.stdout.readline()) for _ in range(count)]


def test_links_to_deleted_files_are_deleted(owner):
    with owner.reader() as reader:
        for number in range(1, 6):
            owner.add(number)
            assert searches(reader, 1) == [4]
        links = owner.links()
        assert links
        assert [link for link in links if not link.exists()] == []
        reader.stdin.close()
    assert list(owner.temporary.iterdir()) == []


def test_links_of_a_killed_reader_are_deleted_by_the_next(owner):
    with owner.reader() as first, owner.reader() as second:
        assert len(list(owner.temporary.iterdir())) == 2
        first.send_signal(signal.SIGKILL)
        first.wait()
        with owner.reader() as third:
            assert len(list(owner.temporary.iterdir())) == 2
            owner.add(1)
            assert searches(second, 1) == searches(third, 1) == [4]
            third.stdin.close()
        second.stdin.close()
    assert list(owner.temporary.iterdir()) == []


def test_searches_during_commits_succeed(owner):
    """A commit replaces meta.json, deletes segment files, and adds some that are not linked yet."""
    with owner.reader() as reader:
        for number in range(1, 6):
            print(200, file=reader.stdin, flush=True)
            for commit in range(10):
                owner.add(10 * number + commit)
            assert {int(reader.stdout.readline()) for _ in range(200)} == {4}
        reader.stdin.close()


def test_everyone_who_can_read_the_folder_can_read_all_files_that_searches_need(owner):
    needed = [path for path in owner.folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name[0] != "."]
    assert {path.name for path in needed} >= {"meta.json"}
    assert [path for path in needed if path.stat().st_mode & 0o444 != 0o444] == []
