"""Run a batch job on this machine: prepare or continue it, compute the parts that are missing, and sum up all parts."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.batch.collection import collection_files
from podium.batch.compute import compute_part
from podium.batch.files import InputFile, input_files
from podium.batch.folder import JobFolder
from podium.batch.layouts import find_layout
from podium.batch.manifest import Manifest, check_same_files, check_same_job
from podium.batch.options import Options, scorer_facts
from podium.batch.outputs import RESULT_COLUMNS, find_output
from podium.batch.parts import Part, divided
from podium.batch.progress import JobProgress
from podium.batch.ray_engine import RayOptions, parts_on_ray
from podium.batch.results import BatchResult
from podium.batch.summaries import Summary, write_rejected
from podium.batch.tables import table_format
from podium.errors import Argument, InvalidInput
from podium.inputs import check_positive, checked_fields, checked_limit
from podium.ranking import Reranker

__all__ = ["JobRequest", "new_manifest", "prepared_manifest", "run_job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """The arguments of `podium.batch` that decide what a job computes. Those that are None have not been chosen."""

    inputs: Sequence[str | os.PathLike[str]]
    layout: str | None
    columns: dict[str, str]
    rank_by: str | list[str] | None
    copy: Sequence[str]
    limit: int | None
    output: str
    part_size: int
    format_name: str | None
    collection: str | os.PathLike[str] | None = None


def run_job(
    request: JobRequest,
    folder_path: Path,
    reranker: Reranker,
    *,
    is_strict: bool = False,
    restart: bool = False,
    shows_progress: bool = False,
    ray_options: RayOptions | None = None,
) -> BatchResult:
    """Compute the parts that are missing in the folder, and return the counts of all parts.

    They are computed on this machine, or on a Ray cluster if there are `ray_options`.
    """
    began = time.perf_counter()
    folder = JobFolder(folder_path, find_output(request.output).ending)
    with folder.locked():
        manifest = prepared_manifest(request, folder, reranker, restart=restart)
        complete = folder.complete(manifest.parts)
        missing = [part for part in manifest.parts if part not in complete]
        with JobProgress(manifest, missing, shows_progress) as progress:
            if ray_options is not None and missing:
                for part, pairs in parts_on_ray(manifest, missing, reranker, folder, ray_options, is_strict=is_strict):
                    progress.finish(part, pairs)
            else:
                for part in missing:
                    advance = functools.partial(progress.advance, part)
                    compute_part(part, manifest.options, reranker, folder, is_strict=is_strict, progress=advance)
                    progress.finish(part)
        folder.delete_unfinished()  # those of actors whose node was lost
        return _result(manifest, folder, len(complete), progress.pairs, time.perf_counter() - began)


def prepared_manifest(request: JobRequest, folder: JobFolder, reranker: Reranker, *, restart: bool) -> Manifest:
    """Return the manifest of the folder, or a new one for a new folder. The folder must be locked.

    Raises InvalidInput if the folder has another job, unless `restart`, which deletes that.
    """
    files = input_files(request.inputs)
    folder.delete_unfinished()
    if restart and folder.manifest.exists():
        folder.delete_output()
    existing = folder.read_manifest()
    if existing is not None:
        manifest = Manifest.from_json(existing)
        check_same_files(manifest, files)
        check_same_job(manifest, _options(request, manifest.fields, reranker), scorer_facts(reranker))
        return manifest
    manifest = new_manifest(request, files, reranker)
    folder.write_manifest(manifest.to_json())
    return manifest


def new_manifest(request: JobRequest, files: Sequence[InputFile], reranker: Reranker) -> Manifest:
    """Return the manifest of a job that has not begun. Raises InvalidInput."""
    fields = table_format(files[0].path, request.format_name).fields(files[0])
    options = _options(request, fields, reranker)
    for file in files[1:]:
        _check_columns(file, options, files[0])
    return Manifest(options, scorer_facts(reranker), fields, divided(files, options.format_name, options.part_size))


def _check_columns(file: InputFile, options: Options, first: InputFile) -> None:
    """Raise InvalidInput if a file does not have the columns that were found in the first one."""
    table = table_format(file.path, options.format_name)
    needed = [*options.columns.values(), *options.copy]
    missing = [name for name in needed if name not in table.fields(file)] if table.has_columns else []
    if missing:
        raise InvalidInput(f"{file.path} has no column {missing[0]!r:.60}, which {first.path} has; rename it, or use two jobs")


def _options(request: JobRequest, fields: Sequence[str], reranker: Reranker) -> Options:
    """Return the options of a request whose first input file has the columns `fields`. Raises InvalidInput."""
    layout = find_layout(request.layout, fields, has_collection=request.collection is not None)
    if layout.needs_collection != (request.collection is not None):
        raise InvalidInput(Argument("collection"), " is for a run, which needs one; name a folder in BEIR's layout with a run")
    check_positive("part_size", request.part_size)
    rank_by = checked_fields(reranker.rank_by if request.rank_by is None else request.rank_by)
    output = find_output(request.output)
    if output.needs_requests and not layout.has_requests:
        raise InvalidInput(Argument("output", output.name), " is for batch requests, which the input does not have")
    copied = tuple(request.copy)
    if copied and not output.copies_columns:
        raise InvalidInput(Argument("copy"), f" is for the output parquet; the output {output.name} has no columns to copy to")
    for name in copied:
        if name in RESULT_COLUMNS or copied.count(name) > 1:
            raise InvalidInput(Argument("copy"), f": the output already has a column {name!r:.60}; leave it out, or rename it")
        if name not in fields:
            raise InvalidInput(Argument("copy"), f" names {name!r:.60}, which is not a column of the input")
    return Options(
        layout=layout.name,
        output=output.name,
        columns=layout.columns_of(fields, request.columns, rank_by),
        rank_by=rank_by,
        copy=copied,
        limit=reranker.limit if request.limit is None else checked_limit(request.limit),
        part_size=request.part_size,
        format_name=request.format_name,
        collection=None if request.collection is None else collection_files(request.collection),
    )


def _result(manifest: Manifest, folder: JobFolder, complete_count: int, computed_pairs: int, seconds: float) -> BatchResult:
    """Write the bad rows of all parts to one file, and return the sum of all summaries."""
    total = Summary()
    rejected_count = 0
    for _, summary in _summaries(folder, manifest.parts):
        total.queries += summary.queries
        total.pairs += summary.pairs
        total.tokens += summary.tokens
        total.truncated += summary.truncated
        total.notes += summary.notes
        rejected_count += summary.rejected
    if rejected_count:
        with folder.writing(folder.rejected) as file:
            units = {part: table_format(part.file.path, manifest.options.format_name).unit for part in manifest.parts}
            write_rejected(file, ((part, units[part], folder.summary_path(part)) for part in manifest.parts))
    return BatchResult(
        folder=folder.path,
        parts=len(manifest.parts),
        complete_before=complete_count,
        queries=total.queries,
        pairs=total.pairs,
        computed_pairs=computed_pairs,
        rejected=rejected_count,
        truncated=total.truncated,
        tokens=total.tokens,
        notes=dict(total.notes),
        seconds=seconds,
    )


def _summaries(folder: JobFolder, parts: Iterable[Part]) -> Iterable[tuple[Part, Summary]]:
    return ((part, Summary.read(folder.summary_path(part))) for part in parts)
