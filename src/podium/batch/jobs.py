"""Run a batch job on this machine: prepare or continue it, compute the parts that are missing, and sum up all parts."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.batch.collection import collection_files
from podium.batch.compute import compute_part
from podium.batch.files import InputFile, check_apart, readable_files
from podium.batch.first_rows import check_first_rows
from podium.batch.folder import JobFolder
from podium.batch.layouts import LAYOUTS, find_layout
from podium.batch.layouts.layout import listed
from podium.batch.limits import Limits, RequestMeter, with_limits
from podium.batch.manifest import Manifest, check_same_files, check_same_job
from podium.batch.options import Options, scorer_facts
from podium.batch.outputs import RESULT_COLUMNS, find_output
from podium.batch.parts import Part, divided
from podium.batch.progress import JobProgress
from podium.batch.ray_engine import RayJob, RayOptions
from podium.batch.results import BatchResult
from podium.batch.summaries import Summary, write_rejected
from podium.batch.tables import can_read, table_format
from podium.errors import Argument, InvalidInput
from podium.inputs import check_positive, checked_fields, checked_limit
from podium.ranking import Reranker

__all__ = ["JobRequest", "job_files", "new_manifest", "run_job"]


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
    limits: Limits | None = None,
    load_options: Mapping[str, Any] | None = None,
) -> BatchResult:
    """Compute the parts that are missing in the folder, and return the counts of all parts.

    They are computed on this machine, or on a Ray cluster if there are `ray_options`. `limits` are those of a hosted model.
    `load_options` are stored for `verify`.
    """
    began = time.perf_counter()
    folder = JobFolder(folder_path, find_output(request.output).ending)
    files, ignored_count = job_files(request)
    check_apart(request.inputs, folder.rejected, folder.parts / f"part{folder.ending}")
    # A new job is checked before the folder is created, and before the results of another job are deleted.
    is_new = folder.read_manifest(restart=restart) is None
    new = new_manifest(request, files, reranker, load_options) if is_new else None
    ray_job = None if ray_options is None else RayJob(reranker, ray_options, limits)
    meter = None
    if limits is not None and ray_job is None:
        meter = RequestMeter(limits)
        reranker = with_limits(reranker, meter, limits.price)
    billed = ray_job or meter
    with folder.locked():
        manifest = _prepared_manifest(request, files, folder, reranker, new=new, restart=restart)
        complete = folder.complete(manifest.parts)
        missing = [part for part in manifest.parts if part not in complete]
        with JobProgress(manifest, missing, shows_progress) as progress:
            if ray_job is not None:
                for part, pairs in ray_job.completed(manifest, missing, folder, is_strict=is_strict):
                    progress.finish(part, pairs)
            else:
                for part in missing:
                    advance = functools.partial(progress.advance, part)
                    compute_part(part, manifest.options, reranker, folder, is_strict=is_strict, progress=advance)
                    progress.finish(part)
        folder.delete_unfinished()  # those of actors whose node was lost
        return _result(
            manifest,
            folder,
            complete_count=len(complete),
            computed_pairs=progress.pairs,
            seconds=time.perf_counter() - began,
            cost=None if billed is None else billed.cost(),
            notes=_input_notes(ignored_count),
        )


def _prepared_manifest(
    request: JobRequest,
    files: Sequence[InputFile],
    folder: JobFolder,
    reranker: Reranker,
    *,
    new: Manifest | None,
    restart: bool,
) -> Manifest:
    """Return the manifest of the folder, or write `new` to a folder without one. The folder must be locked.

    Raises InvalidInput if the folder has another job, unless `restart`, which deletes that.
    """
    existing = folder.read_manifest(restart=restart)
    folder.delete_unfinished()
    if existing is not None:
        manifest = Manifest.from_json(existing)
        check_same_files(manifest, files)
        check_same_job(manifest, _options(request, files, manifest.fields, reranker), scorer_facts(reranker))
        return manifest
    manifest = new_manifest(request, files, reranker) if new is None else new
    if restart:
        folder.delete_output()
    folder.write_manifest(manifest.to_json())
    return manifest


def new_manifest(
    request: JobRequest,
    files: Sequence[InputFile],
    reranker: Reranker,
    load_options: Mapping[str, Any] | None = None,
) -> Manifest:
    """Return the manifest of a job that has not begun. Raises InvalidInput."""
    fields = table_format(files[0].path, request.format_name).fields(files[0])
    options = _options(request, files, fields, reranker)
    for file in files[1:]:
        _check_columns(file, options, files[0])
    list_path = LAYOUTS[options.layout].list_path(options.columns)
    parts = divided(files, options.format_name, options.part_size, list_path)
    check_first_rows(parts[0], options)
    return Manifest(options=options, scorer=scorer_facts(reranker), fields=fields, parts=parts, load_options=load_options or {})


def job_files(request: JobRequest) -> tuple[list[InputFile], int]:
    """Return the input files, and the number of files in folders that are left out because their format is unknown."""
    return readable_files(request.inputs, functools.partial(can_read, format_name=request.format_name))


def _input_notes(ignored_count: int) -> list[str]:
    if not ignored_count:
        return []
    if ignored_count == 1:
        return ["1 file in the input folders was left out, because its name does not tell a format that podium reads"]
    count = f"{ignored_count:,} files"
    return [f"{count} in the input folders were left out, because their names do not tell a format that podium reads"]


def _check_columns(file: InputFile, options: Options, first: InputFile) -> None:
    """Raise InvalidInput if a file lacks a column that was found in the first one, or has ids that the first one lacks."""
    file_format = table_format(file.path, options.format_name)
    if not file_format.has_columns:
        return
    fields = file_format.fields(file)
    for name in [*options.columns.values(), *options.copy]:
        if name not in fields:
            raise InvalidInput(f"{file.path} has no column {name!r:.60}, which {first.path} has; rename it, or use two jobs")
    unread = LAYOUTS[options.layout].unread_ids(options.columns) & set(fields)
    if unread:
        problem = f"{file.path} has ids in the column {min(unread)!r:.60}, which {first.path} does not have"
        raise InvalidInput(f"{problem}; add it to that file, or use two jobs")


def _options(request: JobRequest, files: Sequence[InputFile], fields: Sequence[str], reranker: Reranker) -> Options:
    """Return the options of a request whose first input file has the columns `fields`. Raises InvalidInput."""
    layout = find_layout(request.layout, fields, has_collection=request.collection is not None)
    if layout.needs_collection and request.collection is None:
        problem = "a run has no texts; name the folder in BEIR's layout that has them, as in "
        raise InvalidInput(problem, Argument("collection", "scifact"))
    if request.collection is not None and not layout.needs_collection:
        raise InvalidInput(Argument("collection"), f" is for a run; leave it out for the layout {layout.name}")
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
            raise InvalidInput(Argument("copy"), f" names {name!r:.60}, which the input does not have; it has {listed(fields)}")
    return Options(
        layout=layout.name,
        output=output.name,
        columns=layout.columns_of(fields, request.columns, rank_by),
        rank_by=rank_by,
        copy=copied,
        limit=reranker.limit if request.limit is None else checked_limit(request.limit),
        part_size=request.part_size,
        format_name=_format_name(request, files),
        collection=None if request.collection is None else collection_files(request.collection),
    )


def _format_name(request: JobRequest, files: Sequence[InputFile]) -> str | None:
    """Return the format of all files that a request names, None if their names tell the same one."""
    name = request.format_name
    is_redundant = all(can_read(file.path, None) and table_format(file.path) is table_format(file.path, name) for file in files)
    return None if is_redundant else name


def _result(
    manifest: Manifest,
    folder: JobFolder,
    *,
    complete_count: int,
    computed_pairs: int,
    seconds: float,
    cost: float | None,
    notes: Sequence[str],
) -> BatchResult:
    """Write the bad rows of all parts to one file, and return the sum of all summaries."""
    total = Summary()
    rejected_count = 0
    for _, summary in _summaries(folder, manifest.parts):
        total.queries += summary.queries
        total.pairs += summary.pairs
        total.tokens += summary.tokens
        total.truncated += summary.truncated
        total.notes.update(summary.notes)
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
        notes=(*notes, *total.notes.sentences(total.queries)),
        seconds=seconds,
        cost=cost,
    )


def _summaries(folder: JobFolder, parts: Iterable[Part]) -> Iterable[tuple[Part, Summary]]:
    return ((part, Summary.read(folder.summary_path(part))) for part in parts)
