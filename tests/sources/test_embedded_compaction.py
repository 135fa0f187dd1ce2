"""Compaction of an EmbeddedIndex: rows of vectors that no document refers to are left out of new files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import podium
from capitals import source_keys
from environment import ROOT
from fakes import Letters
from podium.errors import SourceError
from podium.sources.embedded.generations import Generations
from podium.sources.embedded.place import LOCAL, drop
from podium.sources.embedded.vector_search import nearest_documents

SEARCHES = [{"mode": mode, "filter": condition} for mode in ("text", "vector", "hybrid") for condition in (None, "@kind:{map}")]
SMALL = 5_000
"""Number of rows from which a test lets a graph be built. Outside of tests it is 100,000, for which a graph takes seconds."""


def documents_of(numbers):
    return [{"text": f"number {number} of a map", "kind": "map" if number % 3 else "book"} for number in numbers]


def ids_of(numbers):
    return [f"d{number}" for number in numbers]


def index_with_unused_rows(path):
    """Return an index of the documents 0 to 59 with 150 rows. 90 of them belong to documents that were deleted or replaced."""
    index = podium.EmbeddedIndex.create(path, embed=Letters())
    index.add(documents_of(range(100)), ids=ids_of(range(100)))
    index.delete(ids_of(range(60, 100)))
    index.add(documents_of(range(1, 51)), ids=ids_of(range(1, 51)))
    return index


@pytest.fixture(params=["memory", "folder"])
def index(request, tmp_path):
    return index_with_unused_rows(None if request.param == "memory" else tmp_path / "index")


@pytest.fixture
def folder(tmp_path):
    index_with_unused_rows(tmp_path / "index")
    return tmp_path / "index"


def results(index):
    """Return the ids and scores of the documents that each of SEARCHES finds."""
    pages = [index.search("number 17 of a map", None, **options) for options in SEARCHES]
    return [[(hit["source_key"], pytest.approx(hit["source_score"], abs=1e-6)) for hit in page] for page in pages]


def row_count(index):
    return len(index._vectors.current())


def file_states(folder):
    """Return the path, inode and modification time of each file. If they are equal, no file was written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path in files]


def test_results_are_the_same_after_a_compaction(index):
    before = results(index)
    assert row_count(index) == 150
    index.compact()
    assert row_count(index) == 60
    assert results(index) == before


def test_documents_are_added_replaced_and_deleted_after_a_compaction(index):
    index.compact()
    index.add(["apples"], ids=["apples"])
    index.add(["a map of pears"], ids=["d3"])
    index.delete(["d4"])
    for _ in range(2):
        assert source_keys(index.search("apples", 1, mode="vector")) == ["apples"]
        assert source_keys(index.search("a map of pears", 1, mode="vector")) == ["d3"]
        assert "d4" not in source_keys(index.search("number", None, mode="vector"))
        assert len(index.search("number", None, mode="vector")) == len(index) == 60
        index.delete(ids_of(range(20, 60)))
        index.compact()
        index.add(documents_of(range(20, 60)), ids=ids_of(range(20, 60)))
    assert row_count(index) == 60


def test_compacted_folder_can_be_opened(folder):
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    before = results(index)
    index.compact()
    assert [path.name for path in folder.glob("vectors*")] == ["vectors-1"]
    assert results(podium.EmbeddedIndex.open(folder, embed=Letters())) == before


def test_space_is_reported_and_freed(folder):
    """The rows of 90 documents are freed. A file of 61 numbers is added: those of 60 rows, and the next number."""
    bytes_before, bytes_after = LOCAL.compact(str(folder))
    row_bytes = 8 * 4  # 8 dimensions as float32
    number_bytes = 8
    assert bytes_before - bytes_after > 90 * row_bytes - 61 * number_bytes - 100  # up to 100 for checksums
    assert (folder / "vectors-1" / "vectors.f32").stat().st_size == 60 * row_bytes
    assert LOCAL.compact(str(folder)) == (bytes_after, bytes_after)


