"""Measure how time grows with tokens, documents and threads, for the cross-encoder that `make bench` writes.

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
from podium.scorers import BaseScorer

MODEL = Path(__file__).parents[1] / ".bench" / "model"
PAIR_TOKENS = (16, 32, 64, 128, 256, 512)
DOCUMENT_COUNTS = (1, 2, 5, 10, 100, 1000)
USUAL_PAIR_TOKENS = 64  # the tokens of each pair in the second table, whose rows have different numbers of documents
QUERY = "how are results ordered"
WORDS = ("search", "results", "in", "order", "of", "relevance", "to", "what", "was", "read")  # Each word is one token.
MAX_CALLS = 5
MAX_SECONDS = 10


def milliseconds(scorer: BaseScorer, texts: list[str]) -> float:
    """Return the median time of a call, in milliseconds.

    Call once to warm up, then MAX_CALLS times, but stop after a call if all calls together took longer than MAX_SECONDS.
    """
    times = []
    for call in range(MAX_CALLS + 1):
        began = time.perf_counter()
        scorer.score(QUERY, texts)
        times.append(time.perf_counter() - began)
        if call and sum(times) > MAX_SECONDS:
            break
    return statistics.median(times[1:]) * 1000


def random_texts(count: int, word_count: int) -> list[str]:
    """Return `count` random texts of `word_count` words. Every word is one token."""
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, word_count)) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(MODEL))
    model = parser.parse_args().model
    for precision in ("float32", "int8"):
        single = local_scorer(model, precision=precision, threads=1)
        parallel = local_scorer(model, precision=precision, threads=cores())
        other_token_count = single.score(QUERY, ["a"]).total_tokens - 1  # the tokens of the query and the special tokens
        print(f"\n{precision}\n\n| tokens of a pair | ms a pair, one thread | µs a token |\n|---|---|---|")
        for pair_tokens in PAIR_TOKENS:
            word_count = max(pair_tokens - other_token_count, 1)  # at least 1, if there are too many other tokens
            pair_ms = milliseconds(single, random_texts(20, word_count)) / 20
            print(f"| {pair_tokens} | {pair_ms:.2f} | {pair_ms * 1000 / pair_tokens:.0f} |", flush=True)
        title = f"documents, {USUAL_PAIR_TOKENS} tokens with the query"
        print(f"\n| {title} | ms, one thread | ms, {cores()} threads |\n|---|---|---|")
        for count in DOCUMENT_COUNTS:
            texts = random_texts(count, USUAL_PAIR_TOKENS - other_token_count)
            print(f"| {count} | {milliseconds(single, texts):.1f} | {milliseconds(parallel, texts):.1f} |", flush=True)


if __name__ == "__main__":
    main()
