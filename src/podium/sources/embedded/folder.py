"""The folder of an index: create it in one step, reserve it for one process that loads documents, and delete it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from podium.errors import InvalidInput, SourceError
from podium.inputs import checked_path
from podium.sources.embedded.description import DESCRIPTION_FILE, is_index
from podium.sources.embedded.encodings import ENCODINGS_FOLDER
from podium.sources.embedded.generations import delete_generations
from podium.sources.embedded.texts import TEXT_FOLDER

__all__ = ["checked_folder", "delete_index", "loading", "new_folder"]

LOCK_FILE = "podium-index.lock"
DROPPED_FILE = "podium-index.dropped"  # the description's name while the other files of an index are deleted


def checked_folder(path: Any) -> Path:
    """Return the path as a Path. Raises InvalidInput if it cannot be the path of an index."""
    folder = checked_path(path)
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{str(folder)!r:.80} is not UTF-8, as an index's path must be; choose another name") from None
    return folder


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to create an index in. At the end it is renamed to `folder`.

    So the files of two processes that create the same index are never mixed. Raises SourceError if `folder` exists and is not
    empty.
    """
    folder = folder.resolve()  # because a folder cannot be renamed to "." or to a symbolic link
    if is_index(folder):
        raise SourceError(f"{folder} is an index already; open it, or delete the folder first")
    if (folder / DROPPED_FILE).exists():
        raise SourceError(f"{folder} was not dropped completely; run podium index --drop --to {folder} again")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(f"{folder} exists and is not an index of podium; name a folder that is empty or does not exist")
    unfinished = folder.parent / f".{folder.name[:40]}-{uuid.uuid4().hex[:12]}"
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        os.replace(unfinished, folder)
    except OSError as error:
        raise SourceError(f"cannot create an index in {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Prevent other processes from loading or dropping the index in a folder.

    A process that is killed leaves nothing locked. Raises SourceError if the folder is in use, or neither is an index nor was
    dropped in part.
    """
    if not is_index(folder) and not (folder / DROPPED_FILE).exists():
        raise SourceError(
            f"{folder} is not an index of podium, so nothing was done; podium index --list --to FOLDER lists those in a folder"
        )
    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise SourceError(
            f"another process is loading documents into {folder}; wait until it is done, then try again"
        ) from None
    except OSError as error:
        raise SourceError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def delete_index(folder: Path) -> None:
    """Delete the files of an index, and the folder if nothing else is in it. Raises SourceError."""
    target = folder.resolve()
    try:
        with contextlib.suppress(FileNotFoundError):  # a process that was killed has renamed it
            os.replace(target / DESCRIPTION_FILE, target / DROPPED_FILE)  # first: without it the folder is not an index
        if (target / TEXT_FOLDER).exists():
            shutil.rmtree(target / TEXT_FOLDER)
        shutil.rmtree(target / ENCODINGS_FOLDER, ignore_errors=True)
        delete_generations(target)
        (target / LOCK_FILE).unlink(missing_ok=True)
        (target / DROPPED_FILE).unlink(missing_ok=True)
        if not any(target.iterdir()):
            target.rmdir()
            if folder.is_symlink():
                folder.unlink()
    except OSError as error:
        raise SourceError(f"cannot delete all of {folder}: {error.strerror or error}") from error
