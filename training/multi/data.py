"""Pairs of a query and the passage that answers it, from published collections, and queries generated from passages.

`SOURCES` lists the sources that are read. Their licences allow sharing the weights under Apache-2.0. For a share of the
passages there is also a generated query: one of the passage's sentences, which is then removed from the passage.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PASSAGE_WORDS = 160
SEED = 7


@dataclass(frozen=True)
class Source:
    """A folder of pairs.

    - `query`: the JSON field with the query.
    - `max_pairs`: the maximum number of pairs that are read.
    - `generated_share`: the share of passages for which a query is generated.
    - `is_english`: whether queries and passages are English, so that an English model can be the teacher.
    - `rate`: how often the source is drawn, relative to its number of pairs.
    """

    folder: str
    licence: str
    query: str = "query"
    max_pairs: int = 1_000_000
    generated_share: float = 0.0
    is_english: bool = True
    rate: float = 1.0


SOURCES = (
    Source("scifact-train", "CC BY 4.0, ODC-By", generated_share=0.2),
    Source("pubmedqa-pqal", "MIT", max_pairs=700, generated_share=0.2),
    Source("covid-qa", "Apache-2.0", max_pairs=700),
    Source("afriqa-train-dev", "CC BY 4.0", query="query_en", max_pairs=900),
    Source("afriqa-train-dev", "CC BY 4.0", max_pairs=900, is_english=False, rate=0.7),
    Source("medquad", "CC BY 4.0", max_pairs=600),
    Source("arxiv", "CC0 1.0", max_pairs=1440, generated_share=0.2),
)
"""Not used: covid-faq (texts of public bodies, without a licence), qed-dev (CC BY-SA), selqa-dev (no licence)."""


@dataclass(frozen=True)
class Pairs:
    """Queries with the indices of their answers in `passages`, and of their sources in `SOURCES`."""

    queries: list[str]
    answers: list[int]
    sources: list[int]
    passages: list[str]


def make(folder: Path) -> Pairs:
    """Return the pairs of every source."""
    rows = [
        (query, passage, index)
        for index, source in enumerate(SOURCES)
        for query, passage in read_pairs(folder, source, random.Random(SEED))
    ]
    passages = list(dict.fromkeys(passage for _, passage, _ in rows))
    passage_indices = {passage: index for index, passage in enumerate(passages)}
    return Pairs(
        queries=[query for query, _, _ in rows],
        answers=[passage_indices[passage] for _, passage, _ in rows],
        sources=[index for _, _, index in rows],
        passages=passages,
    )


def read(file: Path, folder: Path) -> Pairs:
    """Return the pairs in a file, which is written first if it does not exist."""
    if not file.exists():
        file.write_text(json.dumps(asdict(make(folder))))
    return Pairs(**json.loads(file.read_text()))


def read_pairs(folder: Path, source: Source, generator: random.Random) -> Iterator[tuple[str, str]]:
    """Yield (query, passage) for the pairs of a source, in random order, and for generated queries."""
    with gzip.open(folder / source.folder / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    generator.shuffle(rows)
    seen_passages = set()
    for row in rows[: source.max_pairs]:
        passage = " ".join(row["positive"].split()[:PASSAGE_WORDS])
        yield row[source.query].strip(), passage
        if passage not in seen_passages and generator.random() < source.generated_share:
            yield from _generated_pair(passage, generator)
        seen_passages.add(passage)


def _generated_pair(passage: str, generator: random.Random) -> Iterator[tuple[str, str]]:
    """Yield a random sentence of the passage as a query, with the other sentences as its passage.

    Yields nothing if the passage has fewer than four sentences, or the sentence fewer than 5 or more than 30 words.
    """
    sentences = re.split(r"(?<=[.!?]) +", passage)
    if len(sentences) < 4:
        return
    index = generator.randrange(len(sentences))
    if 5 <= len(sentences[index].split()) <= 30:
        yield sentences[index], " ".join(sentences[:index] + sentences[index + 1 :])
