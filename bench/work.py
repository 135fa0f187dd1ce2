"""The benchmark's two workloads: 100 passages around 83 tokens, and 100 around 310, with the lengths real candidates have.

The texts are runs of words from a public collection where one lies beside the repository, else of this project's own
words; the lengths, which are what decides speed, are the same.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path

QUERY = "what did the president say about the economy and inflation"
ROOT = Path(__file__).parents[1]
COLLECTION = ROOT.parent / "shared" / "data" / "nq-open-gold" / "corpus.jsonl.gz"
OWN_WORDS = ROOT / "tests" / "parity" / "words.txt"
WORKLOADS = {"short": (55.0, 0.45), "long": (250.0, 0.5)}  # mean and spread of the passages' lengths in words


def words() -> list[str]:
    if COLLECTION.exists():
        with gzip.open(COLLECTION, "rt", encoding="utf-8") as lines:
            return [word for line in lines for word in json.loads(line)["text"].split()]
    draw = random.Random(1)
    return draw.choices(OWN_WORDS.read_text(encoding="utf-8").split(), k=200_000)


def passages(workload: str, count: int = 100) -> list[str]:
    """Return runs of words whose lengths are log-normal, between 5 and 380 words. The same on every machine."""
    mean, sigma = WORKLOADS[workload]
    source, draw = words(), random.Random(0)
    mu = math.log(mean) - sigma * sigma / 2
    found = []
    for _ in range(count):
        length = max(5, min(380, int(draw.lognormvariate(mu, sigma))))
        start = draw.randrange(len(source) - length)
        found.append(" ".join(source[start : start + length]))
    return found
