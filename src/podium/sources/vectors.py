"""Rows of vectors, in memory or in a file that only grows, and the nearest of them: exact, or by HNSW where they are many.

Which rows belong to documents is not known here: a row that nobody refers to is dead, and who asks leaves it out.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.errors import SourceError
from podium.extras import needed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

__all__ = ["EXACT_BELOW", "Vectors"]

EXACT_BELOW = 100_000  # rows: up to here looking at all of them takes 4 ms and finds exactly the nearest
# The share of rows that may lie outside the HNSW graph, where all are looked at, before it is extended and saved again.
OUTSIDE_GRAPH = 0.2
EF_SEARCH = 200  # how many neighbours HNSW keeps in view: 100 candidates are what is usually asked for


class Vectors:
    """Unit vectors of one length. `folder` is None for those that live in memory only.

    Readers in other processes may map the file while one process appends: it never changes what is there. The graph is
    derived from the rows, written beside them under a name that says how many it knows, and put in place at once.
    """

    def __init__(self, folder: Path | None, dimensions: int) -> None:
        self.dimensions = dimensions
        self._folder = folder
        self._rows: Any = None
        self._inode, self._seen = 0, 0  # whose rows these are, and how many there have been: they never become fewer
        self._graph: Any = None

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
        return range(whole, whole + len(unit))

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
            self._rows, self._inode = np.memmap(self._file, np.float32, "r", shape=(count, self.dimensions)), found.st_ino
        self._seen = max(self._seen, count)
        return self._rows  # type: ignore[no-any-return]

    def nearest(self, query: Rows, count: int) -> list[tuple[int, float]]:
        """Return at most `count` (row, cosine similarity), nearest first, equal ones by row."""
        import numpy as np

        rows = self.rows()
        unit = _unit(np.asarray(query, np.float32)[None])[0]
        known, from_graph = self._from_graph(unit, count) if len(rows) >= EXACT_BELOW else (0, [])
        tail = rows[known:] @ unit
        best = np.argpartition(-tail, count - 1)[:count] if count < len(tail) else np.arange(len(tail))
        found = from_graph + [(known + int(at), float(tail[at])) for at in best]
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:count]

    def improve(self) -> None:
        """Extend the graph where too many rows lie outside it. Takes minutes for a million; only for the writer."""
        rows = self.rows()
        known = self._graph_rows()
        if len(rows) < EXACT_BELOW or len(rows) - known <= OUTSIDE_GRAPH * len(rows):
            return
        import numpy as np

        graph = needed("usearch.index", "index").Index(ndim=self.dimensions, metric="ip", dtype="f16")
        if self._folder is not None and known:
            graph.load(str(self._graph_file(known)))
        elif self._graph is not None:
            graph = self._graph[1]
        step = 50_000  # float32 copies of no more than these are held
        for start in range(known, len(rows), step):
            end = min(start + step, len(rows))
            graph.add(np.arange(start, end, dtype=np.uint64), np.array(rows[start:end]))
        if self._folder is None:
            self._graph = (len(rows), graph)
        else:
            self._save(graph, len(rows), known)

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

    def _current_graph(self) -> tuple[int, Any]:
        """Return how many rows the newest graph knows, and it; opened anew where another process has replaced it."""
        while known := self._graph_rows():
            held = self._graph  # one look: other threads may be replacing it
            if self._folder is None or (held is not None and held[0] == known):
                return (known, held[1]) if held is not None else (0, None)
            try:
                opened = (known, _opened(self._graph_file(known), self.dimensions, known))
            except SourceError:
                if self._graph_file(known).exists():
                    raise
                continue  # it was replaced between looking and opening
            self._graph = opened
            return opened
        return 0, None

    def _graph_rows(self) -> int:
        """Return how many rows the newest graph knows that knows no more than there are."""
        if self._folder is None:
            return self._graph[0] if self._graph else 0
        names = (path.stem.removeprefix("graph-") for path in self._folder.glob("graph-*.usearch"))
        return max((int(name) for name in names if name.isdecimal() and int(name) <= len(self.rows())), default=0)

    def _save(self, graph: Any, rows: int, before: int) -> None:
        unfinished = self._graph_file(rows).with_suffix(".unfinished")
        graph.save(str(unfinished))
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, self._graph_file(rows))
        if before:  # readers that have it mapped keep it; those that open it now find the new one
            with contextlib.suppress(OSError):
                self._graph_file(before).unlink()

    @property
    def _file(self) -> Path:
        assert self._folder is not None  # noqa: S101  for the type checker
        return self._folder / "vectors.f32"

    def _graph_file(self, rows: int) -> Path:
        assert self._folder is not None  # noqa: S101  as above
        return self._folder / f"graph-{rows}.usearch"


def _opened(file: Path, dimensions: int, rows: int) -> Any:
    Index = needed("usearch.index", "index").Index  # noqa: N806  a class
    try:
        described = Index.metadata(str(file))
        if described is None or int(described["dimensions"]) != dimensions or int(described["count_present"]) != rows:
            raise SourceError(f"{file} is damaged; delete it, and it is made again when documents are next added")
        return Index.restore(str(file), view=True)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{file} is damaged; delete it, and it is made again when documents are next added") from error


def _unit(vectors: Rows) -> Rows:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Rows = vectors / np.where(lengths > 0, lengths, np.float32(1))
    return unit
