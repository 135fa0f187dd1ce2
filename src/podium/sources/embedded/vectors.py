"""Rows of vectors, in memory or in a file that only grows, and the nearest of them: exact, or by HNSW where they are many.

Which rows belong to documents is not known here: a row that nobody refers to is dead, and who asks leaves it out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.checksums import checksum, file_checksum
from podium.errors import SourceError
from podium.extras import needed
from podium.sources.embedded.row_checksums import DamagedRecord, RowChecksums, RowRange

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

__all__ = ["EXACT_BELOW", "Vectors"]

_log = logging.getLogger("podium")
EXACT_BELOW = 100_000  # rows: up to here looking at all of them takes 4 ms and finds exactly the nearest
# The share of rows that may lie outside the HNSW graph, where all are looked at, before it is extended and saved again.
OUTSIDE_GRAPH = 0.2
SQUARES_UNDERFLOW, SQUARES_OVERFLOW = 1e-15, 1e15  # lengths of vectors beyond which float32 cannot hold their squares' sum
EF_SEARCH = 200  # how many neighbours HNSW keeps in view: 100 candidates are what is usually asked for


class Vectors:
    """Unit vectors of one length. `folder` is None for those that live in memory only.

    Readers in other processes may map the file while one process appends: it never changes what is there. Each process
    compares the rows with their checksums once, before it first searches them. The graph is
    derived from the rows, written beside them under a name that holds its number of rows and its checksum, and put in
    place at once. A graph that is damaged is left out: all rows are compared, which is slower and as right, until the
    next `improve` makes it again.
    """

    def __init__(self, folder: Path | None, dimensions: int) -> None:
        self.dimensions = dimensions
        self._folder = folder
        self._rows: Any = None
        self._inode, self._seen = 0, 0  # whose rows these are, and how many there have been: they never become fewer
        self._verified, self._compared_at = 0, 0  # how many rows match their checksums; how many there were at that time
        self._graph: tuple[_GraphFile | None, int, Any] | None = None  # its file if it has one, how many rows it knows, it
        self._damaged: set[_GraphFile] = set()

    def append(self, vectors: Rows) -> range:
        """Add rows and return their numbers; they are on the disk when this returns. For one writer at a time."""
        import numpy as np

        unit = _unit(np.ascontiguousarray(vectors, np.float32))
        if self._folder is None:
            held = self.rows()
            self._rows = np.concatenate([held, unit]) if len(held) else unit
            return range(len(held), len(self._rows))
        self.rows()  # refuses a file that was cut short
        with open(self._file, "ab") as file:
            size = 4 * self.dimensions
            whole = file.tell() // size  # what a killed writer left of a row is no row
            file.truncate(whole * size)
            file.seek(0, os.SEEK_END)
            file.write(unit.tobytes())
            file.flush()
            os.fsync(file.fileno())
        end = whole + len(unit)
        RowChecksums(self._checksums_file).append(RowRange(whole, end, checksum(unit.data.cast("B"))))
        return range(whole, end)

    def rows(self) -> Rows:
        """Return every row, shape (rows, dimensions); a map of the file, not a copy."""
        import numpy as np

        size = 4 * self.dimensions
        if self._folder is None:
            return np.zeros((0, self.dimensions), np.float32) if self._rows is None else self._rows
        seen = self._seen  # before looking: another thread may be appending
        found = self._file.stat() if self._file.exists() else None
        count = found.st_size // size if found else 0
        if count < seen:
            raise SourceError(f"{self._file} is damaged: it was cut short, or taken away; index the documents again")
        if not count or found is None:
            return np.zeros((0, self.dimensions), np.float32)
        if self._rows is None or len(self._rows) != count or self._inode != found.st_ino:
            if self._inode != found.st_ino:
                self._verified = self._compared_at = 0
            self._rows, self._inode = np.memmap(self._file, np.float32, "r", shape=(count, self.dimensions)), found.st_ino
        self._seen = max(self._seen, count)
        return self._rows  # type: ignore[no-any-return]

    def nearest(self, query: Rows, count: int) -> list[tuple[int, float]]:
        """Return at most `count` (row, cosine similarity), nearest first, equal ones by row."""
        import numpy as np

        rows = self._verified_rows()
        unit = _unit(np.asarray(query, np.float32)[None])[0]
        known, from_graph = self._from_graph(unit, count) if len(rows) >= EXACT_BELOW else (0, [])
        tail = rows[known:] @ unit
        best = np.argpartition(-tail, count - 1)[:count] if count < len(tail) else np.arange(len(tail))
        found = from_graph + [(known + int(at), float(tail[at])) for at in best]
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:count]

    def improve(self) -> None:
        """Extend the graph where too many rows lie outside it. Takes minutes for a million; only for the writer."""
        rows = self._verified_rows()
        if len(rows) < EXACT_BELOW or len(rows) - self._current_graph()[0] <= OUTSIDE_GRAPH * len(rows):
            return
        import numpy as np

        known, graph = self._current_graph(writable=True)
        if graph is None:
            graph = needed("usearch.index", "index").Index(ndim=self.dimensions, metric="ip", dtype="f16")
        step = 50_000  # float32 copies of no more than these are held
        for start in range(known, len(rows), step):
            end = min(start + step, len(rows))
            graph.add(np.arange(start, end, dtype=np.uint64), np.array(rows[start:end]))
        if self._folder is None:
            self._graph = (None, len(rows), graph)
        else:
            self._save(self._folder, graph, len(rows))

    def _verified_rows(self) -> Rows:
        """Return every row, after comparing new ones with their checksums. Raises SourceError where they differ."""
        rows = self.rows()
        if self._folder is not None and len(rows) != self._compared_at:
            try:
                records = RowChecksums(self._checksums_file).between(self._verified, len(rows))
            except (DamagedRecord, OSError):
                raise self._damage(self._checksums_file) from None
            if any(checksum(rows[part.start : part.end].data.cast("B")) != part.checksum for part in records):
                raise self._damage(self._file)
            # Rows after the last record may have been appended just now, and get their record next.
            self._verified, self._compared_at = max([self._verified, *(part.end for part in records)]), len(rows)
        return rows

    def _damage(self, file: Path) -> SourceError:
        return SourceError(f"{file} is damaged: its checksums do not match; index the documents again")

    def _from_graph(self, unit: Rows, count: int) -> tuple[int, list[tuple[int, float]]]:
        """Return how many rows the graph knows and its nearest of them, with similarities computed from the rows themselves."""
        import numpy as np

        known, graph = self._current_graph()
        if graph is None:
            return 0, []
        graph.expansion_search = max(EF_SEARCH, 2 * count)
        keys = np.sort(graph.search(unit, min(count, known)).keys.astype(np.int64))
        keys = keys[keys < known]  # a graph in memory may be growing
        return known, [(int(key), float(score)) for key, score in zip(keys, self.rows()[keys] @ unit, strict=True)]

    def _current_graph(self, *, writable: bool = False) -> tuple[int, Any]:
        """Return how many rows the newest intact graph knows, and it; (0, None) without one.

        `writable`: as a copy in memory, where it is in a file, which can be extended.
        """
        held = self._graph  # one look: other threads may be replacing it
        if self._folder is None:
            return (0, None) if held is None else held[1:]
        for file in _graph_files(self._folder, len(self.rows())):
            if held is not None and held[0] == file and not writable:
                return held[1:]
            if file in self._damaged:
                continue
            if (graph := _opened(file, self.dimensions, writable=writable)) is not None:
                if not writable:
                    self._graph = (file, file.rows, graph)
                return file.rows, graph
            if file.path.exists():  # else a writer has replaced it since it was listed
                self._damaged.add(file)
                _log.warning("%s is damaged; searches are exact but slower until documents are next added", file.path)
        return 0, None

    def _save(self, folder: Path, graph: Any, rows: int) -> None:
        """Put the graph in place of the ones before. Without room for it, the rows are still searched exactly."""
        outdated = [*folder.glob("graph-*.usearch"), *folder.glob("graph-*.unfinished")]
        unfinished = folder / f"graph-{rows}.unfinished"
        try:
            graph.save(str(unfinished))
            with open(unfinished, "rb+") as file:
                total = file_checksum(file, unfinished.stat().st_size)
                os.fsync(file.fileno())
            saved = folder / f"graph-{rows}-{total:08x}.usearch"
            os.replace(unfinished, saved)
        except (OSError, RuntimeError, ValueError) as error:
            unfinished.unlink(missing_ok=True)
            _log.warning("the graph of %s could not be saved (%s); searches are exact and slower", folder, str(error)[:100])
            return
        for path in outdated:  # readers that have one mapped keep it; those that open it now find the new one
            if path not in (saved, unfinished):
                with contextlib.suppress(OSError):
                    path.unlink()

    @property
    def _file(self) -> Path:
        assert self._folder is not None  # noqa: S101  for the type checker
        return self._folder / "vectors.f32"

    @property
    def _checksums_file(self) -> Path:
        return self._file.with_suffix(".checksums")


@dataclass(frozen=True, slots=True)
class _GraphFile:
    """A graph's file with what its name says. Graphs without a checksum, of earlier versions, are made again."""

    path: Path
    rows: int
    checksum: int
    modified: int  # nanoseconds: a file that was made again is another one


