"""Rows of vectors, in memory or in a file that only grows, and a search for the nearest rows.

The search compares all rows, or uses an HNSW graph if there are many. It does not know which rows documents refer to; callers
leave out the others.
"""

from __future__ import annotations

import heapq
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.checksums import checksum
from podium.embedding import dot_products
from podium.errors import SourceError
from podium.sources.embedded.graph import Graph, GraphFile, graph_files
from podium.sources.embedded.row_checksums import DamagedRecord, RowChecksums, RowRange
from podium.sources.stages import staged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]
    Positions = NDArray[np.int64]

__all__ = ["CHECKSUMS_FILE", "EXACT_BELOW", "ROWS_FILE", "Vectors"]

_log = logging.getLogger("podium")
ROWS_FILE = "vectors.f32"
CHECKSUMS_FILE = "vectors.checksums"
EXACT_BELOW = 100_000  # With fewer rows there is no graph: comparing all of them takes at most 4 ms, and is exact.
# A search compares all rows that are not in the graph. The graph is extended if they are more than this share of all rows.
MAX_OUTSIDE_GRAPH = 0.2
COPIED_AT_ONCE = 50_000  # how many rows are copied to memory at once
# If a search requests more than this share of the rows, comparing all rows is faster, and exact.
MAX_GRAPH_SHARE = 0.05
# float32 cannot hold the sum of the squares of a vector that is shorter or longer than these lengths.
MIN_LENGTH, MAX_LENGTH = 1e-15, 1e15


