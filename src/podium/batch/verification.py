"""Verify the output of a batch job: compute some of its parts again, and compare them with the files."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from podium.batch.compute import compute_part
from podium.batch.files import input_files
from podium.batch.folder import JobFolder
from podium.batch.manifest import Manifest, check_same_files, check_same_job
from podium.batch.options import scorer_facts
from podium.batch.outputs import find_output
from podium.batch.parts import Part
from podium.batch.results import Verification
from podium.batch.summaries import Summary, rejected_rows
from podium.errors import InvalidInput, PodiumError
from podium.inputs import checked_path
from podium.progress import bar
from podium.ranking import Reranker

__all__ = ["job_model", "verify_job"]


def job_model(folder_path: Path) -> str:
    """Return the name of the model of the job in a folder. Raises InvalidInput if there is no job."""
    return str(_manifest(folder_path).scorer.get("model"))


def verify_job(folder_path: Path, reranker: Reranker, *, sample: int, seed: int, shows_progress: bool) -> Verification:
    """Compute `sample` random parts again, and return which of them differ from their files.

    Raises InvalidInput if the folder has no complete part, or if the model or the input files are not those of the job.
    """
    manifest = _manifest(folder_path)
    options = manifest.options
    folder = JobFolder(folder_path, find_output(options.output).ending)
    check_same_job(manifest, options, scorer_facts(reranker))
    check_same_files(manifest, input_files(dict.fromkeys(part.file.path for part in manifest.parts)))
    complete = sorted(folder.complete(manifest.parts), key=lambda part: part.number)
    if not complete:
        raise InvalidInput(f"{folder.path} has no complete part yet; run the job first")
    parts = random.Random(seed).sample(complete, min(sample, len(complete)))  # noqa: S311  not for cryptography
    different = []
    with tempfile.TemporaryDirectory() as temporary, bar(len(parts), shows_progress, "verifying") as advance:
        again = JobFolder(Path(temporary), folder.ending)
        for part in parts:
            compute_part(part, options, reranker, again)
            if not _is_equal(part, folder, again, find_output(options.output).has_equal_content):
                different.append(folder.part_path(part))
            again.part_path(part).unlink()
            advance(1)
    return Verification(parts=len(parts), complete=len(complete), different=tuple(sorted(different)))


def _manifest(folder_path: Path) -> Manifest:
    folder = JobFolder(folder_path, "")
    values = folder.read_manifest() if checked_path(folder_path).is_dir() else None
    if values is None:
        raise InvalidInput(f"{folder.path} has no batch job; name the folder of one")
    return Manifest.from_json(values)


def _is_equal(part: Part, folder: JobFolder, again: JobFolder, has_equal_content: Callable[[Path, Path], bool]) -> bool:
    """Whether a part and its bad rows are the same in two folders. A file that cannot be read is not."""
    try:
        summary, summary_again = (Summary.read(job.summary_path(part)) for job in (folder, again))
        if summary.rejected != summary_again.rejected or summary.pairs != summary_again.pairs:
            return False
        rows = zip(*(rejected_rows(job.summary_path(part)) for job in (folder, again)), strict=True)
        if any(row != row_again for row, row_again in rows):
            return False
        return has_equal_content(folder.part_path(part), again.part_path(part))
    except (OSError, PodiumError):
        return False