@pytest.mark.parametrize("deleted_count", [0, 1, 9])
def test_index_with_few_unused_rows_is_not_changed(tmp_path, deleted_count):
    index = podium.EmbeddedIndex.create(tmp_path / "index", embed=Letters())
    index.add(documents_of(range(100)), ids=ids_of(range(100)))
    index.delete(ids_of(range(deleted_count)))
    before = file_states(index.path)
    index.compact()
    assert file_states(index.path) == before


def test_index_without_vectors_is_not_changed(tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "index")
    index.add(["apples", "pears"], ids=["a", "p"])
    index.delete(["a"])
    before = file_states(index.path)
    index.compact()
    assert file_states(index.path) == before


def test_index_without_documents_is_compacted(index):
    index.delete(ids_of(range(60)))
    index.compact()
    assert row_count(index) == 0
    assert index.search("map", 5) == []
    index.add(["apples"], ids=["apples"])
    assert source_keys(index.search("apples", 5, mode="vector")) == ["apples"]


class CompactingEmbedder(Letters):
    """An embedder that changes and compacts an index in the first call after a test sets `is_done` to False."""

    def __init__(self, index):
        super().__init__()
        self.index = index
        self.is_done = True

    def __call__(self, texts):
        if not self.is_done:
            self.is_done = True
            self.index.delete(["d17"])
            self.index.compact()
            self.index.add(["number 18 of a map"], ids=["new"])
        return super().__call__(texts)


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
@pytest.mark.parametrize("condition", [None, "@kind:{map}"], ids=["all", "filtered"])
@pytest.mark.parametrize("has_searched", [False, True], ids=["first-search", "mapped"])
@pytest.mark.parametrize("location", ["memory", "folder"])
def test_search_during_a_compaction_returns_the_documents_after_it(tmp_path, mode, condition, has_searched, location):
    """While the reader embeds the query, the files that it has mapped, or is about to map, are deleted."""
    index = index_with_unused_rows(None if location == "memory" else tmp_path / "index")
    reader = index if location == "memory" else podium.EmbeddedIndex.open(index.path, embed=Letters())
    if has_searched:
        assert "d17" in source_keys(reader.search("number 17 of a map", None, mode=mode, filter=condition))
    embed = CompactingEmbedder(index)
    reader.embed = embed
    embed.is_done = False
    candidates = reader.search("number 17 of a map", None, mode=mode, filter=condition)
    assert embed.is_done
    expected = {f"d{number}" for number in range(60) if number != 17 and (condition is None or number % 3)}
    assert set(source_keys(candidates)) == expected | (set() if condition else {"new"})
    assert candidates.total == len(candidates)


class GrowingRows:
    """Rows of vectors. Before the first search, another process adds two that are nearer than the others."""

    def __init__(self):
        self.count = 2

    def __len__(self):
        return self.count

    def nearest(self, vector, row_count):
        self.count = 4
        return [(row, 1.0) for row in (2, 3, 0, 1)[:row_count]]


class EarlierSnapshot:
    """The documents before these rows were added."""

    def addresses_of_rows(self, rows, selection):
        return {row: f"d{row}" for row in rows if row < 2}


def test_rows_that_are_added_during_a_search_displace_no_document():
    hits = nearest_documents(GrowingRows(), Letters(), EarlierSnapshot(), "q", 2)
    assert [hit.key for hit in hits] == ["d0", "d1"]


READER = """
import sys, podium
sys.path.insert(0, sys.argv[2])
from fakes import Letters

index = podium.EmbeddedIndex.open(sys.argv[1], embed=Letters())
expected = {f"d{number}" for number in range(60)}
index.search("number", 1)
print("searching", flush=True)
searches = 0
while True:
    reader = index if searches % 2 else podium.EmbeddedIndex.open(sys.argv[1], embed=Letters())
    ids = {hit["source_key"] for hit in reader.search("number", None, mode="vector")}
    assert ids >= expected, expected - ids
    assert len(reader.search("number 17 of a map", 20, mode="hybrid")) == 20
    searches += 1
    print(searches, flush=True)
"""


