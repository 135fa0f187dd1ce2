"""Indexes in folders that are damaged, full, read-only or oddly named: typed errors, whatever the index library does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import podium
from podium.errors import InvalidInput, SourceError
from podium.sources.embedded.description import DESCRIPTION_FILE as FILE
from podium.sources.embedded.folder import loading
from podium.sources.embedded.index import drop

DOCUMENTS = [{"text": f"apples and pears number {number}", "year": number} for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = podium.EmbeddedIndex.create(tmp_path / "index")
    index.add(DOCUMENTS, ids=[f"d{number}" for number in range(40)])
    index.delete(["d3"])
    return tmp_path / "index"


DAMAGE = """
import random, shutil, sys
from pathlib import Path
import podium

whole, folder = Path(sys.argv[1]), Path(sys.argv[2])
draw, refused = random.Random(5), 0
for name in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file()):
    for attempt in range(8):
        # A new folder each time: threads of tantivy may still be writing to the last one.
        spoilt = folder / f"{name.as_posix().replace('/', '-')}-{attempt}"
        shutil.copytree(whole, spoilt)
        content = bytearray((whole / name).read_bytes())
        if attempt < 6 and content:
            for _ in range(draw.randint(1, 8)):
                content[draw.randrange(len(content))] = draw.randrange(256)
        else:
            content = content[: draw.randint(0, len(content))]
        (spoilt / name).write_bytes(content)
        try:
            index = podium.EmbeddedIndex.open(spoilt)
            index.search("apples 7", 20), len(index), index.get(["d5"])
            index.add(["new"], ids=["d5"])
            index.search("new", 20)
        except podium.SourceError:
            refused += 1
print(refused)
"""


def test_damaged_file_is_a_source_error(folder, tmp_path):
    """In a process of its own, as the index library prints what it stumbles over."""
    script = [sys.executable, "-c", DAMAGE, str(folder), str(tmp_path / "spoilt")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10


def test_panic_of_the_index_library_is_a_source_error(folder):
    for path in (folder / "text").glob("*.store"):
        content = path.read_bytes()
        path.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    with pytest.raises(SourceError, match="its checksum does not match"):
        podium.EmbeddedIndex.open(folder).search("apples", 10)


@pytest.mark.parametrize("language", ["klingon", "", 5, ["english"]])
def test_unknown_language_in_the_description_is_a_source_error(folder, language):
    description = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(description | {"language": language}))
    with pytest.raises(SourceError, match="cannot be used"):
        podium.EmbeddedIndex.open(folder)


READ = """
import os, sys, podium
podium.EmbeddedIndex.open(sys.argv[2]).search("pears", 10)  # imports all that is needed
if os.geteuid() == 0:  # root may write everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
index = podium.EmbeddedIndex.open(sys.argv[1])
print(len(index), len(index.search("pears", 10)), list(index.get(["d5"])), flush=True)
input()
print(len(index), len(index.search("plums", 10)))
try:
    index.add(["x"])
except podium.SourceError as error:
    print(error)
