"""Input files of a batch job: paths, globs, folders and URLs → files with an identity, opened for reading.

Files are opened with pyarrow, which reads local files, s3://, gs:// and other file systems. hf:// uses the hub's client.
"""

from __future__ import annotations

import fnmatch
import glob
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from podium.errors import Argument, InvalidInput, PodiumError, unreadable
from podium.extras import import_optional
from podium.regular_files import is_pipe_or_device

__all__ = [
    "InputFile", "check_apart", "compression_of", "expansion_of", "file_name", "input_files", "open_file", "open_stream",
    "readable_files",
]  # fmt: skip

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Ending of a file's name → its compression, as pyarrow names it."""
BUFFER_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 22  # the number of bytes that are decompressed to estimate the size of all content
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # at least two letters: C:\ is a drive of Windows
_WILDCARD = re.compile(r"[*?[]")
_HUB = "hf://"
_URL_CHARACTERS = "%/:@!$&'()*+,;=~"  # they stay as they are in a URL; others, such as spaces and [, are encoded


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input file and its identity: an absolute path or a URL, its size in bytes, and a version.

    The version is the time of the last change, or the hash that the storage reports. A file whose size and version are
    unchanged is not read again.
    """

    path: str
    size: int
    version: str


def input_files(inputs: Iterable[str | os.PathLike[str]]) -> list[InputFile]:
    """Return the files that paths, globs, folders and URLs name, in this order; those of a glob or folder sorted by name.

    The files in a folder whose name begins with a dot or an underscore are left out, as other readers of Parquet do. Raises
    InvalidInput if there is no such file, and if a file is named twice.
    """
    return readable_files(inputs, lambda path: True)[0]


def readable_files(inputs: Iterable[str | os.PathLike[str]], can_read: Callable[[str], bool]) -> tuple[list[InputFile], int]:
    """Do what `input_files` does, but leave out files in folders that cannot be read. Return also the number of these."""
    files = []
    ignored_count = 0
    for name in inputs:
        found_files = _files_of(os.fspath(name))
        readable = [file for file, is_in_folder in found_files if not is_in_folder or can_read(file.path)]
        if not readable:
            raise InvalidInput(f"{os.fspath(name)} has no file that podium batch can read; name a file, or use --format")
        files += readable
        ignored_count += len(found_files) - len(readable)
    counts = Counter(file.path for file in files)
    if repeated := next((path for path, count in counts.items() if count > 1), None):
        raise InvalidInput(f"{repeated} is named twice as an input; name each file once")
    if not files:
        raise InvalidInput("there is no input; name at least one file")
    return files, ignored_count


def check_apart(inputs: Iterable[str | os.PathLike[str]], rejected: Path, part: Path) -> None:
    """Raise InvalidInput if an input names, or would name, a file that the job writes: `rejected`, or a part.

    `part` is the path of any part. The others are in the same folder.
    """
    outputs = [Path(os.path.realpath(file)) for file in (rejected, part)]
    folders = {folder for output in outputs for folder in output.parents}
    for name in [os.fspath(name) for name in inputs]:
        if _URL.match(name):
            continue
        path = Path(os.path.realpath(name))
        if os.path.isfile(name):
            names_output = path == outputs[0] or path.parent == outputs[1].parent
        else:
            pattern = Path(os.path.abspath(name)).parts
            names_output = path in folders or any(_matches(output.parts, pattern) for output in outputs)
        if names_output:
            raise InvalidInput(Argument("to"), f": the output would be in the input {name}; name a folder that is not in it")


def open_file(file: InputFile) -> Any:
    """Return a pyarrow file for random access, without decompression. Raises InvalidInput."""
    system, path = _file_system(file.path)
    try:
        return system.open_input_file(path)
    except OSError as error:
        raise unreadable(file.path, error) from error


def open_stream(file: InputFile, start: int = 0) -> BinaryIO:
    """Return the file's content from a byte on, decompressed if its name ends in .gz or .zst; then `start` must be 0."""
    raw = open_file(file)
    compression = compression_of(file.path)
    if compression is not None:
        raw = import_optional("pyarrow", "batch").CompressedInputStream(raw, compression)
    elif start:
        raw.seek(start)
    return io.BufferedReader(raw, BUFFER_BYTES)


def expansion_of(file: InputFile) -> float:
    """Return about how many bytes of content a byte of a file expands to, measured at its beginning. 1 if not compressed."""
    if compression_of(file.path) is None:
        return 1.0
    raw = open_file(file)
    with raw, import_optional("pyarrow", "batch").CompressedInputStream(raw, compression_of(file.path)) as content:
        length = len(content.read(SAMPLE_BYTES))
        return float(length / max(1, raw.tell()))


def compression_of(path: str) -> str | None:
    """Return the compression of a file by its name, None if it is not compressed."""
    return COMPRESSIONS.get(os.path.splitext(file_name(path))[1])


def file_name(path: str) -> str:
    """Return a path or URL in lower case, without the options of a URL, to tell the kind of the file by its ending."""
    return (path.partition("?")[0] if _URL.match(path) else path).lower()


