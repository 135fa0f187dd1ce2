"""What an index in a folder was made with, in a file beside it, and whether that fits. Nothing is searched here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from podium.errors import Argument, InvalidInput, SourceError
from podium.sources.embedding import PROBE, document_vectors, is_same_embedder
from podium.sources.fields import checked_weights
from podium.types import Embed

__all__ = [
    "TEXT_FOLDER",
    "Description",
    "check_embedder",
    "check_ids",
    "damaged",
    "delete",
    "is_index",
    "loading",
    "made_at_once",
    "name_of",
    "probe",
    "read",
    "write",
]

FILE, LOCK_FILE, TEXT_FOLDER, LAYOUT = "podium-index.json", "podium-index.lock", "text", 1


@dataclass(frozen=True, slots=True)
class Description:
    """What an index was made with.

    `fields` maps names to weights; None: a document's own text, as podium reads it. `probe` is the vector of one sentence
    by the embedder it was made with, () without one: comparing it detects another embedder, even one of the same name.
    `ids_from` is the field that ids were taken from, "" where they are digests of the documents, None where unknown.
    """

    fields: dict[str, float] | None
    language: str | None
    embedder: str | None = None
    probe: tuple[float, ...] = ()
    layout: int = LAYOUT
    ids_from: str | None = None


def is_index(path: str | os.PathLike[str]) -> bool:
    """Say whether a folder is an index of ours."""
    return (Path(path) / FILE).exists()


def name_of(embed: Any) -> str | None:
    """Return what an embedder calls its model, None for a callable that doesn't say."""
    name = getattr(embed, "model", None)
    return name if isinstance(name, str) else None


def probe(embed: Embed | None) -> tuple[float, ...]:
    return () if embed is None else tuple(float(value) for value in document_vectors(embed, [PROBE])[0])


@contextlib.contextmanager
def made_at_once(folder: Path) -> Iterator[Path]:
    """Give a folder to make an index in, which takes its place when it is whole: two who make one cannot mix theirs.

    Raises SourceError where something is there already.
    """
    folder = folder.resolve()  # what a link leads to; and "." cannot be replaced by that name
    if is_index(folder):
        raise SourceError(f"{folder} is an index already; open it, or delete the folder first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(
            f"{folder} is there already and is no index of podium's; name a folder that is empty or not there yet"
        )
    unfinished = folder.parent / f".{folder.name[:40]}-{uuid.uuid4().hex[:12]}"
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        os.replace(unfinished, folder)
    except OSError as error:
        raise SourceError(f"cannot make an index at {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_embedder(folder: Path, described: Description, embed: Embed | None) -> None:
    """Refuse an embedder that the index was not made with: its vectors would mean something else."""
    if embed is None:
        return
    if not described.probe:
        raise SourceError(
            f"{folder} was made without an embedder; leave out ",
            Argument("embed"),
            ", or index the documents again with it",
        )
    now, then = probe(embed), described.probe
    if not is_same_embedder(now, then):
        raise SourceError(
            f"{folder} was made with another embedder ({described.embedder or 'a callable'}, {len(then)} dimensions) than "
            f"{name_of(embed) or 'the one given'} ({len(now)} dimensions); open it with that one, or index the documents again"
        )


def check_ids(index: str, made_with: str | None, ids_from: str | None) -> None:
    """Refuse ids that are taken from another field: documents would be in the index twice. None: unknown."""
    if made_with is None or ids_from is None or made_with == ids_from:
        return
    remedy = f"use --id {made_with} again" if made_with else "leave --id out, as then"
    was = f"--id {made_with}" if made_with else "ids made from what documents say"
    raise InvalidInput(f"{index} was made with {was}; {remedy}, or its documents would be there twice")


def write(folder: Path, described: Description) -> None:
    """Write it in one step, last of all: a folder that has it is an index."""
    unfinished = folder / TEXT_FOLDER / FILE
    unfinished.write_text(json.dumps(asdict(described)), encoding="utf-8")
    os.replace(unfinished, folder / FILE)


def read(folder: Path) -> Description:
    """Return what the index of a folder was made with. Raises SourceError where it is none, or damaged."""
    if not folder.is_dir():
        raise SourceError(f"there is no folder {str(folder)[:200]}; make an index with EmbeddedIndex.create or podium index")
    if not is_index(folder):
        raise SourceError(f"{folder} is no index of podium's: it has no {FILE}")
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        described = Description(**said | {"probe": tuple(map(float, said["probe"])), "fields": checked_weights(said["fields"])})
        if described.language is not None and not isinstance(described.language, str):
            raise ValueError("its language")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged(folder, error) from error
    if described.layout != LAYOUT:
        raise SourceError(f"{folder} is of layout {described.layout}, this podium reads {LAYOUT}; index the documents again")
    return described


@contextlib.contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Keep the index of a folder from being loaded by another process, or dropped, for as long as this one loads or drops it.

    A process that is killed leaves nothing locked. Raises SourceError where the folder is not an index, or is in use.
    """
    if not is_index(folder):
        raise SourceError(
            f"{folder} is not an index of podium, so nothing was done; podium index --list --to FOLDER lists those in a folder"
        )
    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise SourceError(
            f"another process is loading documents into {folder}; wait until it is done, then run this again"
        ) from None
    except OSError as error:
        raise SourceError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def delete(folder: Path) -> None:
    """Delete the index of a folder; the folder, too, where nothing else is in it. Raises SourceError."""
    target = folder.resolve()
    try:
        (target / FILE).unlink()  # first of all: from now on it is not an index
        shutil.rmtree(target / TEXT_FOLDER)
        for path in (*target.glob("vectors.*"), *target.glob("graph-*"), target / LOCK_FILE):
            path.unlink(missing_ok=True)
        if not any(target.iterdir()):
            target.rmdir()
            if folder.is_symlink():
                folder.unlink()
    except OSError as error:
        raise SourceError(f"cannot delete all of {folder}: {error.strerror or error}") from error


def damaged(path: Path | None, error: Exception) -> SourceError:
    """Return the error for an index whose files cannot be read or written."""
    where = "in memory" if path is None else f"in {path.parent if path.name == TEXT_FOLDER else path}"
    message = str(error)
    full = any(part in message for part in ("No space left", "os error 28)", "Disk quota"))
    remedy = "free some space on its disk, and do it again" if full else "if this stays, index the documents again"
    return SourceError(f"the index {where} cannot be used: {message[:200]}; {remedy}")
