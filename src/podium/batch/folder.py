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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from podium.atomic import UNFINISHED, atomic_write
from podium.batch.parts import Part
from podium.errors import Argument, InvalidInput, PodiumError
from podium.inputs import checked_path
from podium.json_values import load_json

__all__ = ["JobFolder"]


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

    def read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest, None if there is none. Raises InvalidInput if the folder has something else, or is damaged."""
        if not self.manifest.exists():
            own_names = {"lock", *(folder.name for folder in (self.parts, self.summaries) if not _files(folder))}
            others = sorted({path.name for path in self.path.iterdir()} - own_names)
            if others:
                raise InvalidInput(
                    f"{self.path} has files that are not from a batch job, such as {others[0]!r:.60}; name a new folder"
                )
            return None
        try:
            manifest = load_json(self.manifest)
            return dict(manifest)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(f"{self.manifest} is damaged; use another folder, or ", Argument("restart")) from error

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
            self._delete(path for path in _files(folder) if path.name.endswith(UNFINISHED))

    def delete_output(self) -> None:
        """Delete all parts, and the manifest last, so that no part can be taken for the output of another job."""
        names = (path for folder in (self.parts, self.summaries) for path in _files(folder) if path.name.startswith("part-"))
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


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