def _files_of(name: str) -> list[tuple[InputFile, bool]]:
    """Return the files of one input, with whether they are in a folder that it names.

    Raises InvalidInput if there are none, and for pipes and names that are not UTF-8.
    """
    if _URL.match(name):
        remote_files = list(_remote_files(name))
        has_wildcard = _WILDCARD.search(name.partition("?")[0]) is not None
        is_file = len(remote_files) == 1 and unquote(remote_files[0].path) == unquote(name)
        files = [(file, not has_wildcard and not is_file) for file in remote_files]
    else:
        files = list(_local_files(name))
    if not files:
        raise InvalidInput(f"there is no file {name}; check the name")
    for file, _ in files:
        if not _URL.match(file.path) and is_pipe_or_device(Path(file.path)):
            raise InvalidInput(f"{file.path} is a pipe or a device, which cannot be read twice; save its content to a file")
        try:
            file.path.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"the name {file.path!a} is not valid UTF-8; rename the file") from error
    return files


def _local_files(name: str) -> Iterator[tuple[InputFile, bool]]:
    try:
        paths = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        is_in_folder: dict[Path, bool] = {}
        for path in map(Path, paths):
            if path.is_dir():
                is_in_folder |= dict.fromkeys(_visible_files(path), True)
            else:
                is_in_folder.setdefault(path, False)  # with the wildcard **, it may be one of its folder already
        for file in is_in_folder:
            stat = file.stat()
            path = file.parent.resolve() / file.name  # of a link, the name is kept, because it tells the format
            yield InputFile(str(path), stat.st_size, str(stat.st_mtime_ns)), is_in_folder[file]
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def _visible_files(folder: Path) -> list[Path]:
    """Return the files in a folder and in the folders in it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and _is_visible(path.relative_to(folder).parts))


def _is_visible(parts: Sequence[str]) -> bool:
    """Whether none of the parts of a path in a folder begins with a dot or an underscore."""
    return not any(part.startswith((".", "_")) for part in parts)


def _remote_files(url: str) -> Iterator[InputFile]:
    """Yield the files of a URL, which may have wildcards or name a folder."""
    fs = import_optional("pyarrow.fs", "batch")
    system, path = _file_system(url)
    is_pattern = _WILDCARD.search(url.partition("?")[0]) is not None  # %2A in a URL is an asterisk in the name
    wildcard = _WILDCARD.search(path) if is_pattern else None
    folder = path[: wildcard.start()].rpartition("/")[0] if wildcard else path
    try:
        entry = system.get_file_info(folder)
        is_file = entry.type == fs.FileType.File
        entries = [entry] if is_file else system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    except OSError as error:
        raise unreadable(url, error) from error
    pattern = path.removeprefix(folder).strip("/").split("/") if wildcard else []
    for entry in sorted(entries, key=lambda entry: entry.path):
        parts = entry.path.removeprefix(folder).strip("/").split("/") if entry.path != folder else []
        if entry.type == fs.FileType.File and _matches(parts, pattern):
            yield InputFile(_url_of(entry.path, url, path), entry.size, _remote_version(system, entry))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, as in `glob`, or are a visible file in a folder that matches."""
    if not pattern:
        return _is_visible(parts)
    if not parts:
        return pattern == ["**"]
    is_hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (not is_hidden and _matches(parts[1:], pattern))
    return not is_hidden and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _url_of(path: str, url: str, url_path: str) -> str:
    """Return the URL of a path in the file system of `url`, whose own path in it is `url_path`."""
    location, question_mark, options = url.partition("?")  # options of the storage, such as s3://bucket/a?region=eu-west-1
    is_encoded = not url.startswith(_HUB)
    prefix = (unquote(location) if is_encoded else location).rstrip("/").removesuffix(url_path.rstrip("/"))
    return f"{prefix}{quote(path) if is_encoded else path}{question_mark}{options}"


def _remote_version(system: Any, entry: Any) -> str:
    """Return the hash that the storage reports for a file, or else the time of its last change."""
    if system.type_name.startswith("py::fsspec"):
        info = system.handler.fs.info(entry.path)
        hashes = (info.get(name) for name in ("blob_id", "ETag", "etag", "sha"))
        if known := next(filter(None, hashes), None):
            return str(known)
    return str(entry.mtime_ns or "")


def _file_system(path: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a path or URL, and the path in it. Raises InvalidInput for a URL that is unknown."""
    fs = import_optional("pyarrow.fs", "batch")
    if not _URL.match(path):
        return fs.LocalFileSystem(), path
    scheme, _, location = path.partition("://")
    user = location.partition("/")[0].rpartition("@")[0]
    if user and (scheme, user) != ("gs", "anonymous"):  # how pyarrow names public buckets
        raise InvalidInput("an input's URL must not have a user or a key, which would be in the results; use the environment")
    try:
        if path.startswith(_HUB):
            hub = import_optional("huggingface_hub", "batch")
            return fs.PyFileSystem(fs.FSSpecHandler(hub.HfFileSystem())), path.removeprefix(_HUB).rstrip("/")
        location, question_mark, options = path.partition("?")
        system, inner_path = fs.FileSystem.from_uri(quote(location, safe=_URL_CHARACTERS) + question_mark + options)
    except PodiumError:
        raise
    except (OSError, ValueError, ImportError, NotImplementedError) as error:
        raise InvalidInput(f"{path} cannot be opened: {str(error)[:200]}; check the URL") from error
    return system, inner_path.rstrip("/")
