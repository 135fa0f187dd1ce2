"""One library that runs ColBERT models, in its own process, called as its users would call it.

    python late_contenders.py NAME FOLDER

reads requests from standard input, and answers each with a line of JSON that has the seconds it took:

- "encode small" or "encode modernbert" encodes 100 documents of about 83 tokens,
- "store N" encodes N documents with the small model and keeps their encodings in memory,
- "rank" ranks those for another query each time, the query's encoding included.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent))


class Ranker(Protocol):
    def encode(self, texts: list[str]) -> Any:
        """Return the encodings of texts."""

    def rank(self, query: str, texts: list[str], encodings: Any) -> list[float]:
        """Return the scores of texts whose encodings are known, after ranking them."""


class Podium:
    def __init__(self, folder: Path, precision: Any) -> None:
        from podium import Reranker
        from podium.encodings.memory import MemoryEncodings
        from podium.load import local_scorer

        scorer = local_scorer(folder, precision=precision, keep=0)
        self._scorer: Any = scorer
        self._memory = MemoryEncodings
        self._reranker = Reranker

    def encode(self, texts: list[str]) -> Any:
        stored = self._scorer.with_store(self._memory(1_000_000_000))
        stored.encode(texts)
        return self._reranker(stored)

    def rank(self, query: str, texts: list[str], encodings: Any) -> list[float]:
        ranking = encodings.rerank(query, texts)
        assert ranking.usage.encoded == 0
        return [result.score for result in sorted(ranking, key=lambda result: result.index)]


class SentenceTransformers:
    def __init__(self, folder: Path) -> None:
        import torch
        from sentence_transformers import MultiVectorEncoder

        self._model = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()

    def encode(self, texts: list[str]) -> Any:
        return self._model.encode_document(texts)

    def rank(self, query: str, texts: list[str], encodings: Any) -> list[float]:
        scores = self._model.similarity(self._model.encode_query([query]), encodings)[0]
        scores.topk(10)
        return [float(score) for score in scores]


class PyLate:
    def __init__(self, folder: Path) -> None:
        import torch
        from pylate import models

        self._model = models.ColBERT(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()

    def encode(self, texts: list[str]) -> Any:
        return self._model.encode(texts, is_query=False, show_progress_bar=False)

    def rank(self, query: str, texts: list[str], encodings: Any) -> list[float]:
        from pylate import rank

        query_encodings = self._model.encode([query], is_query=True, show_progress_bar=False)
        hits = rank.rerank([list(range(len(texts)))], query_encodings, [encodings], device="cpu")[0]
        return [float(hit["score"]) for hit in sorted(hits, key=lambda hit: hit["id"])]


CONTENDERS: dict[str, Callable[[Path], Ranker]] = {
    "podium float32": lambda folder: Podium(folder, "float32"),
    "podium int8": lambda folder: Podium(folder, "int8"),
    "sentence-transformers": SentenceTransformers,
    "PyLate": PyLate,
}


def main(name: str, folder: str) -> None:
    import work

    rankers: dict[str, Ranker] = {}

    def ranker(model: str) -> Ranker:
        if model not in rankers:
            rankers[model] = CONTENDERS[name](Path(folder) / model)
        return rankers[model]

    queries = itertools.cycle(work.queries())
    texts: list[str] = []
    encodings: Any = None
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "store":
            texts = work.passages("short", int(argument))
        model, query = ranker(argument if request == "encode" else "small"), next(queries)
        encoded_texts = work.passages("short") if request == "encode" else texts
        began = time.perf_counter()
        answer: dict[str, Any] = {}
        if request == "rank":
            answer["scores"] = model.rank(query, texts, encodings)
        else:
            result = model.encode(encoded_texts)
        answer["seconds"] = time.perf_counter() - began
        if request == "store":
            encodings = result
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
