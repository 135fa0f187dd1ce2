"""Measure text search in scripts that are written without spaces, by nDCG@10 and recall, for several ways to separate words.

    python bench/segmentation.py [COLLECTION …]

COLLECTION is a folder as in candidates.py, or a file of XQuAD such as xquad.zh.json (github.com/google-deepmind/xquad). The
defaults are xquad-zh, xquad-th and xquad-en in ../shared/data; missing ones are skipped. Needs `pip install ir_measures`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ir_measures
from candidates import read_collection
from ir_measures import R, nDCG

from podium import EmbeddedIndex
from podium.sources.embedded import segmentation
from podium.sources.embedded.description import Description
from podium.sources.embedded.texts import Texts

DATA = Path(__file__).parents[2] / "shared" / "data"
DEPTH = 100
METRICS = (nDCG @ 10, R @ 10, R @ 100)


@dataclass(frozen=True)
class Variant:
    """A way to rewrite the texts of documents and queries, before an index separates words by spaces and punctuation."""

    name: str
    document: Callable[[str], str]
    query: Callable[[str], str]


def sequences(*lengths: int, signs_apart: bool = False) -> Callable[[str], str]:
    """Return a function that replaces every run of text without spaces by all its sequences of these numbers of characters.

    The sequences are separated by spaces. If a run is shorter than all of them, it is one sequence. With `signs_apart`, vowel
    signs and tone marks are characters too.
    """

    def words(run: str) -> list[str]:
        characters = segmentation.characters_of(run)
        if signs_apart:
            characters = list("".join(characters))
        parts = [
            "".join(characters[start : start + length]) for length in lengths for start in range(len(characters) - length + 1)
        ]
        return parts or ["".join(characters)]

    return lambda text: segmentation.RUN.sub(lambda run: f" {' '.join(words(run[0]))} ", text)


VARIANTS = (
    Variant("words (layout 1)", str, str),
    Variant("characters", sequences(1), sequences(1)),
    Variant("pairs", sequences(2), sequences(2)),
    Variant("pairs, signs apart", sequences(2, signs_apart=True), sequences(2, signs_apart=True)),
    Variant("pairs and characters, query pairs (podium)", segmentation.segmented, segmentation.segmented_query),
    Variant("pairs and characters", sequences(1, 2), sequences(1, 2)),
    Variant("triples", sequences(3), sequences(3)),
    Variant("pairs and triples", sequences(2, 3), sequences(2, 3)),
)


def read_xquad(file: Path):
    """Return documents by id, queries by id, and judgments. A paragraph is the relevant document of its own questions."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    paragraphs = list(itertools.chain.from_iterable(article["paragraphs"] for article in articles))
    documents = {f"p{i}": {"text": paragraph["context"]} for i, paragraph in enumerate(paragraphs)}
    questions = [(f"p{i}", question) for i, paragraph in enumerate(paragraphs) for question in paragraph["qas"]]
    queries = {question["id"]: question["question"] for _, question in questions}
    return documents, queries, {question["id"]: {document: 1} for document, question in questions}


def document_text(document: dict[str, str]) -> str:
    return f"{document.get('title', '')} {document['text']}"


def measure(documents, queries, qrels, variant: Variant):
    """Return the metrics, the milliseconds of indexing one document, and the milliseconds of one query."""
    description = Description(fields=None, language="english", layout=1)
    index = EmbeddedIndex(None, description, Texts(None, description))
    began = time.perf_counter()
    index.add([variant.document(document_text(document)) for document in documents.values()], ids=documents)
    search_began = time.perf_counter()
    run = {
        query_id: {hit["source_key"]: hit["source_score"] for hit in index.search(variant.query(query), DEPTH)}
        for query_id, query in queries.items()
    }
    search_seconds = time.perf_counter() - search_began
    metrics = ir_measures.calc_aggregate(METRICS, qrels, run)
    return metrics, 1000 * (search_began - began) / len(documents), 1000 * search_seconds / len(queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "collections", nargs="*", type=Path, default=[DATA / f"xquad-{language}" for language in ("zh", "th", "en")]
    )
    for path in parser.parse_args().collections:
        if not path.exists():
            print(f"{path.name}: skipped, because there is no {path}")
            continue
        collection = read_xquad(path) if path.suffix == ".json" else read_collection(path)
        for variant in VARIANTS:
            metrics, document_ms, query_ms = measure(*collection, variant)
            scores = "   ".join(f"{metric} {metrics[metric]:.4f}" for metric in METRICS)
            print(
                f"{path.stem:12} {variant.name:44} {scores}   {document_ms:.2f} ms a document, {query_ms:.2f} ms a query",
                flush=True,
            )


if __name__ == "__main__":
    main()