def test_other_process_searches_during_compactions(folder):
    arguments = [sys.executable, "-c", READER, str(folder), str(ROOT / "tests" / "support")]
    reader = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert reader.stdout.readline() == "searching\n"
        index = podium.EmbeddedIndex.open(folder, embed=Letters())
        for _ in range(25):
            index.compact()
            assert row_count(index) == 60
            index.add(["unused"] * 40, ids=[f"u{i}" for i in range(40)])
            reader.stdout.readline()
            index.delete([f"u{i}" for i in range(40)])
        assert reader.poll() is None, reader.stderr.read()
    finally:
        reader.kill()
        reader.communicate()


KILLED_COMPACTIONS = """
import os, shutil, signal, sys, podium
sys.path.insert(0, sys.argv[3])
from fakes import Letters

intact, folder = sys.argv[1:3]
OPERATIONS = ("open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "shutil.rmtree")

def compact(operations_before_kill):
    index = podium.EmbeddedIndex.open(folder)
    operations = 0

    def kill(event, _):
        nonlocal operations
        if event in OPERATIONS:
            if operations == operations_before_kill:
                os.kill(os.getpid(), signal.SIGKILL)
            operations += 1

    sys.addaudithook(kill)
    index.compact()

def checked_folders():
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    nearest = index.search("number 17 of a map", None, mode="vector")
    assert {hit["source_key"] for hit in nearest} == {f"d{number}" for number in range(60)}
    assert nearest[0]["source_key"] == "d17" and abs(nearest[0]["source_score"] - 1) < 1e-5
    return sorted(name for name in os.listdir(folder) if name.startswith("vectors"))

names = []
while True:
    shutil.copytree(intact, folder)
    process = os.fork()
    if not process:
        compact(len(names))
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    names.append(checked_folders())
    podium.EmbeddedIndex.open(folder, embed=Letters()).compact()
    assert len(checked_folders()) == 1, checked_folders()
    shutil.rmtree(folder)
    if status == 0:
        break
for folders in names:
    print(*folders)
"""
"""Starts processes that compact. It kills the first before its first operation on files, the second before its second …"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_killed_compaction_leaves_a_working_index(folder, tmp_path):
    """The next compaction deletes what a killed one left."""
    arguments = [str(folder), str(tmp_path / "copy"), str(ROOT / "tests" / "support")]
    process = subprocess.run(
        [sys.executable, "-c", KILLED_COMPACTIONS, *arguments], capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    states = process.stdout.splitlines()
    assert states[0] == "vectors.checksums vectors.f32"
    assert "vectors-1.unfinished vectors.checksums vectors.f32" in states
    assert "vectors-1 vectors.checksums vectors.f32" in states
    assert states[-1] == "vectors-1"


def flip_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["vectors.f32", "vectors.checksums", "numbers"])
def test_damaged_file_of_a_compacted_index_is_a_source_error(folder, name):
    podium.EmbeddedIndex.open(folder).compact()
    flip_bit(folder / "vectors-1" / name)
    with pytest.raises(SourceError, match=f"{name} is damaged.*index the documents again"):
        podium.EmbeddedIndex.open(folder, embed=Letters()).search("map", 5)


@pytest.mark.parametrize("size", [0, 7, 100, 1 << 38], ids=["empty", "short", "cut", "sparse"])
def test_numbers_of_another_size_are_a_source_error(folder, size):
    podium.EmbeddedIndex.open(folder).compact()
    os.truncate(folder / "vectors-1" / "numbers", size)
    with pytest.raises(SourceError, match="numbers is damaged"):
        podium.EmbeddedIndex.open(folder)


def test_missing_vectors_of_a_compacted_index_are_a_source_error(folder):
    podium.EmbeddedIndex.open(folder).compact()
    (folder / "vectors-1" / "vectors.f32").unlink()
    with pytest.raises(SourceError, match="vectors are missing"):
        podium.EmbeddedIndex.open(folder)


def test_damaged_vectors_are_not_copied(folder):
    flip_bit(folder / "vectors.f32")
    before = file_states(folder)
    with pytest.raises(SourceError, match=r"vectors\.f32 is damaged: its checksums do not match"):
        podium.EmbeddedIndex.open(folder).compact()
    assert file_states(folder) == before


FULL_DISK = """
import resource, sys, podium
index = podium.EmbeddedIndex.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
try:
    index.compact()
