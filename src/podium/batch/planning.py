"""Plan a batch job: read a sample of its input, score it unless the model is hosted, and extrapolate the pairs and the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from podium.batch.compute import part_queries
from podium.batch.jobs import JobRequest, job_files, new_manifest
from podium.batch.layouts import BadRow, Query
from podium.batch.options import Options
from podium.batch.parts import Part
from podium.batch.progress import part_bytes, share_before
from podium.batch.results import Plan
from podium.batch.scoring import ranked
from podium.errors import InvalidInput
from podium.inputs import refuse
from podium.prices import CHARACTERS_PER_TOKEN, find_price, search_count
from podium.ranking import Reranker
from podium.scorers import as_scorer

__all__ = ["planned"]

SAMPLE_PARTS = 8  # the maximum number of parts, spread over all parts, whose first queries are read
SAMPLE_PAIRS = 250  # in each of these parts, queries are read until they have this many pairs


class _Sample(NamedTuple):
    """The first queries of a part. `next_position` is the position of the query after them, None if the part has no more."""

    part: Part
    queries: Sequence[Query]
    next_position: int | None


def planned(request: JobRequest, reranker: Reranker, *, price: str | None = None, machine_price: float | None = None) -> Plan:
    """Read a sample of the input, score it unless a hosted model would be called, and return the estimate.

    Nothing is written. `price` is that of a hosted model, None for its list price. `machine_price` is that of this machine, in
    US dollars per hour. Raises InvalidInput, MissingPackage, and the errors of the reranker.
    """
    scorer = as_scorer(reranker.scorer)
    is_hosted = scorer.is_remote or scorer.threads is None  # without threads, a user's own scorer may call a server
    if is_hosted:
        refuse({"machine_price": machine_price}, "only models on this machine have the option")
    else:
        refuse({"price": price}, "only hosted models have the option")
    files, _ = job_files(request)
    manifest = new_manifest(request, files, reranker)
    part_count = len(manifest.parts)
    part_numbers = sorted({index * part_count // SAMPLE_PARTS for index in range(SAMPLE_PARTS)})
    samples = [_sample(manifest.parts[number], manifest.options) for number in part_numbers]
    queries = [query for sample in samples for query in sample.queries]
    pair_count = sum(len(query.documents) for query in queries)
    if not pair_count:
        raise InvalidInput("the sample of the input has no pair that can be scored; check the names of the columns")
    characters = sum(len(query.text) + len(document.text) for query in queries for document in query.documents)
    searches = sum(search_count([document.text for document in query.documents]) for query in queries)
    bytes_by_part = part_bytes(manifest.parts)
    sampled_bytes = sum(bytes_by_part[sample.part] for sample in samples)
    pairs_per_byte = sum(_part_pairs(sample, request.format_name) for sample in samples) / max(1, sampled_bytes)
    pairs = max(pair_count, round(pairs_per_byte * sum(bytes_by_part.values())))
    return Plan(
        files=len(files),
        parts=part_count,
        sample_pairs=pair_count,
        pairs=pairs,
        tokens=round(pairs * characters / pair_count / CHARACTERS_PER_TOKEN),
        searches=round(pairs * searches / pair_count),
        pairs_per_second=None if is_hosted else _pairs_per_second(samples, reranker),
        price=find_price(reranker.model, price),
        machine_price=machine_price,
    )


def _sample(part: Part, options: Options) -> _Sample:
    queries: list[Query] = []
    pair_count = 0
    for query in part_queries(part, options, _ignore):
        if pair_count >= SAMPLE_PAIRS:
            return _Sample(part, queries, query.position)
        queries.append(query)
        pair_count += len(query.documents)
    return _Sample(part, queries, None)


def _ignore(row: BadRow) -> None:
    """Do nothing about a bad row: the job itself reports it."""


def _part_pairs(sample: _Sample, format_name: str | None) -> float:
    """Return about how many pairs the part of a sample has."""
    pair_count = sum(len(query.documents) for query in sample.queries)
    if sample.next_position is None:
        return pair_count
    start, end = (
        share_before(sample.part, position, format_name) for position in (sample.queries[0].position, sample.next_position)
    )
    return pair_count / (end - start if end > start else 1.0)  # equal if the estimated end of the part is before both


def _pairs_per_second(samples: Sequence[_Sample], reranker: Reranker) -> float:
    """Score the samples, and return the speed."""
    first_queries = next(sample.queries for sample in samples if sample.queries)
    ranked(first_queries[:1], reranker)  # the first call of a model is slower
    began = time.perf_counter()
    for sample in samples:
        ranked(sample.queries, reranker)
    pair_count = sum(len(query.documents) for sample in samples for query in sample.queries)
    return pair_count / max(1e-9, time.perf_counter() - began)
