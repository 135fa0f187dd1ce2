"""The files of tantivy's segments: their checksums, whether they were changed, and .del files that were not committed.

tantivy ends each file with a CRC-32, but does not check it. A search of a damaged file can end the process or return wrong
results.

A .del file lists the deleted documents of a segment. Its name has an opstamp, the number of tantivy's operations so far.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from podium.errors import SourceError
from podium.json_values import parse_json
from podium.regular_files import open_regular_file

__all__ = ["FileIdentity", "are_unchanged", "check_segments", "delete_uncommitted_del_files"]

# A footer is JSON, followed by two numbers: the length of the JSON in bytes, and MAGIC.
FOOTER_END = struct.Struct("<II")
MAGIC = 1337
CHUNK_BYTES = 1 << 20
MAX_FOOTER_BYTES = 10_000
DEL_FILE = re.compile(r"[0-9a-f]{32}\.(?P<opstamp>[0-9]+)\.del")

FileIdentity = tuple[str, int, int, int]
"""A file's name, inode, size in bytes, and time of the last change in nanoseconds."""
_intact_files: dict[Path, frozenset[FileIdentity]] = {}
"""Folder → its intact files, as of the last check. Their checksums are not computed again."""


def check_segments(folder: Path, meta: bytes) -> frozenset[FileIdentity]:
    """Check the checksum of each file of the segments listed in `meta` (the content of meta.json). Return their identities.

    Raises SourceError if a file is damaged. A process checks a file once, because tantivy never changes it. A missing file is
    not an error here, because tantivy raises one when it opens the segment.
    """
    intact_before = _intact_files.get(folder, frozenset())
    intact_files = set()
    for name in _segment_file_names(folder, meta):
        try:
            with open_regular_file(folder / name) as file:
                stat = os.fstat(file.fileno())
                identity = (name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if identity not in intact_before and not _is_intact(file, stat.st_size):
                    raise SourceError(f"{folder / name} is damaged: its checksum does not match; index the documents again")
                intact_files.add(identity)
        except FileNotFoundError:
            continue
    _intact_files[folder] = frozenset(intact_files)
    return _intact_files[folder]


def delete_uncommitted_del_files(folder: Path, meta: bytes) -> None:
    """Delete the .del files that a killed writer wrote and did not commit. Only the writer may call this.

    tantivy never overwrites a file. So a commit would fail if one of these files had the opstamp of the commit.
    """
    last_opstamp = int(parse_json(meta)["opstamp"])  # that of the last commit
    for name in os.listdir(folder):
        match = DEL_FILE.fullmatch(name)
        if match and int(match["opstamp"]) > last_opstamp:
            (folder / name).unlink(missing_ok=True)


def are_unchanged(folder: Path, files: Iterable[FileIdentity]) -> bool:
    """Whether none of the files was truncated, overwritten or replaced.

    A deleted file counts as unchanged, because processes that mapped it can still read it.
    """
    folder_prefix = f"{folder}{os.sep}"  # a string, because a Path takes longer, and every search calls this
    for name, inode, size, modified in files:
        try:
            stat = os.stat(folder_prefix + name)
        except FileNotFoundError:
            continue
        if stat.st_size != size or stat.st_mtime_ns != modified or stat.st_ino != inode:
            return False
    return True


def _segment_file_names(folder: Path, meta: bytes) -> Iterator[str]:
    """Yield the names of the files of all segments in `meta`: "<id>.<extension>", and "<id>.<opstamp>.del".

    .del files that `meta` does not list are left out: another process may be writing the next one of a segment.
    """
    ids = set()
    del_files = set()
    try:
        for segment in parse_json(meta)["segments"]:
            segment_id = segment["segment_id"].replace("-", "")
            ids.add(segment_id)
            if segment["deletes"]:
                del_files.add(f"{segment_id}.{segment['deletes']['opstamp']}.del")
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # tantivy reports a meta.json that it cannot read
    for name in os.listdir(folder):
        is_segment_file = name.partition(".")[0] in ids and not name.endswith(".del")
        if is_segment_file or name in del_files:
            yield name


def _is_intact(file: BinaryIO, size: int) -> bool:
    """Whether the bytes before a file's footer have the CRC-32 in the footer. `size` is the file's size in bytes."""
    try:
        file.seek(size - FOOTER_END.size)
        json_length, magic = FOOTER_END.unpack(file.read())
        if json_length > MAX_FOOTER_BYTES:
            return False
        footer_start = size - FOOTER_END.size - json_length
        file.seek(footer_start)
        expected_crc = parse_json(file.read(json_length))["crc"]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False
    file.seek(0)
    return bool(magic == MAGIC and _crc(file, footer_start) == expected_crc)


def _crc(file: BinaryIO, length: int) -> int:
    """Return the CRC-32 of the next `length` bytes of a file."""
    crc = 0
    bytes_left = length
    while bytes_left > 0 and (chunk := file.read(min(bytes_left, CHUNK_BYTES))):
        crc = zlib.crc32(chunk, crc)
        bytes_left -= len(chunk)
    return crc