class Vectors:
    """Unit vectors of one length in a folder, or in memory if `folder` is None.

    Readers in other processes may map the file while one process appends: rows never change. Each process compares the rows
    with their checksums once, before it first searches them. A graph that is damaged is not used: until the next
    `improve` builds it again, all rows are compared, which is slower, but exact.
    """

    def __init__(self, folder: Path | None, dimensions: int, *, exact_below: int = EXACT_BELOW) -> None:
        self.dimensions = dimensions
        self._exact_below = exact_below  # with fewer rows, there is no graph
        self._folder = folder
        self._rows: Any = None
        self._inode = 0  # the inode of the file that is mapped
        self._max_row_count = 0  # the largest number of rows so far; a smaller number is a sign of damage
        self._verified_count = 0  # how many of the first rows match their checksums
        self._compared_count = 0  # the number of rows when checksums were last compared
        # The file of the graph that searches use (None in memory), and the graph.
        self._graph: tuple[GraphFile | None, Graph] | None = None
        self._damaged_graphs: set[GraphFile] = set()

    def append(self, vectors: Rows) -> range:
        """Add rows and return their positions; they are on the disk when this returns. For one writer at a time."""
        import numpy as np

        self._check_dimensions(vectors)
        unit = _unit(np.ascontiguousarray(vectors, np.float32))
        rows = self.rows()  # In a folder, this raises an error if the file was cut short.
        return self._append_unit(unit, rows)

    def append_rows_of(self, other: Vectors, positions: NDArray[np.int64]) -> None:
        """Append the rows of `other` at these positions, unchanged. Raises SourceError if a checksum of `other` differs."""
        rows = other._verified_rows()
        for start in range(0, len(positions), COPIED_AT_ONCE):
            self._append_unit(rows[positions[start : start + COPIED_AT_ONCE]], self.rows())

    def _append_unit(self, unit: Rows, rows: Rows) -> range:
        """Append vectors of length 1 after the existing rows, and return their positions."""
        import numpy as np

        if self._folder is not None:
            return self._append_to_file(self._folder, unit)
        self._rows = np.concatenate([rows, unit]) if len(rows) else unit
        return range(len(rows), len(self._rows))

    def _append_to_file(self, folder: Path, unit: Rows) -> range:
        """Write rows, and then their record of checksums, to the disk. Return the positions of the rows."""
        row_bytes = 4 * self.dimensions
        with open(folder / ROWS_FILE, "ab") as file:
            start = file.tell() // row_bytes
            file.truncate(start * row_bytes)  # a writer that was killed may have left part of a row
            file.seek(0, os.SEEK_END)
            file.write(unit.tobytes())
            file.flush()
            os.fsync(file.fileno())
        end = start + len(unit)
        RowChecksums(folder / CHECKSUMS_FILE).append(RowRange(start, end, checksum(unit.data.cast("B"))))
        return range(start, end)

    def rows(self) -> Rows:
        """Return every row, float32 of shape (rows, dimensions). In a folder, this is a map of the file.

        Raises SourceError if the file has fewer rows than before.
        """
        import numpy as np

        if self._folder is None:
            return np.zeros((0, self.dimensions), np.float32) if self._rows is None else self._rows
        path = self._folder / ROWS_FILE
        max_row_count = self._max_row_count  # read before the file, because another thread may be appending
        stat = path.stat() if path.exists() else None
        count = stat.st_size // (4 * self.dimensions) if stat else 0
        if count < max_row_count:
            raise SourceError(f"{path} is damaged: it was cut short or deleted; index the documents again")
        if not count or stat is None:
            return np.zeros((0, self.dimensions), np.float32)
        if self._inode != stat.st_ino:
            self._verified_count = 0
            self._compared_count = 0
        if self._rows is None or len(self._rows) != count or self._inode != stat.st_ino:
            self._rows = np.memmap(path, np.float32, "r", shape=(count, self.dimensions))
            self._inode = stat.st_ino
        self._max_row_count = max(self._max_row_count, count)
        return self._rows  # type: ignore[no-any-return]

    def nearest(self, query: Rows, count: int) -> list[tuple[int, float]]:
        """Return at most `count` pairs (position of a row, cosine similarity), nearest first. Ties are in order of position.

        The result for a smaller `count` is the beginning of that for a larger one. A graph may find nearer rows if it searches
        for more; such rows come after those of the smaller search.
        """
        import numpy as np

        self._check_dimensions(query)
        rows = self._verified_rows()
        unit = _unit(np.asarray(query, np.float32)[None])[0]

        def stage(stage_count: int) -> tuple[list[tuple[int, float]], bool]:
            graph_row_count, graph_hits = self._graph_hits(unit, stage_count, len(rows))
            is_exact = graph_row_count == 0
            return _nearest(rows, unit, graph_hits, graph_row_count, count if is_exact else stage_count), is_exact

        return list(staged(stage, count).items())[:count]

    def nearest_of(self, positions: NDArray[np.int64], query: Rows, count: int) -> list[tuple[int, float]]:
        """Return what `nearest` would return if there were only the rows at these positions. It compares all these rows."""
        import numpy as np

        self._check_dimensions(query)
        if not len(positions):
            return []
        similarities = dot_products(self._verified_rows()[positions], _unit(np.asarray(query, np.float32)[None])[0])
        hits = zip(positions.tolist(), map(float, similarities), strict=True)
        return heapq.nsmallest(count, hits, key=lambda hit: (-hit[1], hit[0]))

    def improve(self) -> None:
        """Extend the graph if too many rows are missing from it, which takes minutes for a million rows. For one writer."""
        rows = self._verified_rows()
        if len(rows) < self._exact_below or len(rows) - self._row_count_of_graph() <= MAX_OUTSIDE_GRAPH * len(rows):
            return
        graph = (self._current_graph(writable=True) or Graph.empty(self.dimensions)).extended(rows)
        if self._folder is None:
            self._graph = (None, graph)
        else:
            graph.save(self._folder)

    def _check_dimensions(self, vectors: Rows) -> None:
        if vectors.shape[-1] != self.dimensions:
            raise SourceError(
                f"the embedder returned {vectors.shape[-1]} dimensions; this index has {self.dimensions}. Use the embedder "
                "that the index was created with"
            )

    def _verified_rows(self) -> Rows:
        """Return every row, after comparing new rows with their checksums. Raises SourceError if a checksum differs."""
        rows = self.rows()
        if self._folder is not None and len(rows) != self._compared_count:
            checksums_file = self._folder / CHECKSUMS_FILE
            try:
                records = RowChecksums(checksums_file).records_between(self._verified_count, len(rows))
            except (DamagedRecord, OSError):
                raise _mismatch(checksums_file) from None
            if any(checksum(rows[record.start : record.end].data.cast("B")) != record.checksum for record in records):
                raise _mismatch(self._folder / ROWS_FILE)
            # Rows after the last record may have been appended just now: their record is written after them.
            self._verified_count = max([self._verified_count, *(record.end for record in records)])
            self._compared_count = len(rows)
        return rows

    def _graph_hits(self, unit: Rows, count: int, row_count: int) -> tuple[int, Positions]:
        """Return the graph's number of rows, and positions of at least `count` of these, probably the nearest.

        Only the first `row_count` rows are considered. Returns (0, an empty array) if all of them must be compared.
        """
        import numpy as np

        graph = self._current_graph() if row_count >= self._exact_below else None
        if graph is not None and graph.row_count <= row_count and count <= MAX_GRAPH_SHARE * graph.row_count:
            positions = graph.nearest(unit, count)
            if positions is not None:
                return graph.row_count, positions
        return 0, np.zeros(0, np.int64)

    def _row_count_of_graph(self) -> int:
        graph = self._current_graph()
        return 0 if graph is None else graph.row_count

    def _current_graph(self, *, writable: bool = False) -> Graph | None:
        """Return the largest intact graph. If `writable`, a graph from a file is a copy in memory, which can be extended."""
        current = self._graph  # read once: other threads may replace it
        if self._folder is None:
            return None if current is None else current[1]
        for file in graph_files(self._folder, len(self.rows())):
            if current is not None and current[0] == file and not writable:
                return current[1]
            if file in self._damaged_graphs:
                continue
            if (graph := Graph.open(file, self.dimensions, writable=writable)) is not None:
                if not writable:
                    self._graph = (file, graph)
                return graph
            if file.path.exists():  # if not, a writer has replaced it since it was listed
                self._damaged_graphs.add(file)
                _log.warning("%s is damaged; searches are exact but slower until documents are next added", file.path)
        return None


