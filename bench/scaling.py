"""How cost grows with tokens, documents and threads, for the cross-encoder that `make bench` makes (run that before).

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
RUNS = 5


def milliseconds(scorer, texts: list[str]) -> float:
    taken = []
    for run in range(RUNS + 1):
        began = time.perf_counter()
        scorer.score(QUERY, texts)
        taken.append(time.perf_counter() - began)
        if run and sum(taken) > 10:
            break
    return statistics.median(taken[1:]) * 1000


def texts(count: int, words: int) -> list[str]:
    """Return different texts of so many words, each a token."""
    draw, vocabulary = np.random.default_rng(0), np.array(WORDS.split())
    return [" ".join(draw.choice(vocabulary, max(words, 1))) for _ in range(count)]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", default=str(MODEL))
    model = asked.parse_args().model
    for precision in ("float32", "int8"):
        one, every = (local_scorer(model, precision=precision, threads=count) for count in (1, cores()))
        own = one.score(QUERY, ["a"]).total_tokens - 1
        print(f"\n{precision}\n\n| tokens of a pair | ms a pair, one thread | µs a token |\n|---|---|---|")
        for tokens in TOKENS:
            each = milliseconds(one, texts(20, tokens - own)) / 20
            print(f"| {tokens} | {each:.2f} | {each * 1000 / tokens:.0f} |", flush=True)
        print(f"\n| documents of about 64 tokens | ms, one thread | ms, {cores()} threads |\n|---|---|---|")
        for count in DOCUMENTS:
            taken = [milliseconds(scorer, texts(count, 64 - own)) for scorer in (one, every)]
            print(f"| {count} | {taken[0]:.1f} | {taken[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
