"""EmbeddedIndex in a folder: create it, open it with its embedder, share it between threads and processes, drop it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import podium
from capitals import CAPITALS, IDS, index_of_capitals, source_keys
from environment import ROOT
from fakes import Letters
from loopback import wait_until
from podium.encodings import KEY_BYTES
from podium.encodings.keep import store_for
from podium.errors import InvalidInput, SourceError
from podium.sources.embedded.folder import loading
from podium.sources.embedded.place import drop
from read_only import DROP_PRIVILEGES, READ_ONLY, WRITABLE, set_modes


@pytest.fixture
def folder(tmp_path):
    index_of_capitals(tmp_path / "index")
    return tmp_path / "index"


def test_folder_that_is_not_an_index_is_refused(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "a.txt").write_text("mine")
    with pytest.raises(SourceError, match="there is no folder"):
        podium.EmbeddedIndex.open(tmp_path / "missing")
    with pytest.raises(SourceError, match="is not an index of podium"):
        podium.EmbeddedIndex.open(foreign)
    for path in (foreign, foreign / "a.txt"):
        with pytest.raises(SourceError, match="exists and is not an index"):
            podium.EmbeddedIndex.create(path)
    assert (foreign / "a.txt").read_text() == "mine"


def test_index_is_not_created_over_another(folder):
    with pytest.raises(SourceError, match="is an index already"):
        podium.EmbeddedIndex.create(folder)
    assert len(podium.EmbeddedIndex.open(folder)) == 4


@pytest.mark.parametrize("path", [5, "a\0b", "x" * 5000], ids=["number", "null", "too-long"])
def test_invalid_path_is_refused(path):
    with pytest.raises(InvalidInput, match="not a valid path of a file or folder"):
        podium.EmbeddedIndex.open(path)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode there")
def test_path_that_is_not_utf8_is_refused(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/i\xffdx")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        podium.EmbeddedIndex.create(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"mode": "fuzzy"}, "mode must be", id="mode"),
        pytest.param({"fusion": "x"}, "fusion must be", id="fusion"),
        pytest.param({"text_weight": -1}, "0 to 1", id="text-weight"),
        pytest.param({"text": {"a": -1}}, "weight", id="weight"),
        pytest.param({"text": 5}, "text must be", id="text-number"),
        pytest.param({"text": [[]]}, "text must be", id="text-list"),
        pytest.param({"text": {"a": "b"}}, "weight of a text field", id="weight-string"),
        pytest.param({"embed": None, "mode": "vector"}, "needs vectors", id="no-embedder"),
    ],
)
def test_invalid_option_creates_nothing(tmp_path, options, message):
    for path in (None, tmp_path / "index"):
        with pytest.raises(InvalidInput, match=message):
            podium.EmbeddedIndex.create(path, **{"embed": Letters(), **options})
    assert list(tmp_path.iterdir()) == []


def test_failing_embedder_creates_nothing(tmp_path):
    def fail(texts):
        raise RuntimeError

    with pytest.raises(SourceError, match="the embedder failed"):
        podium.EmbeddedIndex.create(tmp_path / "index", embed=fail)
    assert list(tmp_path.iterdir()) == []


def test_index_is_created_in_an_empty_folder(tmp_path):
    (tmp_path / "index").mkdir()
    podium.EmbeddedIndex.create(tmp_path / "index").add(["x"])
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("embed", [Letters(1), Letters(0, 9)], ids=["other-model", "other-dimensions"])
def test_another_embedder_is_refused(folder, embed):
    with pytest.raises(SourceError, match=r"created with another embedder \(letters-0, 8 dimensions\)"):
        podium.EmbeddedIndex.open(folder, embed=embed)


def test_embedder_that_knows_no_word_of_the_probe_can_open_its_index(tmp_path):
    def embed(texts):
        return [[float(text.count("q")), 0.0] for text in texts]

    podium.EmbeddedIndex.create(tmp_path / "index", embed=embed).add(["q"])
    assert len(podium.EmbeddedIndex.open(tmp_path / "index", embed=embed).search("q", 1, mode="vector")) == 1
    with pytest.raises(SourceError, match="created with another embedder"):
        podium.EmbeddedIndex.open(tmp_path / "index", embed=lambda texts: [[1.0, 0.0] for _ in texts])


def test_index_with_vectors_is_searched_by_text_without_its_embedder(folder):
    index = podium.EmbeddedIndex.open(folder)
    assert (index.mode, index.embedder) == ("text", "letters-0")
    assert index.search("capital", 1)
    for use in (lambda: index.search("capital", 1, mode="vector"), lambda: index.add(["x"])):
        with pytest.raises(InvalidInput, match="open it with embed="):
            use()


def test_index_without_vectors_takes_no_embedder(tmp_path):
    podium.EmbeddedIndex.create(tmp_path / "index").add(["x"])
    with pytest.raises(SourceError, match="created without an embedder"):
        podium.EmbeddedIndex.open(tmp_path / "index", embed=Letters())
    with pytest.raises(InvalidInput, match="create another index with embed="):
        podium.EmbeddedIndex.open(tmp_path / "index", mode="hybrid")


def test_threads_search_while_one_adds(folder):
    index = podium.EmbeddedIndex.open(folder, embed=Letters())

    def is_nevada_found():
        return all("n" in source_keys(index.search("capital", 4, mode=mode)) for mode in ("text", "hybrid"))

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(is_nevada_found) for _ in range(40)]
        for i in range(10):
            index.add([f"flour {i}"], ids=[f"f{i}"])
        assert all(future.result() for future in futures)
    assert len(index) == 14


WRITER_THAT_WAITS = """
import sys, podium

