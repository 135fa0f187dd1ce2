"""Verify the output of a batch job: compute some of its parts again, and compare them with the files."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from podium.extras import import_optional
from podium.progress import bar
from podium.ranking import Reranker

__all__ = ["job_model", "verify_job"]


def job_model(folder_path: Path) -> tuple[str, dict[str, Any]]:
    """Return the model's name, folder or configuration file of the job in a folder, and the options to load it.

    Raises InvalidInput if there is no job.
    """
    manifest = _manifest(folder_path)
    options = dict(manifest.load_options)
    return str(options.pop("name", manifest.scorer.get("model"))), options


def verify_job(folder_path: Path, reranker: Reranker, *, sample: int, seed: int, shows_progress: bool) -> Verification:
    """Compute `sample` random parts again, and return which of them differ from their files.

    Raises InvalidInput if the folder has no complete part, or if the model or the input files are not those of the job.
    """
    manifest = _manifest(folder_path)
    options = manifest.options
    folder = JobFolder(folder_path, find_output(options.output).ending)
    check_same_job(manifest, options, scorer_facts(reranker), remedy=["Load the model as the job did, on such a processor"])
    files = input_files(dict.fromkeys(part.file.path for part in manifest.parts))
    check_same_files(manifest, files, remedy=["Put the files back that the job has read, or run the job again"])
    complete = sorted(folder.complete(manifest.parts), key=lambda part: part.number)
    if not complete:
        raise InvalidInput(f"{folder.path} has no complete part yet; run the job first")
    parts = random.Random(seed).sample(complete, min(sample, len(complete)))  # noqa: S311  not for cryptography
    different = []
    rows = []
    with tempfile.TemporaryDirectory() as temporary, bar(len(parts), shows_progress, "verifying") as advance:
        again = JobFolder(Path(temporary), folder.ending)
        for part in parts:
            compute_part(part, options, reranker, again)
            if not _is_equal(part, folder, again, find_output(options.output).has_equal_content):
                different.append(folder.part_path(part))
                rows.append(_first_difference(folder.part_path(part), again.part_path(part)))
            again.part_path(part).unlink()
            advance(1)
    missing = len(manifest.parts) - len(complete)
    in_order = sorted(zip(different, rows, strict=True), key=lambda pair: pair[0])
    return Verification(
        parts=len(parts),
        complete=len(complete),
        different=tuple(path for path, _ in in_order),
        rows=tuple(row for _, row in in_order),
        missing=missing,
    )


def _manifest(folder_path: Path) -> Manifest:
    folder = JobFolder(folder_path, "")
    if not folder.manifest.is_file():
        raise InvalidInput(f"{folder.path} has no batch job; name the folder of one")
    try:
        return Manifest.from_json(folder.read_manifest() or {})
    except InvalidInput as error:
        problem = f"{folder.manifest} is damaged, or from another program or version of podium, so it cannot be verified"
        raise InvalidInput(f"{problem}; name the folder of a batch job, or restart the job") from error


def _first_difference(path: Path, other: Path) -> int | None:
    """Return the first row, from 0, in which two parts differ, None if it is unknown or only their bad rows differ."""
    try:
        rows, other_rows = (_rows(file) for file in (path, other))
        pairs = itertools.zip_longest(rows, other_rows)
        return next((index for index, (row, other_row) in enumerate(pairs) if row != other_row), None)
    except (OSError, ValueError):
        return None


def _rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a Parquet file, or the lines of a text file."""
    if path.suffix != ".parquet":
        with open(path, "rb") as file:
            yield from file
        return
    parquet = import_optional("pyarrow.parquet", "batch")
    with parquet.ParquetFile(path) as table:
        for batch in table.iter_batches():
            yield from batch.to_pylist()


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
    except (OSError, PodiumError, ValueError):  # ValueError: of pyarrow, for text that is not UTF-8
        return False
