"""Vectors: the nearest rows, found exactly or with an HNSW graph, and graphs whose files are damaged."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

from podium.sources.embedded.vectors import EXACT_BELOW, Vectors

SMALL = 5_000
"""Number of rows from which a test lets a graph be built. Outside of tests it is 100,000, for which a graph takes seconds."""


def random_vectors(seed, count, dimensions):
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


@pytest.mark.parametrize(("location", "exact_below"), [("memory", 10_000), ("folder", EXACT_BELOW)], ids=["memory", "folder"])
def test_graph_finds_nearly_all_of_the_nearest(tmp_path, location, exact_below):
    folder = None if location == "memory" else tmp_path
    count, dimensions = exact_below + 2_000, 16
    rows = random_vectors(0, count, dimensions)
    vectors = Vectors(folder, dimensions, exact_below=exact_below)
    assert vectors.append(rows[:-1_500]) == range(count - 1_500)
    vectors.improve()
    vectors.append(rows[-1_500:])
    vectors.improve()
    assert vectors._current_graph().row_count == count - 1_500
    for reader in [vectors] if folder is None else [vectors, Vectors(folder, dimensions)]:
        check_recall(reader, rows)
    if folder is not None:
        assert len(list(folder.glob("graph-*"))) == 1, "the earlier graph was not deleted"


def check_recall(vectors, rows):
    """Check that searches find nearly all of the 50 nearest rows of 20 queries, with the right similarities."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    match_count = 0
    for query in random_vectors(1, 20, rows.shape[1]):
        exact = np.argsort(-(unit @ query))[:50]
        nearest = vectors.nearest(query, 50)
        match_count += len({row for row, _ in nearest} & set(exact.tolist()))
        for row, similarity in nearest:
            assert similarity == pytest.approx(unit[row] @ query / np.linalg.norm(query), abs=1e-5)
        assert [similarity for _, similarity in nearest] == sorted((similarity for _, similarity in nearest), reverse=True)
    assert match_count > 0.97 * 20 * 50


DAMAGED_GRAPH = """
import sys, numpy as np
from pathlib import Path
from podium.sources.embedded.vectors import Vectors

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
vectors = Vectors(folder, 16, exact_below=5_000)
rows = np.array(vectors.rows())
(graph,) = folder.glob("graph-*")
intact = graph.read_bytes()
rng = np.random.default_rng(seed)
for _ in range(15):
    damaged = bytearray(intact)
    for position in rng.integers(64, len(intact), rng.integers(1, 50)):
        damaged[position] ^= 1 << int(rng.integers(8))
    graph.write_bytes(damaged if rng.integers(4) else damaged[: rng.integers(len(intact))])
    for query in rng.normal(size=(5, 16)).astype(np.float32):
        query /= np.linalg.norm(query)
        exact = np.argsort(-(rows @ query), kind="stable")[:20]
        assert [row for row, _ in Vectors(folder, 16, exact_below=5_000).nearest(query, 20)] == exact.tolist()
writer = Vectors(folder, 16, exact_below=5_000)
writer.improve()
(graph,) = folder.glob("graph-*")
assert writer._current_graph().row_count == Vectors(folder, 16)._current_graph().row_count == len(rows)
print("all exact")
"""


def test_damaged_graph_is_not_used_and_built_again(tmp_path):
    """The script runs in another process, because searching a damaged graph could end the process."""
    vectors = Vectors(tmp_path, 16, exact_below=SMALL)
    vectors.append(random_vectors(1, SMALL, 16))
    vectors.improve()
    script = [sys.executable, "-c", DAMAGED_GRAPH, str(tmp_path), "7"]
    process = subprocess.run(script, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "all exact\n"
    assert "is damaged; searches are exact but slower" in process.stderr


def test_graph_of_an_earlier_version_is_not_used(tmp_path):
    vectors = Vectors(tmp_path, 4)
    vectors.append(random_vectors(1, 10, 4))
    (tmp_path / "graph-10.usearch").write_bytes(b"anything")
    (tmp_path / "graph-10-0a1b2c3d.usearch").write_bytes(b"anything")
    assert vectors._current_graph() is None


def test_graph_that_cannot_be_saved_leaves_nothing_behind(tmp_path, caplog):
    vectors = Vectors(tmp_path, 4, exact_below=SMALL)
    vectors.append(random_vectors(1, SMALL, 4))
    (tmp_path / "graph-5.unfinished").write_bytes(b"of a process that was killed")
    (tmp_path / "graph-notes.usearch").write_bytes(b"of the user")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))  # writing more fails, as on a full disk
    try:
        vectors.improve()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "could not be saved" in caplog.text
    assert not list(tmp_path.glob(f"graph-{SMALL}*"))
    assert len(vectors.nearest(np.ones(4, np.float32), 3)) == 3
    vectors.improve()
    names = {path.name for path in tmp_path.glob("graph-*")}
    assert len(names) == 2
    assert "graph-notes.usearch" in names


@pytest.mark.parametrize("scale", [3e38, 1e30, 1e-30, 1e-40])
def test_vectors_near_the_limits_of_float32_keep_their_directions(scale):
    vectors = Vectors(None, 2)
    rows = (np.array([[1, 0], [0, 1], [0.6, 0.8]]) * scale).astype(np.float32)
    vectors.append(np.concatenate([rows, np.zeros((1, 2), np.float32)]))
    nearest = vectors.nearest(rows[0], 4)
    assert [row for row, _ in nearest] == [0, 2, 1, 3]
    assert [similarity for _, similarity in nearest] == pytest.approx([1, 0.6, 0, 0], abs=1e-4)