def embed(texts):
    if texts == ["wait"]:
        print("writing", flush=True)
        sys.stdin.read()
    return [[float(len(text)), 1.0] for text in texts]

podium.EmbeddedIndex.open(sys.argv[1], embed=embed).add(["wait"])
"""


def test_two_processes_cannot_write_at_once(tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "index", embed=lambda texts: [[float(len(text)), 1.0] for text in texts])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writer = subprocess.Popen([sys.executable, "-c", WRITER_THAT_WAITS, str(index.path)], **pipes)
    assert writer.stdout.readline() == b"writing\n"
    with pytest.raises(SourceError, match="another process is adding"):
        index.add(["x"])
    assert len(index) == 0
    writer.communicate()
    index.add(["x"])
    assert len(index) == 2


WRITERS = """
import os, sys, podium
sys.path.insert(0, sys.argv[2])
from fakes import Letters

def write():
    index = podium.EmbeddedIndex.open(sys.argv[1], embed=Letters())
    start = len(index)
    while True:
        numbers = range(start, start + 7)
        index.add([f"number {n}" for n in numbers], ids=[f"d{n}" for n in numbers])
        index.add(["number one again"], ids=["d1"])
        start += 7

for line in sys.stdin:
    writer = os.fork()
    if writer == 0:
        write()
    print(writer, flush=True)
    os.waitpid(writer, 0)
    print("ended", flush=True)
"""
"""For each line of its input, forks a process that writes documents. Forked processes need not import podium again."""


def test_killed_writer_leaves_its_last_commit(tmp_path, request):
    """Batches are added completely or not at all, each document has its vector, and the next writer continues."""
    folder = tmp_path / "index"
    podium.EmbeddedIndex.create(folder, embed=Letters())
    draw = random.Random(0)
    document_count = 0
    writers = subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(folder), str(ROOT / "tests" / "support")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True,
    )  # fmt: skip
    request.addfinalizer(lambda: (os.killpg(writers.pid, signal.SIGKILL), writers.communicate()))
    for _ in range(12):
        writers.stdin.write("\n")
        writer = int(writers.stdout.readline())
        reader = podium.EmbeddedIndex.open(folder, embed=Letters())
        wait_until(lambda reader=reader, document_count=document_count: len(reader) > document_count)
        time.sleep(draw.random() * 0.15)
        os.kill(writer, signal.SIGKILL)
        assert writers.stdout.readline() == "ended\n"
        index = podium.EmbeddedIndex.open(folder, embed=Letters())
        assert len(index) % 7 == 0  # a batch has 7 documents
        assert len(index) > document_count
        document_count = len(index)
        check_documents(index, document_count)


def check_documents(index, document_count):
    """Check that an index has the documents from d0, that both modes find all of them, and that vectors fit the texts."""
    expected = {f"d{n}" for n in range(document_count)}
    assert set(index.get(expected)) == expected
    assert set(source_keys(index.search("number", document_count, mode="text"))) == expected
    assert set(source_keys(index.search("number", document_count, mode="vector"))) == expected
    for document in index.search("number 3", 3, mode="vector"):
        vector, query = Letters()([document["text"], "number 3"])
        cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        assert document["source_score"] == pytest.approx(cosine, abs=1e-5)


CREATOR = """
import sys, time, podium
sys.stdin.readline()
try:
    index = podium.EmbeddedIndex.create(sys.argv[1])
