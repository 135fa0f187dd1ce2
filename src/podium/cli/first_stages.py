"""Where an evaluation's candidates come from: BM25 made on the spot, a run file, or an index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict

from podium.errors import InvalidInput
from podium.evaluation.collections import Collection
from podium.evaluation.evaluate import Find
from podium.evaluation.runs import read_run
from podium.inputs import without_none
from podium.places import SourceOptions, embedder, load_source
from podium.sources.embedded.index import EmbeddedIndex

__all__ = ["first_stage", "first_stage_name", "without_passwords"]

Found = list[tuple[str, float]]


def first_stage(collection: Collection, run_file: str | None, where: str | None, options: SourceOptions | None) -> Find:
    """Return what finds a query's candidates. Raises InvalidInput where its documents are not the collection's."""
    options = options or SourceOptions()
    if not where and (unfit := [name for name in without_none(asdict(options)) if name != "embed"]):
        raise InvalidInput(f"{', '.join('--' + name.replace('_', '-') for name in unfit)}: only with --in, an index to search")
    if run_file and where:
        raise InvalidInput("--run and --in are two first stages; name one")
    if run_file:
        return _run(collection, run_file)
    if where:
        source = load_source(where, options)
        return lambda query, text, count: _known(collection, source.search(text, count))
    return _bm25(collection, options.embed)


def first_stage_name(run_file: str | None, where: str | None, embed: str | None) -> str:
    """Return how the candidates were found, in words."""
    if run_file:
        return f"the run {run_file}"
    if where:
        return f"the index {without_passwords(where)}" + (f", with the embedder {embed}" if embed else "")
    return f"BM25 and the vectors of {embed}, fused" if embed else "BM25"


def without_passwords(text: str) -> str:
    """Return a text without the user names and passwords of its URLs."""
    return re.sub(r"(://)[^/\s]*@", r"\1…@", text)


def _run(collection: Collection, file: str) -> Find:
    run = read_run(file)
    unknown = {document for found in run.values() for document in found} - set(collection.documents)
    if unknown:
        raise InvalidInput(f"{file} has documents that the collection lacks, such as {min(unknown)!r:.60}")
    return lambda query, text, count: list(run.get(query, {}).items())[:count]


def _bm25(collection: Collection, embed: str | None) -> Find:
    index = EmbeddedIndex.create(None, embed=embedder(embed))
    ids = list(collection.documents)
    index.add([collection.documents[name] for name in ids], ids=ids)

    def find(query: str, text: str, count: int) -> Found:
        own = collection.candidates.get(query)
        if own is None:
            return _known(collection, index.search(text, count))
        found = dict(_known(collection, index.search(text, len(ids))))
        ranked = sorted(own, key=lambda name: -found.get(name, 0.0))  # those without a word of the query stay, at the end
        return [(name, found.get(name, 0.0)) for name in ranked][:count]

    return find


def _known(collection: Collection, found: Sequence[dict[str, object]]) -> Found:
    """Return the collection's ids of what a source found: its keys, on Redis behind the index's prefix."""
    named = []
    for each in found:
        key, score = str(each["source_key"]), float(str(each["source_score"]))
        name = key if key in collection.documents else key.rpartition(":")[2]
        if name not in collection.documents:
            raise InvalidInput(
                f"the index has documents that the collection lacks, such as {key!r:.60}; index it with --id _id"
            )
        named.append((name, score))
    return named
