"""JobFolder, the output folder of a batch job: its lock, its manifest, and which parts are complete.

    manifest.json        the options, the model and the input files
    parts/               the output of each part
    summaries/           the counts and the bad rows of each part
    rejected.parquet     the bad rows of all parts, when the job is done
    lock                 locked while a job runs

A part is complete if both of its files exist. They get their names when their content is on the disk, the summary first.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from podium.atomic import UNFINISHED, atomic_write
from podium.batch.parts import Part
from podium.errors import Argument, InvalidInput, PodiumError
from podium.inputs import checked_path
from podium.json_values import load_json

__all__ = ["JobFolder"]

MANIFEST_KEYS = {"version", "scorer", "options", "input"}  # by which a manifest of podium is recognized
PART_NAME = re.compile(r"part-[0-9]{6,}-[0-9a-f]{12}\.[a-z]+")
TEMPORARY_NAME = re.compile(rf"\.[0-9a-f]{{16}}{re.escape(UNFINISHED)}")


class JobFolder:
    """The folder at `path`. `ending` is the ending of the names of its parts, such as ".parquet"."""

    def __init__(self, path: Path, ending: str) -> None:
        self.path = checked_path(path)
        self.ending = ending
        self.manifest = self.path / "manifest.json"
        self.parts = self.path / "parts"
        self.summaries = self.path / "summaries"
        self.rejected = self.path / "rejected.parquet"

    def part_path(self, part: Part) -> Path:
        return self.parts / f"{part.name}{self.ending}"

    def summary_path(self, part: Part) -> Path:
        return self.summaries / f"{part.name}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, and keep other jobs from writing to it during the block. Raises InvalidInput if one does."""
        import filelock

        lock = filelock.FileLock(self.path / "lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise InvalidInput(f"another job is writing to {self.path}; wait until it is done, or use another folder") from None
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput(Argument("to"), f": {self.path} is not a folder; name another") from error
        except OSError as error:
            problem = f": cannot write into {self.path} ({error.strerror or error}); name a folder that is writable"
            raise PodiumError(Argument("to"), problem) from error
        try:
            yield
        finally:
            lock.release()

    def read_manifest(self, *, restart: bool = False) -> dict[str, Any] | None:
        """Return the manifest, None if there is none, or if a `restart` deletes it.

        Raises InvalidInput if the folder has files that are not from a job, or if the manifest is damaged. Files beside those
        of a job are allowed.
        """
        if not self.manifest.exists():
            self._refuse_other_files(allowed=("lock",))
            return None
        try:
            manifest = load_json(self.manifest)
        except (OSError, ValueError):
            manifest = None
        if isinstance(manifest, dict) and manifest.keys() >= MANIFEST_KEYS:
            return None if restart else manifest
        if not self.summaries.is_dir():  # which every job has after its first part
            raise InvalidInput(f"{self.manifest} is not from a batch job; name another folder")
        self._refuse_other_files(allowed=("lock", self.manifest.name, self.rejected.name), allows_parts=True)
        if not restart:
            raise InvalidInput(f"{self.manifest} is damaged; use another folder, or ", Argument("restart"))
        return None

    def _refuse_other_files(self, *, allowed: Sequence[str], allows_parts: bool = False) -> None:
        """Raise InvalidInput if there are files that a job does not write. Parts are among these unless `allows_parts`."""
        for path in _files(self.path):
            names = [path.name]
            if path.is_dir() and path in (self.parts, self.summaries):
                names = [f"{path.name}/{file.name}" for file in _files(path) if not (allows_parts and _is_part(file))]
            for name in names:
                if name not in allowed and not TEMPORARY_NAME.fullmatch(Path(name).name):
                    raise InvalidInput(
                        f"{self.path} has files that are not from a batch job, such as {name!r:.60}; name a new folder"
                    )

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        with self.writing(self.manifest) as file:
            file.write(json.dumps(manifest, ensure_ascii=False, indent=1).encode())

    def is_complete(self, part: Part) -> bool:
        return self.summary_path(part).exists() and self.part_path(part).exists()

    def complete(self, parts: Iterable[Part]) -> set[Part]:
        """Return the parts that are complete. Lists the folders once, which is faster than `is_complete` for many parts."""
        written, summarized = ({path.name for path in _files(folder)} for folder in (self.parts, self.summaries))
        return {part for part in parts if self.part_path(part).name in written and self.summary_path(part).name in summarized}

    def delete_unfinished(self) -> None:
        """Delete the temporary files of jobs that were killed."""
        for folder in (self.path, self.parts, self.summaries):
            self._delete(path for path in _files(folder) if TEMPORARY_NAME.fullmatch(path.name))

    def delete_output(self) -> None:
        """Delete all parts, and the manifest last, so that no part can be taken for the output of another job."""
        names = (path for folder in (self.parts, self.summaries) for path in _files(folder) if _is_part(path))
        self._delete([*names, self.rejected, self.manifest])

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[IO[bytes]]:
        """Yield a file that gets its name when it is complete. Raises PodiumError if it cannot be written."""
        try:
            with atomic_write(path) as file:
                yield file
        except OSError as error:
            raise PodiumError(
                f"cannot write {path}: {error.strerror or error}; check the disk's free space and the folder's permissions, "
                "and run the job again: it continues where it stopped"
            ) from error

    def _delete(self, paths: Iterable[Path]) -> None:
        try:
            for path in paths:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise PodiumError(f"cannot delete files in {self.path}: {error.strerror or error}; use another folder") from error


def _is_part(path: Path) -> bool:
    """Whether a file has the name of a part or of a summary."""
    return PART_NAME.fullmatch(path.name) is not None


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