def rows_half_equal(count):
    """Return rows of which each second one equals the first."""
    rows = random_vectors(0, count, 8)
    rows[::2] = rows[0]
    return rows


def rows_in_clusters(count):
    """Return rows in clusters of 200 that are closer together than float16 can distinguish."""
    centers = np.repeat(random_vectors(0, count // 200, 64), 200, axis=0)
    return centers + 1e-3 * random_vectors(1, count, 64)


@pytest.mark.parametrize("location", ["memory", "folder"])
@pytest.mark.parametrize("rows", [rows_half_equal(SMALL + 1_000), rows_in_clusters(SMALL)], ids=["half-equal", "clusters"])
def test_graph_finds_each_of_many_close_rows(tmp_path, rows, location):
    """Without representatives and the list of unreachable rows, HNSW misses up to a third of such rows."""
    vectors = Vectors(None if location == "memory" else tmp_path, rows.shape[1], exact_below=SMALL)
    for part in (rows[:SMALL], rows[SMALL:]):
        if len(part):
            vectors.append(part)
            vectors.improve()
    vectors._row_count_of_graph()
    unit = vectors.rows()
    missed = [i for i in range(1, len(rows), 2) if i not in {row for row, _ in vectors.nearest(rows[i], 200)}]
    assert not missed
    equal = [row for row, _ in vectors.nearest(rows[0], 100)]
    exact = np.argsort(-(unit @ unit[0]), kind="stable")[:100]
    assert np.allclose(unit[equal] @ unit[0], unit[exact] @ unit[0], atol=1e-6)


@pytest.mark.parametrize("count", [17, 5_001, 5_999])
@pytest.mark.parametrize("dimensions", [8, 64, 384])
def test_equal_rows_have_equal_similarities(count, dimensions):
    """A product of numpy differs in the last bit for the last rows, depending on the processor and the number of rows."""
    vectors = Vectors(None, dimensions)
    vectors.append(np.repeat(random_vectors(0, 1, dimensions), count, axis=0))
    (query,) = random_vectors(1, 1, dimensions)
    hits = vectors.nearest(query, count)
    assert [row for row, _ in hits] == list(range(count))
    assert len({similarity for _, similarity in hits}) == 1
    assert vectors.nearest_of(np.array([count - 1]), query, 1) == hits[-1:]


def test_all_rows_are_results_of_a_graph_with_equal_rows():
    rows = rows_half_equal(SMALL + 1_000)
    vectors = Vectors(None, 8, exact_below=SMALL)
    vectors.append(rows)
    vectors.improve()
    assert len(vectors.nearest(rows[1], len(rows))) == len(rows)
    assert [row for row, _ in vectors.nearest(rows[0], 100)] == list(range(0, 200, 2)), "ties are in order of position"


def test_result_of_a_smaller_search_is_the_beginning_of_a_larger_one():
    """Otherwise, pages of a search would repeat rows and never show others."""
    vectors = Vectors(None, 64, exact_below=SMALL)
    vectors.append(random_vectors(0, SMALL, 64))
    vectors.improve()
    for query in random_vectors(1, 10, 64):
        rows = [row for row, _ in vectors.nearest(query, 1_000)]
        assert len(set(rows)) == 1_000
        for count in (10, 100, 101, 150, 220, 400, 999):
            assert [row for row, _ in vectors.nearest(query, count)] == rows[:count]
    assert sorted(row for row, _ in vectors.nearest(query, SMALL + 1)) == list(range(SMALL))


def test_graph_in_memory_is_extended_after_an_interrupt():
    """The interrupted call has added some of the rows to usearch's index."""
    vectors = Vectors(None, 16, exact_below=SMALL)
    rows = random_vectors(0, 2 * SMALL, 16)
    vectors.append(rows[:SMALL])
    vectors.improve()
    vectors._current_graph()._index.add(np.arange(SMALL, SMALL + 10, dtype=np.uint64), rows[SMALL : SMALL + 10])
    vectors.append(rows[SMALL:])
    vectors.improve()
    assert vectors._current_graph().row_count == 2 * SMALL
    assert vectors.nearest(rows[SMALL + 5], 1)[0][0] == SMALL + 5


INTERRUPTED = """
import os, signal, threading
import numpy as np
from podium.sources.embedded.graph import Graph
rows = np.random.default_rng(0).normal(size=(200_000, 64)).astype(np.float32)
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    Graph.empty(64).extended(rows)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupt_ends_the_construction_of_a_graph():
    """usearch reports an interrupt as a RuntimeError."""
    process = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert process.stdout == "interrupted\n", process.stderr


INTERRUPTED_SEARCHES = """
import os, signal, threading, time
import numpy as np
from podium.sources.embedded.graph import Graph
rows = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
graph = Graph.empty(64).extended(rows)
queries = np.repeat(rows, 50, axis=0)
interrupted = 0
for _ in range(10):
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        graph._search(queries, 10)
        time.sleep(60)
    except KeyboardInterrupt:
        interrupted += 1
print(interrupted)
"""


def test_interrupt_ends_a_search_of_a_graph():
    process = subprocess.run([sys.executable, "-c", INTERRUPTED_SEARCHES], capture_output=True, text=True, timeout=120)
    assert process.stdout == "10\n", process.stderr
