"""Run one of the libraries that bench/late_run.py measures, in its own process, as its users would call it.

    python late_contenders.py NAME FOLDER

NAME is a key of CONTENDERS, and FOLDER has the models that export_late.py wrote. The program reads requests from standard
input, one per line, and answers every request with a line of JSON that has the seconds that it took:

- "encode small" or "encode modernbert" encodes 100 documents of about 83 tokens with that model.
- "store N" encodes N documents with the small model and keeps their encodings in memory.
- "rank" encodes a query, which is another one for every request, and ranks the documents of the last "store".
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
    """A library with a model."""

    def encode(self, texts: list[str]) -> Any:
        """Return the encodings of texts, in the form that `rank` takes."""

    def rank(self, query: str, texts: list[str], encodings: Any) -> list[float]:
        """Rank the texts, whose encodings `encode` returned, and return their scores in the order of the texts."""


class Podium:
    def __init__(self, folder: Path, precision: Any) -> None:
        from podium import Reranker
        from podium.encodings.memory import MemoryEncodings
        from podium.load import local_scorer

        # The classes are attributes because podium is not installed in the other contenders' environments.
        self._reranker_class = Reranker
        self._store_class = MemoryEncodings
        self._scorer: Any = local_scorer(folder, precision=precision, keep=0)

    def encode(self, texts: list[str]) -> Any:
        """Return a reranker whose store has the encodings."""
        scorer = self._scorer.with_store(self._store_class(1_000_000_000))
        scorer.encode(texts)
        return self._reranker_class(scorer)

    def rank(self, query: str, texts: list[str], encodings: Any) -> list[float]:
        ranking = encodings.rerank(query, texts)
        assert ranking.usage.encoded == 0, "an encoding was not in the store"
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
        scores.topk(10)  # Sorting is part of a ranking, so its time is measured, too.
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

    def ranker_for(model: str) -> Ranker:
        if model not in rankers:
            rankers[model] = CONTENDERS[name](Path(folder) / model)
        return rankers[model]

    queries = itertools.cycle(work.queries())
    stored_texts: list[str] = []
    stored_encodings: Any = None
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        ranker = ranker_for(argument if request == "encode" else "small")
        query = next(queries)
        answer: dict[str, Any] = {}
        if request == "rank":
            began = time.perf_counter()
            answer["scores"] = ranker.rank(query, stored_texts, stored_encodings)
            answer["seconds"] = time.perf_counter() - began
        else:
            texts = work.passages("short", int(argument)) if request == "store" else work.passages("short")
            began = time.perf_counter()
            encodings = ranker.encode(texts)
            answer["seconds"] = time.perf_counter() - began
            if request == "store":
                stored_texts = texts
                stored_encodings = encodings
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
