"""First stages of an evaluation, which find the candidates of each query: BM25, a TREC run, or an index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from podium.errors import Argument, InvalidInput
from podium.evaluation.collections import Collection
from podium.evaluation.evaluate import FirstStage
from podium.evaluation.runs import read_run
from podium.inputs import refuse
from podium.places import SourceOptions, embedder, load_source
from podium.sources.embedded.index import EmbeddedIndex
from podium.sources.hybrid import HybridSource

__all__ = ["first_stage", "first_stage_name", "without_passwords"]

ScoredIds = list[tuple[str, float]]


@contextmanager
def first_stage(
    collection: Collection, run_file: str | None = None, place: str | None = None, options: SourceOptions | None = None
) -> Iterator[FirstStage]:
    """Yield the function that finds a query's candidates: in the TREC run, in the index at `place`, or else by BM25.

    `options` are for the index. Only `embed` can also be used with BM25, which then also searches by vectors. The index is
    closed at the end. Raises InvalidInput if a run or an index has documents that are not in the collection.
    """
    options = options or SourceOptions()
    if run_file and place:
        raise InvalidInput(Argument("run"), " and ", Argument("in"), " are two first stages; use one of them")
    if not place:
        refuse({**asdict(options), "embed": None}, "without an index to search (--in), leave out")
    if run_file:
        yield _run_stage(collection, run_file)
    elif place:
        with closing(load_source(place, options)) as source:
            yield lambda query_id, text, count: _scored_ids(collection, source, text, count)
    else:
        yield _bm25_stage(collection, options.embed)


def first_stage_name(run_file: str | None, place: str | None, embed: str | None) -> str:
    """Describe a first stage for a report, without passwords."""
    if run_file:
        return f"the run {run_file}"
    if place:
        return f"the index {without_passwords(place)}" + (f", with the embedder {embed}" if embed else "")
    return f"BM25 and the vectors of {embed}, fused" if embed else "BM25"


def without_passwords(text: str) -> str:
    """Return a text without the user names and passwords of its URLs."""
    return re.sub(r"([?&]password=)[^&\s]*", r"\1…", re.sub(r"(://)[^/\s]*@", r"\1…@", text))


def _run_stage(collection: Collection, file: str) -> FirstStage:
    run = read_run(file)
    unknown_ids = {document_id for scores in run.values() for document_id in scores} - set(collection.documents)
    if unknown_ids:
        raise InvalidInput(f"{file} has documents that are not in the collection, such as {min(unknown_ids)!r:.60}")
    if not run.keys() & collection.queries.keys():
        raise InvalidInput(f"{file} has no query that the collection judges; do their ids match?")
    return lambda query_id, text, count: list(run.get(query_id, {}).items())[:count]


def _bm25_stage(collection: Collection, embed: str | None) -> FirstStage:
    """Index the collection in memory. Return the function that searches the index.

    If the collection lists candidates for a query, only these are found.
    """
    index = EmbeddedIndex.create(None, embed=embedder(embed))
    ids = list(collection.documents)
    index.add(list(collection.documents.values()), ids=ids)

    def search(query_id: str, text: str, count: int) -> ScoredIds:
        candidates = collection.candidates.get(query_id)
        if candidates is None:
            return _scored_ids(collection, index, text, count)
        scores = dict(_scored_ids(collection, index, text, len(ids)))
        # A candidate without a word of the query is not in `scores`. It gets the score 0, so that it comes last.
        ranked_ids = sorted(candidates, key=lambda document_id: -scores.get(document_id, 0.0))
        return [(document_id, scores.get(document_id, 0.0)) for document_id in ranked_ids][:count]

    return search


def _scored_ids(collection: Collection, source: HybridSource[Any], text: str, count: int) -> ScoredIds:
    """Return ids and scores of the documents that a source finds. Raises InvalidInput if one is not in the collection."""
    hits = source.search(text, count)
    scored_ids = [(source.document_id(hit["source_key"]), float(hit["source_score"])) for hit in hits]
    if unknown_ids := [document_id for document_id, _ in scored_ids if document_id not in collection.documents]:
        problem = f"the index has documents that are not in the collection, such as {unknown_ids[0]!r:.60}"
        raise InvalidInput(f"{problem}; index the collection with --id _id")
    return scored_ids