def _nearest(rows: Rows, unit: Rows, graph_hits: Positions, graph_row_count: int, count: int) -> list[tuple[int, float]]:
    """Return the `count` nearest of the hits of a graph and of the rows that are not in the graph, nearest first."""
    import numpy as np

    positions = np.concatenate([graph_hits, np.arange(graph_row_count, len(rows))])
    # The graph has float16 vectors, so similarities are computed from the rows.
    similarities = np.concatenate([dot_products(rows[graph_hits], unit), dot_products(rows[graph_row_count:], unit)])
    best = _largest(similarities, count)
    hits = zip(positions[best].tolist(), similarities[best].tolist(), strict=True)
    return sorted(hits, key=lambda hit: (-hit[1], hit[0]))


def _largest(similarities: Rows, count: int) -> Positions:
    """Return the positions of the `count` largest similarities, in any order. Of equal ones, return the first."""
    import numpy as np

    if count >= len(similarities):
        return np.arange(len(similarities))
    smallest = np.partition(similarities, len(similarities) - count)[len(similarities) - count]
    larger = np.flatnonzero(similarities > smallest)
    return np.concatenate([larger, np.flatnonzero(similarities == smallest)[: count - len(larger)]])


def _mismatch(file: Path) -> SourceError:
    return SourceError(f"{file} is damaged: its checksums do not match; index the documents again")


def _unit(vectors: Rows) -> Rows:
    """Return the vectors scaled to length 1. Vectors of zeros are returned unchanged."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        extreme = ~((lengths > MIN_LENGTH) & (lengths < MAX_LENGTH))[:, 0]
        if extreme.any():  # Divide these vectors by their largest number, so that float32 can hold the squares.
            vectors = vectors.copy()
            largest = np.abs(vectors[extreme]).max(axis=1, keepdims=True)
            vectors[extreme] = (vectors[extreme] / np.where(largest > 0, largest.astype(np.float64), 1)).astype(np.float32)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Rows = vectors / np.where(lengths > 0, lengths, np.float32(1))
    return unit
