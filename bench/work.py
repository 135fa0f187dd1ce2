"""The two workloads of the benchmarks, passages of about 83 tokens and of about 310, with lengths as in real searches.

The words come from a public collection if that is beside the repository, else from tests/parity/words.txt. The speed depends
on the passages' lengths, which are the same in both cases.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

QUERY = "what did the president say about the economy and inflation"
ROOT = Path(__file__).parents[1]
COLLECTION = ROOT.parent / "shared" / "data" / "nq-open-gold" / "corpus.jsonl.gz"
OWN_WORDS = ROOT / "tests" / "parity" / "words.txt"
WORKLOADS = {"short": (55.0, 0.45), "long": (250.0, 0.5)}
"""A workload → the mean of its passages' lengths in words, and sigma of the log-normal distribution of the lengths."""


def words() -> list[str]:
    if COLLECTION.exists():
        with gzip.open(COLLECTION, "rt", encoding="utf-8") as lines:
            return [word for line in lines for word in json.loads(line)["text"].split()]
    generator = random.Random(1)
    return generator.choices(OWN_WORDS.read_text(encoding="utf-8").split(), k=200_000)


def passages(workload: str, count: int = 100) -> list[str]:
    """Return texts of 5 to 380 words, with log-normal lengths. They are the same in every call."""
    mean, sigma = WORKLOADS[workload]
    source = words()
    generator = random.Random(0)
    mu = math.log(mean) - sigma * sigma / 2  # so that the mean of the distribution is `mean`
    texts = []
    for _ in range(count):
        length = max(5, min(380, int(generator.lognormvariate(mu, sigma))))
        start = generator.randrange(len(source) - length)
        texts.append(" ".join(source[start : start + length]))
    return texts


def queries() -> Iterator[str]:
    """Yield different queries that have as many words as QUERY."""
    length = len(QUERY.split())
    source = words()
    for index in range(0, len(source), length):
        yield " ".join(source[index : index + length])
