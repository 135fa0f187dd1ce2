"""Make training lists (a query, the passage that answers it, hard negatives) from published pairs of question and passage.

`SOURCES` lists the sources that are read. Their licences allow sharing the weights under Apache-2.0. For a share of the
passages there is also a generated query: one of the passage's sentences, which is then removed from the passage.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import podium
from podium.sources.embedded.index import EmbeddedIndex

PASSAGE_WORDS = 160
CANDIDATES = 40  # the number of passages that a search for hard negatives returns
HARD_NEGATIVES = 20  # the maximum number of them that are used
DUPLICATE_OVERLAP = 0.6  # two passages with this share of the smaller one's words in common count as the same text


@dataclass(frozen=True)
class Source:
    """A folder of pairs.

    - `query`: the JSON field with the query.
    - `max_pairs`: the maximum number of pairs that are read.
    - `generated_share`: the share of passages for which a query is generated.
    """

    folder: str
    licence: str
    query: str = "query"
    max_pairs: int = 1_000_000
    generated_share: float = 0.5


SOURCES = (
    Source("scifact-train", "CC BY 4.0, ODC-By"),
    Source("pubmedqa-pqal", "MIT"),
    Source("covid-qa", "Apache-2.0"),
    Source("afriqa-train-dev", "CC BY 4.0", query="query_en"),
    Source("medquad", "CC BY 4.0", max_pairs=4500, generated_share=0.15),
)
"""Not used: covid-faq (texts of public bodies, several languages), qed-dev (CC BY-SA), selqa-dev (no licence)."""


@dataclass(frozen=True)
class Lists:
    """Training lists. A row has the index of a query in `queries`, then the indices in `passages` of its answer and negatives.

    `sources[i]` is the source of `queries[i]`.
    """

    queries: list[str]
    passages: list[str]
    sources: list[str]
    rows: list[list[int]]


def make(folder: Path, parent: Path, seed: int = 7) -> Lists:
    """Read every source, and find hard negatives with the fusion of BM25 and the parent's vectors."""
    pairs = [pair for source in SOURCES for pair in read_pairs(folder, source, random.Random(seed))]
    passages = list(dict.fromkeys(passage for _, passage, _ in pairs))
    passage_indices = {passage: index for index, passage in enumerate(passages)}
    search_index = EmbeddedIndex.create(None, embed=podium.Embedder(parent, precision="int8"))
    search_index.add(passages, ids=[str(index) for index in range(len(passages))])
    rows = []
    for query_index, (query, passage, _) in enumerate(pairs):
        positive = passage_indices[passage]
        if negatives := _hard_negatives(search_index, passages, query, positive):
            rows.append([query_index, positive, *negatives])
    queries = [query for query, _, _ in pairs]
    return Lists(queries=queries, passages=passages, sources=[name for *_, name in pairs], rows=rows)


def read_pairs(folder: Path, source: Source, generator: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield (query, passage, name of the source) for the pairs of a source, in random order, and for generated queries."""
    with gzip.open(folder / source.folder / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    generator.shuffle(rows)
    seen_passages = set()
    for row in rows[: source.max_pairs]:
        passage = " ".join(row["positive"].split()[:PASSAGE_WORDS])
        yield row[source.query].strip(), passage, source.folder
        if passage not in seen_passages and generator.random() < source.generated_share:
            yield from _generated_pair(passage, source.folder, generator)
        seen_passages.add(passage)


def _generated_pair(passage: str, name: str, generator: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield a random sentence of the passage as a query, with the other sentences as its passage.

    Yields nothing if the passage has fewer than four sentences, or the sentence fewer than 5 or more than 30 words.
    """
    sentences = re.split(r"(?<=[.!?]) +", passage)
    if len(sentences) < 4:
        return
    index = generator.randrange(len(sentences))
    if 5 <= len(sentences[index].split()) <= 30:
        yield sentences[index], " ".join(sentences[:index] + sentences[index + 1 :]), f"{name}, made"


def _hard_negatives(search_index: EmbeddedIndex, passages: list[str], query: str, positive: int) -> list[int]:
    """Return the indices of passages that a search finds for the query, without the positive and its near-duplicates."""
    words = set(passages[positive].lower().split())
    negatives = []
    for hit in search_index.search(query, CANDIDATES):
        index = int(str(hit["source_key"]))
        other_words = set(passages[index].lower().split())
        is_duplicate = len(words & other_words) >= DUPLICATE_OVERLAP * min(len(words), len(other_words))
        if index != positive and not is_duplicate:
            negatives.append(index)
    return negatives[:HARD_NEGATIVES]