def _graph_files(folder: Path, rows: int) -> list[_GraphFile]:
    """Return the graphs that know no more rows than there are, the largest first."""
    files = []
    for path in folder.glob("graph-*.usearch"):
        if match := re.fullmatch(r"graph-([0-9]+)-([0-9a-f]{8})\.usearch", path.name):
            with contextlib.suppress(OSError):  # replaced since it was listed
                files.append(_GraphFile(path, int(match[1]), int(match[2], 16), path.stat().st_mtime_ns))
    return sorted((file for file in files if 0 < file.rows <= rows), key=lambda file: -file.rows)


def _opened(file: _GraphFile, dimensions: int, *, writable: bool) -> Any:
    """Return the graph of a file, None where it is missing or damaged: walking a damaged one can end the process."""
    Index = needed("usearch.index", "index").Index  # noqa: N806  a class
    try:
        with open(file.path, "rb") as content:
            if file_checksum(content, os.fstat(content.fileno()).st_size) != file.checksum:
                return None
        described = Index.metadata(str(file.path))
        if described is None or int(described["dimensions"]) != dimensions or int(described["count_present"]) != file.rows:
            return None
        return Index.restore(str(file.path), view=not writable)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return None


def _unit(vectors: Rows) -> Rows:
    """Return the vectors at length 1; those of length 0 as they are."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        extreme = ~((lengths > SQUARES_UNDERFLOW) & (lengths < SQUARES_OVERFLOW))[:, 0]
        if extreme.any():  # their squares leave the range of float32
            vectors = vectors.copy()
            largest = np.abs(vectors[extreme]).max(axis=1, keepdims=True)
            vectors[extreme] = (vectors[extreme] / np.where(largest > 0, largest.astype(np.float64), 1)).astype(np.float32)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Rows = vectors / np.where(lengths > 0, lengths, np.float32(1))
    return unit
