"""How time grows with tokens, documents and threads, for the cross-encoder that `make bench` makes.

.venv/dev/bin/python bench/scaling.py [--model FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from podium.load import local_scorer
from podium.local.cpu import cores

MODEL = Path(__file__).parents[1] / ".bench" / "model"
TOKENS, DOCUMENTS = (16, 32, 64, 128, 256, 512), (1, 2, 5, 10, 100, 1000)
QUERY, WORDS = "how are results ordered", "search results in order of relevance to what was asked "
RUNS, SECONDS = 5, 10


def milliseconds(scorer, texts: list[str]) -> float:
    """Return the median time of a call, after one call to warm up."""
    times = []
    for run in range(RUNS + 1):
        began = time.perf_counter()
        scorer.score(QUERY, texts)
        times.append(time.perf_counter() - began)
        if run and sum(times) > SECONDS:
            break
    return statistics.median(times[1:]) * 1000


def random_texts(count: int, words: int) -> list[str]:
    """Return different texts of `words` words, each of one token."""
    draw, vocabulary = np.random.default_rng(0), np.array(WORDS.split())
    return [" ".join(draw.choice(vocabulary, max(words, 1))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(MODEL))
    model = parser.parse_args().model
    for precision in ("float32", "int8"):
        single, parallel = (local_scorer(model, precision=precision, threads=count) for count in (1, cores()))
        other_tokens = single.score(QUERY, ["a"]).total_tokens - 1  # the query's and the special ones
        print(f"\n{precision}\n\n| tokens of a pair | ms a pair, one thread | µs a token |\n|---|---|---|")
        for tokens in TOKENS:
            per_pair = milliseconds(single, random_texts(20, tokens - other_tokens)) / 20
            print(f"| {tokens} | {per_pair:.2f} | {per_pair * 1000 / tokens:.0f} |", flush=True)
        print(f"\n| documents of about 64 tokens | ms, one thread | ms, {cores()} threads |\n|---|---|---|")
        for count in DOCUMENTS:
            times = [milliseconds(scorer, random_texts(count, 64 - other_tokens)) for scorer in (single, parallel)]
            print(f"| {count} | {times[0]:.1f} | {times[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
