"""Plan a batch job: score a sample of its input, and extrapolate the number of pairs and the time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from podium.batch.compute import part_queries
from podium.batch.jobs import JobRequest, job_files, new_manifest
from podium.batch.layouts import Query
from podium.batch.options import Options
from podium.batch.parts import Part
from podium.batch.progress import part_bytes, share_before
from podium.batch.results import Plan
from podium.batch.scoring import ranked
from podium.errors import InvalidInput
from podium.prices import CHARACTERS_PER_TOKEN, Price, search_count
from podium.ranking import Reranker
from podium.scorers import as_scorer

__all__ = ["planned"]

SAMPLE_PARTS = 8  # parts at equal distances, of which the first queries are read
SAMPLE_PAIRS = 250  # about how many pairs of each of these parts are scored


def planned(request: JobRequest, reranker: Reranker, *, price: Price | None = None, machine_price: float | None = None) -> Plan:
    """Score a sample of the input, and return the estimate. Nothing is written. Raises the errors of a job.

    `price` is that of a hosted model, and `machine_price` that of this machine, in US dollars per hour.
    """
    files, _ = job_files(request)
    manifest = new_manifest(request, files, reranker)
    bytes_by_part = part_bytes(manifest.parts)
    step = max(1, len(manifest.parts) // SAMPLE_PARTS)
    samples = [(part, _first_queries(part, manifest.options)) for part in manifest.parts[::step][:SAMPLE_PARTS]]
    sampled_queries = [query for _, queries in samples for query in queries]
    pair_count = sum(len(query.documents) for query in sampled_queries)
    if not pair_count:
        raise InvalidInput("the sample of the input has no pair that can be scored; check the names of the columns")
    characters = sum(len(query.text) + len(document.text) for query in sampled_queries for document in query.documents)
    searches = sum(search_count([document.text for document in query.documents]) for query in sampled_queries)
    speed = None
    if as_scorer(reranker.scorer).threads is not None:
        ranked(sampled_queries[:1], reranker)  # the first call of a model is slower
        began = time.perf_counter()
        for _, queries in samples:
            ranked(queries, reranker)
        speed = pair_count / max(1e-9, time.perf_counter() - began)
    densities = [
        _pairs_per_byte(part, queries, bytes_by_part[part], request.format_name) for part, queries in samples if queries
    ]
    pairs = max(pair_count, round(sum(bytes_by_part.values()) * sum(densities) / len(densities)))
    return Plan(
        files=len(files),
        parts=len(manifest.parts),
        sample_pairs=pair_count,
        pairs=pairs,
        tokens=round(pairs * characters / pair_count / CHARACTERS_PER_TOKEN),
        searches=round(pairs * searches / pair_count),
        pairs_per_second=speed,
        price=price,
        machine_price=machine_price,
    )


def _first_queries(part: Part, options: Options) -> list[Query]:
    """Return the first queries of a part, with about SAMPLE_PAIRS pairs together."""
    queries: list[Query] = []
    pair_count = 0
    for query in part_queries(part, options, lambda row: None):
        queries.append(query)
        pair_count += len(query.documents)
        if pair_count >= SAMPLE_PAIRS or len(queries) > SAMPLE_PAIRS:  # also if the queries have no documents
            break
    return queries


def _pairs_per_byte(part: Part, queries: Sequence[Query], byte_count: int, format_name: str | None) -> float:
    """Return how many pairs a byte of a part has, from the distance between the first and the last of these queries.

    `byte_count` is the size of the part.
    """
    first, last = queries[0], queries[-1]
    share = share_before(part, last.position, format_name) - share_before(part, first.position, format_name)
    if share <= 0:  # there is only one query
        return sum(len(query.documents) for query in queries) / max(1, byte_count)
    return sum(len(query.documents) for query in queries[:-1]) / max(1e-9, share * byte_count)
