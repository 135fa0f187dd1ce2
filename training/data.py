"""Published question–passage pairs → lists to train on: a query, what answers it, and passages that only look as if.

Only sources whose licence lets weights be shared under Apache-2.0 are read; `SOURCES` says which. Half of the passages of
running prose also give a query of their own: a sentence, which is then taken out of them.
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
FOUND, HARD = 40, 20
SAME = 0.6  # of the smaller passage's words in the other: the same text, and no negative


@dataclass(frozen=True)
class Source:
    """A folder of pairs. `most`: how many are taken; `made`: the share of passages that give a query of their own."""

    folder: str
    licence: str
    query: str = "query"
    most: int = 1_000_000
    made: float = 0.5


SOURCES = (
    Source("scifact-train", "CC BY 4.0, ODC-By"),
    Source("pubmedqa-pqal", "MIT"),
    Source("covid-qa", "Apache-2.0"),
    Source("afriqa-train-dev", "CC BY 4.0", query="query_en"),
    Source("medquad", "CC BY 4.0", most=4500, made=0.15),
)
"""Left out: covid-faq (texts of public bodies, several languages), qed-dev (CC BY-SA), selqa-dev (no licence)."""


@dataclass(frozen=True)
class Lists:
    """`rows` hold a query's number, its passage's, and those of hard negatives."""

    queries: list[str]
    passages: list[str]
    sources: list[str]
    rows: list[list[int]]


def make(folder: Path, parent: Path, seed: int = 7) -> Lists:
    """Read every source and find hard negatives by BM25 and the parent's vectors, fused."""
    passages: dict[str, None] = {}
    pairs = [pair for source in SOURCES for pair in _pairs(folder, source, random.Random(seed))]
    for _, passage, _ in pairs:
        passages[passage] = None
    listed = list(passages)
    number = {passage: at for at, passage in enumerate(listed)}
    index = EmbeddedIndex.create(None, embed=podium.Embedder(parent, precision="int8"))
    index.add(listed, ids=[str(at) for at in range(len(listed))])
    rows = [
        [at, number[passage], *_hard(index, listed, query, number[passage])] for at, (query, passage, _) in enumerate(pairs)
    ]
    return Lists([query for query, _, _ in pairs], listed, [name for *_, name in pairs], [row for row in rows if len(row) > 2])


def _pairs(folder: Path, source: Source, chance: random.Random) -> Iterator[tuple[str, str, str]]:
    with gzip.open(folder / source.folder / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    chance.shuffle(rows)
    seen = set()
    for row in rows[: source.most]:
        passage = " ".join(row["positive"].split()[:PASSAGE_WORDS])
        yield row[source.query].strip(), passage, source.folder
        if passage not in seen and chance.random() < source.made:
            yield from _made(passage, source.folder, chance)
        seen.add(passage)


def _made(passage: str, name: str, chance: random.Random) -> Iterator[tuple[str, str, str]]:
    """Take one sentence out, and ask with it for the rest."""
    sentences = re.split(r"(?<=[.!?]) +", passage)
    if len(sentences) < 4:
        return
    at = chance.randrange(len(sentences))
    if 5 <= len(sentences[at].split()) <= 30:
        yield sentences[at], " ".join(sentences[:at] + sentences[at + 1 :]), f"{name}, made"


def _hard(index: EmbeddedIndex, passages: list[str], query: str, positive: int) -> list[int]:
    """Return what is found beside the positive, near-duplicates of it left out."""
    words = set(passages[positive].lower().split())
    found = []
    for each in index.search(query, FOUND):
        at = int(str(each["source_key"]))
        others = set(passages[at].lower().split())
        if at != positive and len(words & others) < SAME * min(len(words), len(others)):
            found.append(at)
    return found[:HARD]
