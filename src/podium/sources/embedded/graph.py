"""Files of the HNSW graph over rows of vectors, by usearch. A graph is derived from the rows, so it can be built again.

A file's name has the number of rows that the graph has and the checksum of the file: graph-150000-0a1b2c3d.usearch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.checksums import file_checksum
from podium.extras import import_optional
from podium.forks import no_fork
from podium.regular_files import open_regular_file

__all__ = ["FILE_NAME", "GraphFile", "graph_files", "new_graph", "opened_graph", "save_graph"]

_log = logging.getLogger("podium")
# Earlier versions of podium wrote graphs without a checksum. A process that was killed may have left an unfinished graph.
FILE_NAME = re.compile(r"graph-(?P<rows>[0-9]+)(?:(?:-(?P<checksum>[0-9a-f]{8}))?\.usearch|\.unfinished)")


@dataclass(frozen=True, slots=True)
class GraphFile:
    """The file of a graph, and the number of rows and the checksum that are in its name.

    `modified` is the time in nanoseconds when the file was last changed. A file that replaces it has another one.
    """

    path: Path
    rows: int
    checksum: int
    modified: int


def graph_files(folder: Path, rows: int) -> list[GraphFile]:
    """Return the graphs that have no more than `rows` rows, the largest first. Graphs without a checksum are left out."""
    files = []
    for path in folder.iterdir():
        if (match := FILE_NAME.fullmatch(path.name)) and match["checksum"]:
            with contextlib.suppress(OSError):  # the file was replaced after it was listed
                files.append(GraphFile(path, int(match["rows"]), int(match["checksum"], 16), path.stat().st_mtime_ns))
    return sorted((file for file in files if 0 < file.rows <= rows), key=lambda file: -file.rows)


def new_graph(dimensions: int) -> Any:
    """Return an empty graph, whose distance is the inner product: the cosine, as all vectors have length 1."""
    return import_optional("usearch.index", "index").Index(ndim=dimensions, metric="ip", dtype="f16")


def opened_graph(file: GraphFile, dimensions: int, *, writable: bool) -> Any:
    """Return the graph of a file: a copy in memory if `writable`, else mapped to memory.

    Returns None if the file is missing or damaged. A damaged graph must not be searched, because that can end the process.
    """
    index_class = import_optional("usearch.index", "index").Index
    try:
        with open_regular_file(file.path) as content:
            if file_checksum(content, os.fstat(content.fileno()).st_size) != file.checksum:
                return None
        metadata = index_class.metadata(str(file.path))
        if metadata is None or (int(metadata["dimensions"]), int(metadata["count_present"])) != (dimensions, file.rows):
            return None
        with no_fork:
            return index_class.restore(str(file.path), view=not writable)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return None


def save_graph(folder: Path, graph: Any, rows: int) -> None:
    """Write the graph of the first `rows` rows, and delete older graphs.

    If the disk is full, this only logs a warning, because rows can be searched without a graph.
    """
    outdated = [path for path in folder.iterdir() if FILE_NAME.fullmatch(path.name)]
    unfinished = folder / f"graph-{rows}.unfinished"  # usearch writes to a path, not to a file object
    try:
        graph.save(str(unfinished))
        with open(unfinished, "rb+") as file:
            checksum = file_checksum(file, unfinished.stat().st_size)
            os.fsync(file.fileno())
        saved = folder / f"graph-{rows}-{checksum:08x}.usearch"
        os.replace(unfinished, saved)
    except (OSError, RuntimeError, ValueError) as error:
        unfinished.unlink(missing_ok=True)
        _log.warning("the graph of %s could not be saved (%s); searches are exact and slower", folder, str(error)[:100])
        return
    for path in outdated:  # processes that mapped an older graph can still read it
        if path not in (saved, unfinished):
            with contextlib.suppress(OSError):
                path.unlink()
