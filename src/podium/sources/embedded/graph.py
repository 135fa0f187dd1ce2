"""Graph: an HNSW graph over rows of vectors, by usearch, and its file. It is derived from the rows, so it can be built again.

A file's name has the number of rows and the checksum of the file: graph-150000-0a1b2c3d.hnsw. The file is that of usearch,
followed by the representatives of the rows (see Graph), int32.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.checksums import file_checksum
from podium.extras import import_optional
from podium.forks import no_fork
from podium.regular_files import open_regular_file
from podium.sources.stages import FIRST_STAGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]
    Positions = NDArray[np.int64]

__all__ = ["FILE_NAME", "Graph", "GraphFile", "graph_files"]

_log = logging.getLogger("podium")
# Earlier versions of podium wrote graphs as `.usearch`. A process that was killed may have left an unfinished graph.
FILE_NAME = re.compile(r"graph-(?P<rows>[0-9]+)(?:-(?P<checksum>[0-9a-f]{8})\.hnsw|(?:-[0-9a-f]{8})?\.usearch|\.unfinished)")
BATCH_ROWS = 50_000  # how many rows are copied to memory and processed at once
EF_FACTOR = 2  # how many rows HNSW considers in a search, for each row that it is to find
# How many rows HNSW considers in a first, faster test of which rows it reaches. Other searches reach these rows, too.
EF_TEST = 16
UNREACHABLE = -1


@dataclass(frozen=True, slots=True)
class GraphFile:
    """The file of a graph, and the number of rows and the checksum that are in its name.

    `modified` is the time in nanoseconds when the file was last changed. A file that replaces it has another one.
    """

    path: Path
    row_count: int
    checksum: int
    modified: int


def graph_files(folder: Path, max_row_count: int) -> list[GraphFile]:
    """Return the graphs that have at most `max_row_count` rows, the largest first. Those of earlier versions are left out."""
    files = []
    for path in folder.iterdir():
        if (match := FILE_NAME.fullmatch(path.name)) and match["checksum"]:
            with contextlib.suppress(OSError):  # the file was replaced after it was listed
                files.append(GraphFile(path, int(match["rows"]), int(match["checksum"], 16), path.stat().st_mtime_ns))
    return sorted((file for file in files if 0 < file.row_count <= max_row_count), key=lambda file: -file.row_count)


class Graph:
    """A graph over the first `row_count` rows, which are unit vectors. Its distance is the inner product of float16 vectors.

    HNSW does not reach all of many equal or very close rows. So only the first of equal rows is in the graph, and represents
    the others. Rows that a search for their own vector does not find are unreachable; they are compared in every search.
    """

    def __init__(self, index: Any, representatives: NDArray[np.int32]) -> None:
        import numpy as np

        self._index = index
        # For each row, the position of the row of the graph that is equal to it, or UNREACHABLE.
        self._representatives = representatives
        self._by_representative = np.argsort(representatives, kind="stable")
        self._sorted_representatives = representatives[self._by_representative]

    @property
    def row_count(self) -> int:
        return len(self._representatives)

    @classmethod
    def empty(cls, dimensions: int) -> Graph:
        import numpy as np

        index = import_optional("usearch.index", "index").Index(ndim=dimensions, metric="ip", dtype="f16")
        return cls(index, np.zeros(0, np.int32))

    def extended(self, rows: Rows) -> Graph:
        """Return a graph over all of these rows, of which this graph has the first. This graph remains usable."""
        import numpy as np

        representatives = first_equal_rows(rows)
        distinct = np.flatnonzero(representatives == np.arange(len(rows)))
        for positions in _batches(distinct[distinct >= self.row_count]):
            with no_fork, _keyboard_interrupts():
                # A graph in memory has some of them already if an earlier call was interrupted.
                missing = positions[~np.atleast_1d(self._index.contains(positions.astype(np.uint64)))]
                if len(missing):
                    self._index.add(missing.astype(np.uint64), rows[missing])
        unreachable = np.zeros(len(rows), bool)
        unreachable[self._unreachable(rows, distinct)] = True
        return Graph(self._index, np.where(unreachable[representatives], UNREACHABLE, representatives).astype(np.int32))

    def nearest(self, unit: Rows, count: int) -> Positions | None:
        """Return positions of at least `count` rows, in ascending order. The `count` nearest rows are probably among them.

        All unreachable rows are among them, too. Returns None if the graph finds fewer than `count` rows.
        """
        import numpy as np

        self._index.expansion_search = EF_FACTOR * count
        keys = self._search(unit, count).keys.astype(np.int64)
        keys = keys[keys < self.row_count]  # in memory, another thread may be adding rows to the same index
        representatives = np.concatenate([[UNREACHABLE], keys])
        starts = np.searchsorted(self._sorted_representatives, representatives, "left")
        ends = np.searchsorted(self._sorted_representatives, representatives, "right")
        groups = [self._by_representative[start:end] for start, end in zip(starts, ends, strict=True)]
        positions = np.sort(np.concatenate(groups))
        return positions if len(positions) >= count else None

    def _unreachable(self, rows: Rows, positions: Positions) -> Positions:
        """Return those of the positions that a search for the row at the position does not find."""
        import numpy as np

        for expansion, hit_count in ((EF_TEST, EF_TEST), (EF_FACTOR * FIRST_STAGE, FIRST_STAGE)):
            self._index.expansion_search = expansion
            missed = [batch[~self._finds(rows[batch], batch, hit_count)] for batch in _batches(positions)]
            positions = np.concatenate([positions[:0], *missed])  # with an empty array, because `missed` may be an empty list
        return positions

    def _finds(self, rows: Rows, positions: Positions, hit_count: int) -> NDArray[np.bool_]:
        """Return for each row whether a search for it finds its position."""
        import numpy as np

        hits = self._search(rows, hit_count)
        keys = np.atleast_2d(hits.keys)  # usearch returns one dimension for one row
        counts = hits.counts if len(rows) > 1 else np.array([len(hits)])
        is_hit = np.arange(keys.shape[1]) < counts[:, None]  # The numbers after the hits are zeros.
        is_found: NDArray[np.bool_] = (is_hit & (keys.astype(np.int64) == positions[:, None])).any(axis=1)
        return is_found

    def _search(self, rows: Rows, count: int) -> Any:
        """Return the hits of usearch, at most `count` for each row."""
        with no_fork, _keyboard_interrupts():
            return self._index.search(rows, count)

    @classmethod
    def open(cls, file: GraphFile, dimensions: int, *, writable: bool) -> Graph | None:
        """Return the graph of a file: a copy in memory if `writable`, else mapped to memory.

        Returns None if the file is missing or damaged. A damaged graph must not be searched, because that can end the process.
        """
        import numpy as np

        index_class = import_optional("usearch.index", "index").Index
        try:
            with open_regular_file(file.path) as opened_file:
                size = os.fstat(opened_file.fileno()).st_size
                if file_checksum(opened_file, size) != file.checksum:
                    return None
                opened_file.seek(size - 4 * file.row_count)
                representatives = np.frombuffer(opened_file.read(), np.int32)
            metadata = index_class.metadata(str(file.path))
            if metadata is None or int(metadata["dimensions"]) != dimensions or len(representatives) != file.row_count:
                return None
            with no_fork:
                return cls(index_class.restore(str(file.path), view=not writable), representatives)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError):
            return None

    def save(self, folder: Path) -> None:
        """Write the graph to a file, and delete older graphs.

        If the file cannot be written, this only logs a warning, because rows can be searched without a graph.
        """
        outdated = [path for path in folder.iterdir() if FILE_NAME.fullmatch(path.name)]
        unfinished = folder / f"graph-{self.row_count}.unfinished"  # usearch writes to a path, not to a file object
        try:
            self._index.save(str(unfinished))
            with open(unfinished, "rb+") as file:
                file.seek(0, os.SEEK_END)
                file.write(self._representatives.tobytes())
                size = file.tell()
                file.seek(0)
                checksum = file_checksum(file, size)
                os.fsync(file.fileno())
            saved = folder / f"graph-{self.row_count}-{checksum:08x}.hnsw"
            os.replace(unfinished, saved)
        except (OSError, RuntimeError, ValueError) as error:
            unfinished.unlink(missing_ok=True)
            _log.warning("the graph of %s could not be saved (%s); searches are exact and slower", folder, str(error)[:100])
            return
        for path in outdated:  # processes that mapped an older graph can still read it
            if path not in (saved, unfinished):
                with contextlib.suppress(OSError):
                    path.unlink()


@contextlib.contextmanager
def _keyboard_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt if usearch was interrupted, which it reports as a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "terminated" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error


def first_equal_rows(rows: Rows) -> NDArray[np.int64]:
    """Return for each row the position of the first row that has the same float16 numbers."""
    import numpy as np

    digests = np.empty(len(rows), "S16")
    for positions in _batches(np.arange(len(rows))):
        for position, row in zip(positions, rows[positions].astype(np.float16), strict=True):
            digests[position] = hashlib.blake2b(row.data, digest_size=16).digest()
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    first_equal: NDArray[np.int64] = first[group]
    return first_equal


def _batches(positions: Positions) -> list[Positions]:
    return [positions[start : start + BATCH_ROWS] for start in range(0, len(positions), BATCH_ROWS)]