"""


def set_modes(folder: Path, of_folders: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, of_folders if path.is_dir() else 0o644)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_folder_that_cannot_be_written_can_be_read(folder):
    """Also what its owner adds afterwards, while it is open."""
    with tempfile.TemporaryDirectory() as public:
        os.chmod(public, 0o755)
        shared = Path(public) / "index"
        shutil.copytree(folder, shared)
        read_only = 0o755 if os.geteuid() == 0 else 0o555  # the reader is another user, or this one without the right
        set_modes(shared, read_only)
        command = [sys.executable, "-c", READ, str(shared), str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        reader = subprocess.Popen(command, text=True, **pipes)
        assert reader.stdout.readline() == "39 10 ['d5']\n"
        set_modes(shared, 0o755)
        podium.EmbeddedIndex.open(shared).add(["plums"], ids=["new"])
        set_modes(shared, read_only)
        rest, errors = reader.communicate("\n", timeout=120)
        set_modes(shared, 0o755)
        assert rest.startswith("40 1\n"), errors
        assert "cannot be written by this user" in rest


def embed(texts):
    return [[float(len(text)), float(text.count("a")), 1.0] for text in texts]


def with_vectors(folder: Path) -> Path:
    index = podium.EmbeddedIndex.create(folder, embed=embed)
    index.add(DOCUMENTS[:20])
    index.add(DOCUMENTS[20:])
    return folder


@pytest.mark.parametrize("name", ["vectors.f32", "vectors.checksums"])
@pytest.mark.parametrize("position", [0, 250, -1], ids=["first", "middle", "last"])
def test_damaged_vectors_are_refused(tmp_path, name, position):
    file = with_vectors(tmp_path / "index") / name
    content = bytearray(file.read_bytes())
    content[position if abs(position) < len(content) else len(content) // 2] ^= 0x10
    file.write_bytes(content)
    index = podium.EmbeddedIndex.open(tmp_path / "index", embed=embed)
    with pytest.raises(SourceError, match=f"{name} is damaged: its checksums do not match; index the documents again"):
        index.search("apples", 5)


def test_vectors_of_a_killed_writer_are_no_damage(tmp_path):
    """It left a part of a row, and rows without their record; or a part of a record."""
    folder = with_vectors(tmp_path / "index")
    with open(folder / "vectors.f32", "ab") as file:
        file.write(b"\1" * 40)
    with open(folder / "vectors.checksums", "ab") as file:
        file.write(b"\1" * 10)
    index = podium.EmbeddedIndex.open(folder, embed=embed)
    assert len(index.search("apples and pears number 3", 5)) == 5
    index.add(["aaaa"], ids=["new"])
    for opened in (index, podium.EmbeddedIndex.open(folder, embed=embed)):
        assert opened.search("aaaa", 1)[0]["source_key"] == "new"


def test_vectors_without_checksums_are_searched(tmp_path):
    """As earlier versions left them."""
    folder = with_vectors(tmp_path / "index")
    (folder / "vectors.checksums").unlink()
    index = podium.EmbeddedIndex.open(folder, embed=embed)
    index.add(["aaaa"], ids=["new"])
    assert podium.EmbeddedIndex.open(folder, embed=embed).search("aaaa", 1)[0]["source_key"] == "new"


@pytest.mark.parametrize("is_damaged", [False, True], ids=["intact", "damaged"])
def test_drop_deletes_all_of_an_index_and_only_that(folder, is_damaged):
    if is_damaged:
        (folder / FILE).write_text("{")
    (folder / "notes.txt").write_text("not part of the index")
    assert drop(folder) == (None if is_damaged else 39)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_drop_through_a_symbolic_link_deletes_folder_and_link(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert drop(link) == 39
    assert list(tmp_path.iterdir()) == []


def test_drop_is_refused_while_documents_are_added(folder):
    adding, may_go_on = threading.Event(), threading.Event()

    def slow(texts):
        adding.set()
        may_go_on.wait(60)
        return embed(texts)

    index = podium.EmbeddedIndex.create(folder.parent / "slow", embed=embed)
    index.embed = slow
    thread = threading.Thread(target=index.add, args=(["apples"],))
    thread.start()
    adding.wait(60)
    with pytest.raises(SourceError, match="another process is adding"):
        drop(folder.parent / "slow")
    may_go_on.set()
    thread.join()
    assert drop(folder.parent / "slow") == 1


def test_drop_is_refused_while_a_file_is_loaded(folder):
    with loading(folder), pytest.raises(SourceError, match="another process is loading"):
        drop(folder)
    assert len(podium.EmbeddedIndex.open(folder)) == 39


FORK = """
import os, sys, threading, podium

def embed(texts):
    if texts == ["slow"]:
        adding.set()
        may_go_on.wait(60)
    return [[float(len(text)), 1.0] for text in texts]

adding, may_go_on = threading.Event(), threading.Event()
index = podium.EmbeddedIndex.create(sys.argv[1], embed=embed)
thread = threading.Thread(target=index.add, args=(["slow"],))
thread.start()
adding.wait(60)
child = os.fork()
if not child:
    try:
        index.add(["apples"])
    except podium.SourceError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
may_go_on.set()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_add_in_a_process_forked_during_an_add_does_not_hang(tmp_path):
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path / "i")], capture_output=True, text=True, timeout=120)
    assert "another process is adding" in done.stdout, done.stderr
    assert len(podium.EmbeddedIndex.open(tmp_path / "i")) == 1


FULL = """
import resource, sys, podium
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    podium.EmbeddedIndex.create(sys.argv[1])
except podium.SourceError as error:
    print("refused")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files there")
def test_index_that_cannot_be_written_is_a_source_error(tmp_path):
    """A limit on the size of files stands for a full disk."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "i")], capture_output=True, text=True, timeout=120)
    assert done.stdout == "refused\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode there")
def test_path_that_is_not_utf8_is_named(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/i\xffdx")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        podium.EmbeddedIndex.create(path)
    assert list(tmp_path.iterdir()) == []
