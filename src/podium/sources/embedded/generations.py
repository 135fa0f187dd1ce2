"""Generations of an index's vectors. Compaction writes the next generation, without the rows that no document refers to.

A document refers to its row by a number that never changes, so compaction does not touch the text index. In generation 0,
whose files are in the folder of the index, the number of a row is its position. Generation N is the folder `vectors-N`. It has
the same files, and the file `numbers`, which has 64-bit integers: the numbers of the rows that were copied, the number of the
next row, and a checksum. The folder gets its name when all its files are on the disk, and only then are the files of the
previous generation deleted. So the generation with the highest number is complete, even if a process is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from podium.atomic import atomic_write
from podium.checksums import checksum
from podium.errors import SourceError
from podium.regular_files import open_regular_file
from podium.sources.embedded import graph
from podium.sources.embedded.vectors import CHECKSUMS_FILE, EXACT_BELOW, ROWS_FILE, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

__all__ = ["Generation", "Generations", "delete_generations"]

Result = TypeVar("Result")
NUMBERS_FILE = "numbers"
FOLDER_NAME = re.compile(r"vectors-([1-9][0-9]*)")
UNFINISHED = ".unfinished"
MIN_UNUSED = 0.1  # the share of unused rows from which a compaction copies the others
Identity = tuple[int, ...]
"""The number of a generation, and the inode and time of its file `numbers`, which change if a backup is restored."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Rows of vectors, and the numbers by which documents refer to them.

    `numbers` has the number of each row that the compaction copied, in ascending order. Its last element is the number of the
    first row that was appended afterwards; the rows after that one are numbered consecutively.
    """

    identity: Identity
    vectors: Vectors
    numbers: Numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.vectors.rows())

    @property
    def next_number(self) -> int:
        """The number that the next row will get. It is higher than any number that a document refers to."""
        return self._number(len(self))

    def append(self, vectors: Any) -> range:
        """Add rows and return their numbers; they are on the disk when this returns. For one writer at a time."""
        positions = self.vectors.append(vectors)
        return range(self._number(positions.start), self._number(positions.stop))

    def nearest(self, query: Any, count: int) -> list[tuple[int, float]]:
        """Return at most `count` pairs (number of a row, cosine similarity), nearest first. Ties are in order of number."""
        return [(self._number(position), similarity) for position, similarity in self.vectors.nearest(query, count)]

    def nearest_of(self, numbers: Sequence[int], query: Any, count: int) -> list[tuple[int, float]]:
        """Return what `nearest` would return if there were only the rows with these numbers. It compares all these rows."""
        nearest = self.vectors.nearest_of(self.positions(numbers), query, count)
        return [(self._number(position), similarity) for position, similarity in nearest]

    def positions(self, numbers: Sequence[int] | Numbers) -> Numbers:
        """Return the positions of the rows with these numbers. Raises SourceError if a number belongs to no row."""
        import numpy as np

        numbers = np.asarray(numbers, np.int64)
        copied_count = len(self.numbers) - 1
        first_appended_number = self.numbers[copied_count]
        is_copied = numbers < first_appended_number
        appended_positions = numbers - first_appended_number + copied_count
        positions = np.where(is_copied, np.searchsorted(self.numbers, numbers), appended_positions)
        if (self.numbers[positions[is_copied]] != numbers[is_copied]).any() or (positions >= len(self)).any():
            raise SourceError("the index is damaged: vectors of documents are missing; index the documents again")
        return positions

    def _number(self, position: int) -> int:
        """Return the number of the row at a position, which may be the position after the last row."""
        copied_count = len(self.numbers) - 1
        return int(self.numbers[min(position, copied_count)]) + max(0, position - copied_count)


class Generations:
    """The vectors of an index in a folder, or in memory if `folder` is None. Other processes may compact them at any time."""

    def __init__(self, folder: Path | None, dimensions: int, *, exact_below: int = EXACT_BELOW) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._exact_below = exact_below
        self._newest = self._generation_0()

    def current(self) -> Generation:
        """Return the newest generation. It stays the newest as long as the caller keeps other writers out."""
        newest = self._newest
        if self._folder is None:
            return newest
        identity = _newest_identity(self._folder)
        if identity != newest.identity:
            try:
                newest = self._open(self._folder, identity) if identity[0] else self._generation_0()
            except (SourceError, FileNotFoundError):
                if _newest_identity(self._folder) == identity:
                    raise
                return self.current()  # a compaction has just replaced that generation and deleted its files
            self._newest = newest
        return newest

    def use(self, function: Callable[[Generation], Result]) -> Result:
        """Return what a function returns for the current generation.

        If a compaction replaces the generation meanwhile, the function is called again with the new one, because files may have
        been deleted before the function read them. The function may take a snapshot of the documents: the generation has all
        rows that these documents refer to.
        """
        while True:
            generation = self.current()
            try:
                result = function(generation)
            except (SourceError, OSError):
                if self.current().identity == generation.identity:
                    raise
            else:
                if self.current().identity == generation.identity:
                    return result

    def compact(self, used: Numbers) -> None:
        """Free the space of all rows except `used`, the ascending numbers of the rows that documents refer to.

        Does nothing if less than a tenth of the rows is unused. For one writer at a time, which must keep others out from
        before it reads `used`. Raises SourceError if vectors are damaged or the disk is full; then nothing has changed.
        """
        generation = self.current()
        if self._folder is not None:
            _try_to_delete_before(self._folder, generation.identity[0])  # a process may have been killed before it deleted them
        unused_count = len(generation) - len(used)
        if not unused_count or unused_count < MIN_UNUSED * len(generation):
            return
        if self._folder is None:
            copy = self._copy(generation, None, used)
            self._newest = Generation((generation.identity[0] + 1,), copy, _with_next(used, generation))
            return
        try:
            number = self._write(self._folder, generation, used)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"cannot compact {self._folder}: {reason}; free some disk space") from error
        _try_to_delete_before(self._folder, number)

    def _generation_0(self) -> Generation:
        import numpy as np

        return Generation((0,), self._vectors(self._folder), np.zeros(1, np.int64))

    def _vectors(self, folder: Path | None) -> Vectors:
        return Vectors(folder, self._dimensions, exact_below=self._exact_below)

    def _open(self, folder: Path, identity: Identity) -> Generation:
        """Open a later generation. Raises SourceError if its numbers are damaged, FileNotFoundError if it was deleted."""
        path = _generation_folder(folder, identity[0])
        vectors = self._vectors(path)
        numbers = _read_numbers(path / NUMBERS_FILE, len(vectors.rows()) + 1)
        return Generation(identity, vectors, numbers)

    def _copy(self, generation: Generation, folder: Path | None, used: Numbers) -> Vectors:
        """Copy the used rows of a generation to a folder, or in memory, and build their graph."""
        copy = self._vectors(folder)
        copy.append_rows_of(generation.vectors, generation.positions(used))
        copy.improve()
        return copy

    def _write(self, folder: Path, generation: Generation, used: Numbers) -> int:
        """Write the next generation, and return its number. Raises OSError."""
        number = max((number for number, _ in _generation_folders(folder)), default=0) + 1
        final = _generation_folder(folder, number)
        unfinished = final.with_name(final.name + UNFINISHED)
        try:
            unfinished.mkdir()
            self._copy(generation, unfinished, used)
            _write_numbers(unfinished / NUMBERS_FILE, _with_next(used, generation))
            _sync_folder(unfinished)
            os.replace(unfinished, final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _sync_folder(folder)
        return number


def delete_generations(folder: Path) -> None:
    """Delete all vectors of the index in a folder, and no other files. Raises OSError."""
    _delete_before(folder, max((number for number, _ in _generation_folders(folder)), default=0) + 1)


def _generation_folder(folder: Path, number: int) -> Path:
    return folder / f"vectors-{number}"


def _generation_folders(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the number and the path of everything that has the name of a generation, also if podium did not create it."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if match := FOLDER_NAME.fullmatch(name):
                yield int(match[1]), folder / name


def _newest_identity(folder: Path) -> Identity:
    """Return the identity of the newest generation on the disk. Generation 0 has no file `numbers`, so it is (0,)."""
    for number, path in sorted(_generation_folders(folder), reverse=True):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            stat = (path / NUMBERS_FILE).stat()
            return number, stat.st_ino, stat.st_mtime_ns
    return (0,)


def _with_next(used: Numbers, generation: Generation) -> Numbers:
    """Return the attribute `numbers` of the generation that has the used rows of this one."""
    import numpy as np

    return np.append(used, np.int64(generation.next_number))


def _write_numbers(path: Path, numbers: Numbers) -> None:
    content = numbers.astype("<i8").tobytes()
    with atomic_write(path) as file:
        file.write(content + checksum(content).to_bytes(8, "little"))


def _read_numbers(path: Path, max_count: int) -> Numbers:
    """Return the numbers in a file. Raises SourceError if it is damaged or has more than `max_count` numbers."""
    import numpy as np

    with open_regular_file(path) as file:
        content = file.read(8 * (max_count + 1) + 1)  # no more, so that a damaged file does not fill the memory
    number_bytes = content[:-8]
    stored_checksum = content[-8:]
    is_intact = stored_checksum == checksum(number_bytes).to_bytes(8, "little")
    if len(content) > 8 * (max_count + 1) or len(content) < 16 or not is_intact:
        raise SourceError(f"{path} is damaged, or vectors are missing; index the documents again")
    return np.frombuffer(number_bytes, "<i8").astype(np.int64)


def _sync_folder(folder: Path) -> None:
    """Write the names of a folder's files to the disk, before the files that they replace are deleted."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _try_to_delete_before(folder: Path, number: int) -> None:
    with contextlib.suppress(OSError):  # Windows does not delete mapped files; the next compaction tries again
        _delete_before(folder, number)


def _delete_before(folder: Path, number: int) -> None:
    """Delete older generations and unfinished ones. Processes that mapped their files can still read them. Raises OSError."""
    for path in folder.glob(f"vectors-*{UNFINISHED}"):
        if FOLDER_NAME.fullmatch(path.name.removesuffix(UNFINISHED)):
            shutil.rmtree(path)
    for other, path in _generation_folders(folder):
        if other < number and (path / NUMBERS_FILE).is_file():
            _delete_files(path)
            if os.listdir(path) == [NUMBERS_FILE]:  # deleted last, because a folder without this file may not be podium's
                (path / NUMBERS_FILE).unlink()
                path.rmdir()
    if number > 0:
        _delete_files(folder)  # the files of generation 0


def _delete_files(folder: Path) -> None:
    """Delete the files of rows, checksums and graphs in a folder."""
    for path in folder.iterdir():
        is_own = path.name in (ROWS_FILE, CHECKSUMS_FILE) or graph.FILE_NAME.fullmatch(path.name)
        if is_own and not path.is_dir():
            path.unlink()
