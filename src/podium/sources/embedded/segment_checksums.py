"""Checksums of tantivy's files: tantivy writes a CRC-32 to the end of every segment file, but never compares it.

A damaged segment file can end the process when it is searched, or return wrong results.
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

FOOTER_END = struct.Struct("<II")  # the length of the footer's JSON, which is before these numbers, and MAGIC
MAGIC = 1337
CHUNK_BYTES = 1 << 20
MAX_FOOTER_BYTES = 10_000
DELETIONS_FILE = re.compile(r"[0-9a-f]{32}\.(?P<operation>[0-9]+)\.del")  # the deleted documents of a segment

FileIdentity = tuple[str, int, int, int]
"""A file's name, inode, size in bytes, and time of the last change in nanoseconds."""
_intact_files: dict[Path, frozenset[FileIdentity]] = {}
"""Folder → the files in it that this process has compared. It does not compare them again."""


def check_segments(folder: Path, meta: bytes) -> frozenset[FileIdentity]:
    """Compare all files of the segments that `meta`, the content of meta.json, lists, and return their identities.

    Raises SourceError if one is damaged. Each file is compared once in a process, as tantivy never changes it. Files that are
    missing are left to tantivy.
    """
    intact_before = _intact_files.get(folder, frozenset())
    files = set()
    for name in _segment_files(folder, meta):
        try:
            with open_regular_file(folder / name) as file:
                stat = os.fstat(file.fileno())
                identity = (name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if identity not in intact_before and not _is_intact(file, stat.st_size):
                    raise SourceError(f"{folder / name} is damaged: its checksum does not match; index the documents again")
                files.add(identity)
        except FileNotFoundError:
            continue
    _intact_files[folder] = frozenset(files)
    return _intact_files[folder]


def delete_uncommitted(folder: Path, meta: bytes) -> None:
    """Delete the lists of deleted documents that a killed writer wrote and did not commit. Only for the writer.

    tantivy names such a list after the number of operations so far, and never overwrites one. So the next writer could not
    commit if it did the same operations again.
    """
    committed = set(_segment_files(folder, meta))
    last_operation = int(parse_json(meta)["opstamp"])
    for name in os.listdir(folder):
        match = DELETIONS_FILE.fullmatch(name)
        if match and name not in committed and int(match["operation"]) > last_operation:
            (folder / name).unlink(missing_ok=True)


def are_unchanged(folder: Path, files: Iterable[FileIdentity]) -> bool:
    """Whether no file was truncated, overwritten or replaced. It may be deleted: processes that mapped it can still read it."""
    prefix = f"{folder}{os.sep}"
    for name, inode, size, modified in files:
        try:
            stat = os.stat(prefix + name)
        except FileNotFoundError:
            continue
        if stat.st_size != size or stat.st_mtime_ns != modified or stat.st_ino != inode:
            return False
    return True


def _segment_files(folder: Path, meta: bytes) -> Iterator[str]:
    """Yield the names of the files of all segments.

    Of .del files, only those that `meta` names: another process may be writing the next .del file of a segment.
    """
    try:
        segments = {
            segment["segment_id"].replace("-", ""): (segment["deletes"] or {}).get("opstamp")
            for segment in parse_json(meta)["segments"]
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # tantivy reports a meta.json that it cannot read
    for name in os.listdir(folder):
        segment, _, kind = name.partition(".")
        if segment in segments and (not kind.endswith("del") or kind == f"{segments[segment]}.del"):
            yield name


def _is_intact(file: BinaryIO, size: int) -> bool:
    """Whether a file ends with a footer that has the CRC-32 of everything before the footer."""
    try:
        file.seek(size - FOOTER_END.size)
        length, magic = FOOTER_END.unpack(file.read())
        if length > MAX_FOOTER_BYTES:
            return False
        end = size - FOOTER_END.size - length
        file.seek(end)
        expected = parse_json(file.read(length))["crc"]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False
    file.seek(0)
    return bool(magic == MAGIC and _crc(file, end) == expected)


def _crc(file: BinaryIO, length: int) -> int:
    crc = 0
    while length > 0 and (chunk := file.read(min(length, CHUNK_BYTES))):
        crc = zlib.crc32(chunk, crc)
        length -= len(chunk)
    return crc