except podium.SourceError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files there")
def test_full_disk_changes_nothing(folder):
    """For the index, a limit on the size of files has the same effect as a full disk."""
    before = file_states(folder)
    process = subprocess.run([sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True, timeout=120)
    assert "free some disk space" in process.stdout, process.stderr
    assert file_states(folder) == before


def test_compaction_is_refused_while_another_process_writes(folder):
    writer = podium.EmbeddedIndex.open(folder)
    with writer.locked(), pytest.raises(SourceError, match="another process is adding"):
        podium.EmbeddedIndex.open(folder).compact()


def test_files_of_the_user_are_not_used_and_not_deleted(folder):
    (folder / "vectors-7").mkdir()
    (folder / "vectors-7" / "notes.txt").write_text("of the user")
    (folder / "vectors-x").mkdir()
    (folder / "vectors-5").write_text("of the user")
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    for _ in range(2):
        index.compact()
        index.add(documents_of(range(60)), ids=ids_of(range(60)))
        assert sorted(source_keys(index.search("map", None, mode="vector"))) == sorted(ids_of(range(60)))
    assert drop(folder) == 60
    assert sorted(path.name for path in folder.iterdir()) == ["vectors-5", "vectors-7", "vectors-x"]


def test_drop_deletes_a_compacted_index(folder):
    podium.EmbeddedIndex.open(folder).compact()
    (folder / "vectors-2.unfinished").mkdir()
    assert drop(folder) == 60
    assert not folder.exists()


@pytest.mark.parametrize("location", ["memory", "folder"])
def test_graph_is_built_for_the_copied_rows(tmp_path, location):
    folder = None if location == "memory" else tmp_path
    rows = np.random.default_rng(0).normal(size=(3 * SMALL, 16)).astype(np.float32)
    vectors = Generations(folder, 16, exact_below=SMALL)
    vectors.current().append(rows)
    vectors.current().vectors.improve()
    used = np.arange(0, 3 * SMALL, 2)
    vectors.compact(used)
    generation = vectors.current()
    assert generation.vectors._current_graph().row_count == len(generation) == len(used)
    assert generation.append(rows[:3]) == range(3 * SMALL, 3 * SMALL + 3)
    for number in (0, 20, 3 * SMALL - 2):
        assert number in [nearest for nearest, _ in generation.nearest(rows[number], 2)]
    assert generation.nearest_of([2, 4, 3 * SMALL], rows[4], 1) == [(4, pytest.approx(1))]
    with pytest.raises(SourceError, match="vectors of documents are missing"):
        generation.nearest_of([2, 3], rows[4], 1)
    if folder is not None:
        assert [path.parent.name for path in folder.rglob("graph-*")] == ["vectors-1"]


def test_function_is_called_again_if_its_generation_was_replaced():
    vectors = Generations(None, 2)
    vectors.current().append(np.eye(2, dtype=np.float32))
    generations = []

    def fail_once(generation):
        generations.append(generation)
        if len(generations) == 1:
            vectors.compact(np.array([1]))
            raise SourceError("the file was deleted")
        return len(generation)

    assert vectors.use(fail_once) == 1
    assert [generation.next_number for generation in generations] == [2, 2]


def test_error_of_the_current_generation_is_raised():
    def fail(generation):
        raise SourceError("the file is damaged")

    with pytest.raises(SourceError, match="the file is damaged"):
        Generations(None, 2).use(fail)
