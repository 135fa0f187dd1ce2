"""Checksums of tantivy's files: tantivy writes a CRC-32 to the end of every segment file, but never compares it.

A search of a damaged segment file can end the process or return wrong results.
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

__all__ = ["FileIdentity", "are_unchanged", "check_segments", "delete_uncommitted"]

# A footer is JSON, followed by two numbers: the length of the JSON in bytes, and MAGIC.
FOOTER_END = struct.Struct("<II")
MAGIC = 1337
CHUNK_BYTES = 1 << 20
MAX_FOOTER_BYTES = 10_000
DELETIONS_FILE = re.compile(r"[0-9a-f]{32}\.(?P<operation>[0-9]+)\.del")  # the deleted documents of a segment

FileIdentity = tuple[str, int, int, int]
"""A file's name, inode, size in bytes, and time of the last change in nanoseconds."""
_intact_files: dict[Path, frozenset[FileIdentity]] = {}
"""Folder → its intact files, as of the last check. Their checksums are not computed again."""


def check_segments(folder: Path, meta: bytes) -> frozenset[FileIdentity]:
    """Check the checksum of each file of the segments listed in `meta` (the content of meta.json). Return their identities.

    Raises SourceError if a file is damaged. A process checks a file once, because tantivy never changes it. Missing files are
    skipped: tantivy reports them.
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


def delete_uncommitted(folder: Path, meta: bytes) -> None:
    """Delete the lists of deleted documents that a killed writer wrote and did not commit. Only for the writer.

    tantivy names such a list after the number of operations so far, and never overwrites one. So the next writer could not
    commit if it did the same operations again.
    """
    committed = set(_segment_file_names(folder, meta))
    last_operation = int(parse_json(meta)["opstamp"])
    for name in os.listdir(folder):
        match = DELETIONS_FILE.fullmatch(name)
        if match and name not in committed and int(match["operation"]) > last_operation:
            (folder / name).unlink(missing_ok=True)


def are_unchanged(folder: Path, files: Iterable[FileIdentity]) -> bool:
    """Whether none of the files was truncated, overwritten or replaced.

    A deleted file counts as unchanged, because processes that mapped it can still read it.
    """
    folder_prefix = f"{folder}{os.sep}"
    for name, inode, size, modified in files:
        try:
            stat = os.stat(folder_prefix + name)
        except FileNotFoundError:
            continue
        if stat.st_size != size or stat.st_mtime_ns != modified or stat.st_ino != inode:
            return False
    return True


def _segment_file_names(folder: Path, meta: bytes) -> Iterator[str]:
    """Yield the names of the files of all segments: "<id>.<extension>", and "<id>.<opstamp>.del" for deleted documents.

    .del files that `meta` does not list are left out: another process may be writing the next one of a segment.
    """
    try:
        opstamps_of_deletes = {
            segment["segment_id"].replace("-", ""): (segment["deletes"] or {}).get("opstamp")
            for segment in parse_json(meta)["segments"]
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # tantivy reports a meta.json that it cannot read
    for name in os.listdir(folder):
        segment_id, _, extension = name.partition(".")
        if segment_id in opstamps_of_deletes:
            is_del_file = extension.endswith("del")
            if not is_del_file or extension == f"{opstamps_of_deletes[segment_id]}.del":
                yield name


def _is_intact(file: BinaryIO, size: int) -> bool:
    """Whether the bytes before the footer of a file have the CRC-32 that the footer names. `size` is that of the file."""
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
