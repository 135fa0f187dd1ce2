"""Batch jobs: rerank the queries of files of any size, in parts that are computed independently and exactly once.

Only this module is imported with podium; the others, which need pyarrow, are imported when a job runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from podium.batch.results import BatchResult, Plan, Verification
from podium.errors import Argument, InvalidInput
from podium.inputs import check_positive_number, checked_limit, checked_path, refuse, refuse_unknown_names
from podium.ranking import Reranker

if TYPE_CHECKING:
    from podium.batch.limits import Limits
    from podium.batch.ray_engine import RayOptions

__all__ = ["PART_SIZE", "BatchResult", "Plan", "Verification", "batch", "plan_batch", "verify_batch"]

PART_SIZE = 50_000
"""About how many pairs a part has by default."""


@refuse_unknown_names
def batch(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    to: str | os.PathLike[str],
    *,
    reranker: Reranker | str = "podium-mini",
    layout: Literal["lists", "pairs", "run", "requests"] | None = None,
    columns: Mapping[str, str] | None = None,
    rank_by: str | list[str] | None = None,
    copy: str | Iterable[str] = (),
    limit: int | None = None,
    output: Literal["parquet", "run", "replies"] = "parquet",
    collection: str | os.PathLike[str] | None = None,
    format_name: str | None = None,
    part_size: int = PART_SIZE,
    strict: bool = False,
    restart: bool = False,
    progress: bool = False,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    ray_actors: int | None = None,
    ray_cpus: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    max_cost: float | None = None,
    price: str | None = None,
) -> BatchResult:
    """Rerank the queries of files, write the results to the folder `to`, and return the counts.

    The input is divided into parts. The output of a part appears in the folder when it is complete. If the job is
    interrupted, the same call continues it: complete parts are neither read nor computed again. Bad rows are written to
    `rejected.parquet` with the reason.

    - `inputs`: files, globs, folders and URLs (s3://, gs://, hf://) of Parquet, Arrow, JSON lines, CSV, TSV and TREC runs. Text
      files may be compressed (.gz, .zst).
    - `reranker`: a Reranker, or the name of a model as for podium.load.
    - `layout`: "lists" for a row per query with a list of documents, "pairs" for a row per query and document, "run" for a
      TREC run, "requests" for OpenAI's batch lines with requests for /v1/rerank. By default it is recognized by the names of
      the columns. In pairs and runs, the rows of a query are adjacent.
    - `columns`: the names of columns that are not the usual ones, such as {"query": "question", "document": "body"}.
    - `rank_by`: the fields of a document that are read. In pairs, these can be columns.
    - `copy`: the column or columns of the input that are copied to the output.
    - `limit`: the number of results per query, None for the reranker's own limit, which is by default all.
    - `output`: "parquet" for Parquet files with a row per result, "run" for a TREC run, "replies" for replies to requests.
    - `collection`: a folder in BEIR's layout with the texts of a run. They are all in memory.
    - `format_name`: the format of all inputs: "parquet", "arrow", "jsonl", "csv", "tsv" or "run". By default, the names
      of files tell it.
    - `part_size`: about how many pairs a part has. A compressed file and a CSV are one part.
    - `strict`: raise InvalidInput for the first bad row.
    - `restart`: delete the output of another job in the folder, and start.
    - `progress`: show a progress bar on stderr.
    - `engine`: "local" for this machine, "ray" for a Ray cluster whose nodes have the files under the same paths.
    - `ray_address`: the cluster, such as "auto"; None starts Ray on this machine. `ray_actors`: the maximum number of actors,
      by default as many as the cluster has processors for. `ray_cpus`: processors of an actor, and threads of its model,
      by default 1.

    For hosted models, which get up to eight requests at once from this machine or from each actor:

    - `requests_per_minute`, `tokens_per_minute`: the provider's limits. Tokens are estimated, at four characters per token.
    - `max_cost`: stop before this run could cost more US dollars than this. The cost is an estimate.
    - `price`: the price of the model, such as "0.05/Mtokens" or "2/ksearches", if it is not in podium's list.

    Raises InvalidInput, also if the folder has the output of another job or another job is running; MissingPackage; and the
    errors of the reranker.
    """
    from podium.batch.jobs import JobRequest, run_job
    from podium.batch.options import load_options
    from podium.load import load

    request = JobRequest(
        inputs=_names("inputs", inputs),
        layout=layout,
        columns=_checked_columns(columns),
        rank_by=rank_by,
        copy=_names("copy", copy),
        limit=limit,
        output=output,
        part_size=part_size,
        format_name=format_name,
        collection=collection,
    )
    ray_options = _ray_options(engine, ray_address, ray_actors, ray_cpus)
    limit_options = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "max_cost": max_cost}
    with contextlib.ExitStack() as stack:
        loaded = reranker if isinstance(reranker, Reranker) else stack.enter_context(load(reranker))
        return run_job(
            request,
            checked_path(to),
            loaded,
            is_strict=strict,
            restart=restart,
            shows_progress=progress,
            ray_options=ray_options,
            limits=_limits(loaded.model, limit_options, price),
            load_options=load_options(loaded),
        )


@refuse_unknown_names
def plan_batch(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    reranker: Reranker | str = "podium-mini",
    layout: Literal["lists", "pairs", "run", "requests"] | None = None,
    columns: Mapping[str, str] | None = None,
    rank_by: str | list[str] | None = None,
    collection: str | os.PathLike[str] | None = None,
    format_name: str | None = None,
    part_size: int = PART_SIZE,
    price: str | None = None,
    machine_price: float | None = None,
) -> Plan:
    """Score a sample of the input of a batch job, and return an estimate of its pairs, tokens, time and cost.

    Nothing is written, and a hosted model is not called. `machine_price` is the price of a machine like this one in US dollars
    per hour, for models on this machine. The other arguments are those of `podium.batch`, and so are the errors.
    """
    from podium.batch.jobs import JobRequest
    from podium.batch.planning import planned
    from podium.load import load

    if machine_price is not None:
        check_positive_number("machine_price", machine_price)
    request = JobRequest(
        inputs=_names("inputs", inputs),
        layout=layout,
        columns=_checked_columns(columns),
        rank_by=rank_by,
        copy=(),
        limit=None,
        output="parquet",
        part_size=part_size,
        format_name=format_name,
        collection=collection,
    )
    with contextlib.ExitStack() as stack:
        loaded = reranker if isinstance(reranker, Reranker) else stack.enter_context(load(reranker))
        return planned(request, loaded, price=price, machine_price=machine_price)


@refuse_unknown_names
def verify_batch(
    to: str | os.PathLike[str],
    *,
    sample: int = 20,
    seed: int = 0,
    reranker: Reranker | None = None,
    progress: bool = False,
) -> Verification:
    """Compute random parts of the batch job in the folder `to` again, and compare them with its files.

    A score does not depend on the other pairs that are computed with it, so a part has the same content whenever it is
    computed. `sample` is the number of parts, and `seed` decides which. `reranker` is the job's; by default the job's model is
    loaded with the options of the job, except for secrets. Raises InvalidInput if the model, its options or the input files are
    not those of the job.
    """
    from podium.batch.verification import job_model, verify_job
    from podium.load import load

    folder = checked_path(to)
    count = checked_limit(sample) or 1
    if reranker is not None:
        return verify_job(folder, reranker, sample=count, seed=seed, shows_progress=progress)
    name, options = job_model(folder)
    with load(name, **options) as loaded:
        return verify_job(folder, loaded, sample=count, seed=seed, shows_progress=progress)


def _ray_options(engine: Any, address: str | None, actors: int | None, cpus: int | None) -> RayOptions | None:
    """Return the options of the engine "ray", None for "local". Raises InvalidInput, also for options of the other engine."""
    from podium.batch.ray_engine import RayOptions

    if engine not in ("local", "ray"):
        raise InvalidInput(Argument("engine"), f" must be 'local' or 'ray', not {engine!r:.40}")
    if engine == "ray":
        return RayOptions(address, actors, 1 if cpus is None else cpus)
    refuse({"ray_address": address, "ray_actors": actors, "ray_cpus": cpus}, "only the engine ray has the option")
    return None


def _limits(model: str, limit_options: Mapping[str, float | None], price: str | None) -> Limits | None:
    """Return the limits of a job with a hosted model, None for another model, which has no limits. Raises InvalidInput."""
    from podium.batch.limits import Limits
    from podium.load import provider_of
    from podium.prices import find_price

    if provider_of(model) is not None:
        return Limits(**limit_options, price=find_price(model, price))
    refuse({**limit_options, "price": price}, "only hosted models have the option")
    return None


def _checked_columns(columns: Any) -> dict[str, str]:
    """Return the names of columns. Raises InvalidInput unless they are in a mapping."""
    if columns is not None and not isinstance(columns, Mapping):
        raise InvalidInput(Argument("columns"), " must be a mapping such as {'query': 'question'}")
    return dict(columns or {})


def _names(argument: str, names: Any) -> list[Any]:
    """Return one or several names as a list. Raises InvalidInput unless they are strings or paths."""
    if isinstance(names, str | os.PathLike):
        return [names]
    name_list = list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(name, str | os.PathLike) for name in name_list):
        raise InvalidInput(Argument(argument), f" must be a name or a list of names, not {names!r:.60}")
    return name_list