except podium.SourceError:
    index = podium.EmbeddedIndex.open(sys.argv[1])
for attempt in range(500):
    try:
        index.add([sys.argv[2]])
        break
    except podium.SourceError as error:
        assert "another process is adding" in str(error), error
        time.sleep(0.02)
else:
    raise SystemExit("another process was adding all the time")
"""


@pytest.mark.parametrize("attempt", range(4))
def test_two_processes_that_create_an_index_share_it(tmp_path, attempt):
    folder = tmp_path / "index"
    creators = [
        subprocess.Popen([sys.executable, "-c", CREATOR, str(folder), name], stdin=subprocess.PIPE) for name in ("a", "b")
    ]
    for creator in creators:
        creator.stdin.write(b"\n")
        creator.stdin.flush()
    for creator in creators:
        creator.communicate()
        assert creator.returncode == 0
    assert len(podium.EmbeddedIndex.open(folder)) == 2


REPLACEMENTS = {
    "other-fields": {"text": ["text", "title"], "embed": Letters()},
    "other-embedder": {"text": ["title", "text"], "embed": Letters(1)},
    "same-options": {"text": ["title", "text"], "embed": Letters()},
}


@pytest.mark.parametrize("options", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_open_index_is_refused_after_it_was_replaced(tmp_path, options):
    index = podium.EmbeddedIndex.create(tmp_path / "index", text=["title", "text"], embed=Letters())
    index.add(CAPITALS, ids=IDS)
    drop(tmp_path / "index")
    podium.EmbeddedIndex.create(tmp_path / "index", **options).add(CAPITALS)
    for use in (lambda: index.search("capital", 1), lambda: index.add(["x"]), lambda: index.delete(["n"]), lambda: len(index)):
        with pytest.raises(SourceError, match="was replaced by another one after it was opened; open it again"):
            use()
    assert len(podium.EmbeddedIndex.open(tmp_path / "index", embed=options["embed"])) == 4


def test_open_index_is_refused_after_it_was_dropped(folder):
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    drop(folder)
    for use in (lambda: index.search("capital", 1), lambda: index.get(["n"]), lambda: index.add(["x"])):
        with pytest.raises(SourceError, match="was dropped after it was opened"):
            use()


def test_open_index_survives_a_copy_of_its_description(folder):
    """After a backup is restored, the description is another file with the same content."""
    index = podium.EmbeddedIndex.open(folder)
    description = folder / "podium-index.json"
    content = description.read_bytes()
    description.unlink()
    description.write_bytes(content)
    assert source_keys(index.search("Nevada", 1)) == ["n"]


@pytest.mark.parametrize("is_damaged", [False, True], ids=["intact", "damaged"])
def test_drop_deletes_the_index_and_keeps_files_of_the_user(folder, is_damaged):
    if is_damaged:
        (folder / "podium-index.json").write_text("{")
    podium_files = ["graph-5.usearch", "graph-5-0a1b2c3d.usearch", "graph-5-0a1b2c3d.hnsw", "graph-5.unfinished"]
    for name in podium_files:
        (folder / name).write_text("of podium")
    user_files = ["notes.txt", "vectors.txt", "vectors.csv", "graph-notes.md", "graph-x.usearch"]
    for name in user_files:
        (folder / name).write_text("of the user")
    (folder / "graph-7.usearch").mkdir()
    (folder / "graph-x").mkdir()
    assert drop(folder) == (None if is_damaged else 4)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*user_files, "graph-x", "graph-7.usearch"])


@pytest.mark.parametrize("has_text_index", [True, False])
def test_drop_continues_after_one_that_was_killed(folder, has_text_index):
    (folder / "podium-index.json").rename(folder / "podium-index.dropped")
    if not has_text_index:
        shutil.rmtree(folder / "text")
    with pytest.raises(SourceError, match="was not dropped completely; run podium index --drop"):
        podium.EmbeddedIndex.create(folder)
    assert drop(folder) is None
    assert not folder.exists()


def test_drop_through_a_symbolic_link_deletes_folder_and_link(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert drop(link) == 4
    assert list(tmp_path.iterdir()) == []


def test_drop_is_refused_while_documents_are_added(tmp_path):
    adding = threading.Event()
    may_continue = threading.Event()

    def embed_slowly(texts):
        adding.set()
        may_continue.wait(60)
        return Letters()(texts)

    index = podium.EmbeddedIndex.create(tmp_path / "index", embed=Letters())
    index.embed = embed_slowly
    thread = threading.Thread(target=index.add, args=(["apples"],))
    thread.start()
    adding.wait(60)
    with pytest.raises(SourceError, match="another process is adding"):
        drop(tmp_path / "index")
    may_continue.set()
    thread.join()
    assert drop(tmp_path / "index") == 1


def test_drop_is_refused_while_a_file_is_loaded(folder):
    with loading(folder), pytest.raises(SourceError, match="another process is loading"):
        drop(folder)
    assert len(podium.EmbeddedIndex.open(folder)) == 4


READER = f"""
import sys, podium
podium.EmbeddedIndex.open(sys.argv[2]).search("capital", 10)  # imports everything while this user can still read it
{DROP_PRIVILEGES}
index = podium.EmbeddedIndex.open(sys.argv[1])
print(len(index), len(index.search("capital", 10)), list(index.get(["n"])), flush=True)
input()
print(len(index), len(index.search("plums", 10)))
try:
    index.add(["x"])
