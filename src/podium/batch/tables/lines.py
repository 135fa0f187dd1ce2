"""LineFormat, a format whose rows are lines. A file that is not compressed is divided into ranges of bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from podium.batch.files import InputFile, compression_of, expansion_of, open_stream
from podium.batch.tables.row import Range, Row, TableFormat, even_ranges, part_count
from podium.errors import unreadable

__all__ = ["MAX_LINE_BYTES", "LineFormat", "text_lines"]

MAX_LINE_BYTES = 1 << 26
BLOCK_BYTES = 1 << 16  # lines before a position are searched in blocks of this size
LARGE_BLOCK_BYTES = 1 << 20  # the size of blocks inside a long line
SAMPLES = 4  # positions at which the lines of a file are measured
SAMPLE_BYTES = 1 << 16  # about how many bytes are measured at each of them
UTF8_MARK = b"\xef\xbb\xbf"


class LineFormat(TableFormat):
    """Positions are bytes: where a line begins in the file, or in the decompressed content of a compressed one."""

    unit = "byte"

    @abstractmethod
    def row(self, position: int, line: bytes) -> Row:
        """Return the row of a line that is not blank. Raises UnicodeDecodeError."""

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None, copied: Sequence[str] = ()) -> Iterator[Row]:
        for position, line in text_lines(file, start):
            if line is None:
                yield Row(position, {}, f"longer than {MAX_LINE_BYTES:,} bytes")
            elif line.strip():
                yield self._row(position, line)

    def ranges(self, file: InputFile, part_size: int, list_path: Sequence[str] = ()) -> list[Range]:
        if compression_of(file.path):
            return [(0, None)]
        return even_ranges(file.size, part_count(file.size / self._bytes_per_pair(file, list_path), part_size))

    def _bytes_per_pair(self, file: InputFile, list_path: Sequence[str]) -> float:
        """Return about how many bytes of a file belong to a pair, measured at several positions.

        A line counts only as far as it is within SAMPLE_BYTES, and its pairs in proportion, so that a long line at one position
        does not outweigh the others.
        """
        byte_count = pair_count = 0.0
        for start in sorted({index * file.size // SAMPLES for index in range(SAMPLES)}):
            bytes_left = SAMPLE_BYTES
            for position, line in text_lines(file, start):
                if position - start > SAMPLE_BYTES or bytes_left <= 0:
                    break
                if line is None or line.strip():
                    length = MAX_LINE_BYTES if line is None else len(line)
                    items = 1 if line is None else _item_count(self._row(position, line).values, list_path)
                    measured_bytes = min(length, bytes_left)
                    bytes_left -= measured_bytes
                    byte_count += measured_bytes
                    pair_count += items * measured_bytes / length
        return byte_count / pair_count if pair_count else max(1, file.size)

    def estimated_end(self, file: InputFile) -> int:
        return int(file.size * expansion_of(file))

    def row_before(self, file: InputFile, start: int, columns: Collection[str], is_valid: Callable[[Row], bool]) -> Row | None:
        try:
            with open_stream(file) as content:
                for line in _lines_before(content, _line_start(content, start)):
                    if line is not None and line.strip() and is_valid(row := self._row(0, line)):
                        return row
        except OSError as error:
            raise unreadable(file.path, error) from error
        return None

    def _row(self, position: int, line: bytes) -> Row:
        """Return the row of a line that is not blank, without a byte order mark: files that begin with one may be joined."""
        try:
            return self.row(position, line.removeprefix(UTF8_MARK))
        except UnicodeDecodeError:
            return Row(position, {}, "not UTF-8")


def _item_count(values: Mapping[str, Any], list_path: Sequence[str]) -> int:
    """Return the number of items of the list that the names `list_path` lead to, 1 if there is none."""
    value: Any = values if list_path else None
    for name in list_path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return max(1, len(value)) if isinstance(value, list) else 1


def text_lines(file: InputFile, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """Yield (position of its first byte, line) for the lines that begin at `start` or later. A line that is too long is None.

    Raises InvalidInput if the file cannot be read or decompressed.
    """
    try:
        with open_stream(file, max(0, start - 1)) as content:
            position = start
            if start and content.read(1) != b"\n":  # a line that begins before `start`
                position += _skip_line(content)
            yield from numbered_lines(content, position)
    except OSError as error:
        raise unreadable(file.path, error) from error


def numbered_lines(content: BinaryIO, position: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield (position, line) for each line of a stream whose next byte is at `position`. A line that is too long is None."""
    while line := content.readline(MAX_LINE_BYTES):
        length = len(line)
        is_too_long = length == MAX_LINE_BYTES and not line.endswith(b"\n")
        if is_too_long:
            length += _skip_line(content)
        yield position, None if is_too_long else line
        position += length


def _line_start(content: BinaryIO, position: int) -> int:
    """Return where the first line that begins at `position` or later begins."""
    if position == 0:
        return 0
    content.seek(position - 1)
    return position - 1 + _skip_line(content)


def _skip_line(content: BinaryIO) -> int:
    """Read up to the end of a line, and return the number of bytes."""
    count = 0
    while part := content.readline(LARGE_BLOCK_BYTES):
        count += len(part)
        if part.endswith(b"\n"):
            break
    return count


def _lines_before(content: BinaryIO, end: int) -> Iterator[bytes | None]:
    """Yield the lines before `end`, where a line begins, the last one first. A line that is too long is None."""
    tail: list[bytes] = []  # pieces of a line whose beginning has not been read, the last one first
    end -= 1  # the line break of the last line
    block_bytes = BLOCK_BYTES
    while end > 0:
        start = max(0, end - block_bytes)
        content.seek(start)
        first, *lines = content.read(end - start).split(b"\n")
        if lines:
            yield _joined([*tail, lines.pop()])
            yield from reversed(lines)
            tail = []
        if sum(map(len, tail)) < MAX_LINE_BYTES:  # more of a line that is too long is not needed
            tail.append(first)
        end = start
        block_bytes = BLOCK_BYTES if lines else LARGE_BLOCK_BYTES
    yield _joined(tail)


def _joined(pieces: list[bytes]) -> bytes | None:
    """Return a line without its line break from its pieces, the last one first. None if it is too long."""
    return b"".join(reversed(pieces)) if sum(map(len, pieces)) < MAX_LINE_BYTES else None
