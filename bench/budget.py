"""Measure how much a call exceeds its time budget, and how many documents it scores in this time.

    .venv/dev/bin/python bench/budget.py [--cross-encoder FOLDER] [--rounds 50]

Each call ranks 100 passages of about 83 tokens, or 100 documents that are longer than the model reads. The models are
podium-mini in int8, whose store has none of their encodings, and a cross-encoder of MiniLM-L6's shape in float32, which
`make bench` writes into .bench/model. The longest overrun is compared with the longest step of the same call: a call may exceed
its budget by one step. The exit code is 1 if one exceeds it by more.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import work

import podium
from podium.compose.wrapped import WrappedScorer
from podium.types import Progress, Scores

ROOT = Path(__file__).parents[1]
BUDGETS_MS = (20, 50, 200)
DOCUMENT_COUNT = 100
SORTING_MS = 1.0  # reading the documents before the first step, and sorting them after the last one
WARM_UP_CALLS = 3
LONG_WORDS = 1000


class TimedSteps(WrappedScorer):
    """A scorer that records the milliseconds of each call."""

    def __init__(self, scorer: podium.Scorer) -> None:
        super().__init__(scorer)
        self.times: list[float] = []

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.scorer.score(query, texts)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        began = time.perf_counter()
        try:
            return self.scorer.score_many(queries, texts_per_query, progress=progress)
        finally:
            self.times.append(1000 * (time.perf_counter() - began))


def documents_by_kind() -> dict[str, list[str]]:
    passages = work.passages("short", DOCUMENT_COUNT)
    words = " ".join(passages).split()
    starts = range(0, len(words), len(words) // DOCUMENT_COUNT)
    long_documents = [" ".join([*words[start:], *words[:start]][:LONG_WORDS]) for start in starts[:DOCUMENT_COUNT]]
    return {"about 83 tokens": passages, "longer than it reads": long_documents}


def calls(
    reranker: podium.Reranker, documents: Sequence[str], budget_ms: float | None, rounds: int
) -> Iterator[tuple[float, float, int]]:
    """Yield the milliseconds, those of the longest step, and the number of scored documents of each call."""
    steps = TimedSteps(reranker.scorer)
    timed = reranker.with_scorer(steps)
    for index, query in enumerate(itertools.islice(work.queries(), rounds + WARM_UP_CALLS)):
        texts = [f"{budget_ms} {index} {text}" for text in documents]  # so that no encoding is in the store
        steps.times.clear()
        began = time.perf_counter()
        ranking = timed.rerank(query, texts, budget_ms=budget_ms)
        milliseconds = 1000 * (time.perf_counter() - began)
        if index >= WARM_UP_CALLS:
            yield milliseconds, max(steps.times, default=0.0), ranking.usage.pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cross-encoder", type=Path, default=ROOT / ".bench" / "model")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    models = {"podium-mini int8": ("podium-mini", "int8"), "MiniLM-L6 shape float32": (arguments.cross_encoder, "float32")}
    columns = ("model", "documents", "budget", "median", "longest overrun", "longest step of that call", "documents in time")
    print("|", " | ".join((*columns, "without a budget")), "|")
    print("|---" * (len(columns) + 1) + "|")
    has_failed = False
    for (title, (name, precision)), (kind, documents) in itertools.product(models.items(), documents_by_kind().items()):
        with podium.load(name, precision=precision, threads=arguments.threads) as reranker:
            complete = [time for time, _, _ in calls(reranker, documents, None, max(2, arguments.rounds // 20))]
            for budget in BUDGETS_MS:
                figures = list(calls(reranker, documents, budget, arguments.rounds))
                median = statistics.median(time for time, _, _ in figures)
                worst, step, _ = max(figures, key=lambda figure: figure[0])
                count = statistics.median(count for _, _, count in figures)
                has_failed |= any(time - budget > longest + SORTING_MS for time, longest, _ in figures)
                overrun = max(0.0, worst - budget)
                cells = (title, kind, f"{budget} ms", f"{median:.1f} ms", f"{overrun:.1f} ms", f"{step:.1f} ms")
                in_time = f"{count:.0f} of {DOCUMENT_COUNT}"
                print("|", " | ".join((*cells, in_time, f"{statistics.median(complete):.0f} ms")), "|", flush=True)
    print(
        "a call exceeded its budget by more than one step"
        if has_failed
        else "no call exceeded its budget by more than one step"
    )
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