except podium.SourceError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="permissions work differently there")
def test_read_only_folder_can_be_searched(folder):
    """The reader also finds documents that the owner adds while the index is open."""
    with tempfile.TemporaryDirectory() as public:
        os.chmod(public, 0o755)
        shared = Path(public) / "index"
        owner = podium.EmbeddedIndex.create(shared)
        owner.add(CAPITALS, ids=IDS)
        set_modes(shared, READ_ONLY)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        reader = subprocess.Popen([sys.executable, "-c", READER, str(shared), str(folder)], text=True, **pipes)
        assert reader.stdout.readline() == "4 2 ['n']\n"
        set_modes(shared, WRITABLE)
        owner.add(["plums"], ids=["new"])
        set_modes(shared, READ_ONLY)
        output, errors = reader.communicate("\n", timeout=120)
        set_modes(shared, WRITABLE)
        assert output.startswith("5 1\n"), errors
        assert "cannot be written by this user" in output


FULL_DISK = """
import resource, sys, podium
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    podium.EmbeddedIndex.create(sys.argv[1])
except podium.SourceError as error:
    print("refused")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files there")
def test_index_that_cannot_be_written_is_a_source_error(tmp_path):
    """For the index, a limit on the size of files has the same effect as a full disk."""
    script = [sys.executable, "-c", FULL_DISK, str(tmp_path / "index")]
    process = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert process.stdout == "refused\n", process.stderr
    assert list(tmp_path.iterdir()) == []


def test_index_and_stored_encodings_stay_in_their_folders_after_chdir(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    index = podium.EmbeddedIndex.create("index")
    opened = podium.EmbeddedIndex.open("index")
    store = store_for("encodings")
    monkeypatch.chdir("other")
    index.add(["an apple"])
    store.put({b"k" * KEY_BYTES: b"encoding"})
    assert len(opened.search("apple", 1)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"index", "encodings", "other"}
    assert list((tmp_path / "other").iterdir()) == []
