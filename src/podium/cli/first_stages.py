"""First stages of an evaluation, which find the candidates: BM25 over the collection, a TREC run, or an index."""

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
    """Provide the function that finds a query's candidates: in a run, in the index at `place`, or by BM25.

    The index is closed at the end. Raises InvalidInput if documents are found that are not in the collection.
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
            yield lambda query, text, count: _scored_ids(collection, source, text, count)
    else:
        yield _bm25_stage(collection, options.embed)


def first_stage_name(run_file: str | None, place: str | None, embed: str | None) -> str:
    """Return the name of a first stage for a report."""
    if run_file:
        return f"the run {run_file}"
    if place:
        return f"the index {without_passwords(place)}" + (f", with the embedder {embed}" if embed else "")
    return f"BM25 and the vectors of {embed}, fused" if embed else "BM25"


def without_passwords(text: str) -> str:
    """Return a text without the user names and passwords of its URLs."""
    return re.sub(r"(://)[^/\s]*@", r"\1…@", text)


def _run_stage(collection: Collection, file: str) -> FirstStage:
    run = read_run(file)
    unknown = {document for scores in run.values() for document in scores} - set(collection.documents)
    if unknown:
        raise InvalidInput(f"{file} has documents that are not in the collection, such as {min(unknown)!r:.60}")
    return lambda query, text, count: list(run.get(query, {}).items())[:count]


def _bm25_stage(collection: Collection, embed: str | None) -> FirstStage:
    index = EmbeddedIndex.create(None, embed=embedder(embed))
    ids = list(collection.documents)
    index.add([collection.documents[document] for document in ids], ids=ids)

    def search(query: str, text: str, count: int) -> ScoredIds:
        candidates = collection.candidates.get(query)
        if candidates is None:
            return _scored_ids(collection, index, text, count)
        scores = dict(_scored_ids(collection, index, text, len(ids)))
        # Candidates without a word of the query are not in `scores`; they are at the end.
        ranked = sorted(candidates, key=lambda document: -scores.get(document, 0.0))
        return [(document, scores.get(document, 0.0)) for document in ranked][:count]

    return search


def _scored_ids(collection: Collection, source: HybridSource[Any], text: str, count: int) -> ScoredIds:
    """Return (document id, score) of each document that a source finds. Raises InvalidInput if one is not in the collection."""
    hits = source.search(text, count)
    scored_ids = [(source.document_id(hit["source_key"]), float(hit["source_score"])) for hit in hits]
    if unknown := [document for document, _ in scored_ids if document not in collection.documents]:
        raise InvalidInput(
            f"the index has documents that are not in the collection, such as {unknown[0]!r:.60}; index it with --id _id"
        )
    return scored_ids
