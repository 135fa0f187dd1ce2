"""One contender in a process of its own, driven line by line: each as its own users would call it.

    python contenders.py NAME MODEL_FOLDER

reads "short", "long", "first" or "memory" from standard input and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

Rank = Callable[[str, list[str]], list[float]]


def podium(folder: str, precision: Any) -> Rank:
    from podium import load

    return load(folder, precision=precision).score


def sentence_transformers(folder: str) -> Rank:
    import torch
    from sentence_transformers import CrossEncoder

    # The checkpoint is stored in float16; computed in that, as is the default, it would be many times slower.
    model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": torch.float32})

    def rank(query: str, passages: list[str]) -> list[float]:
        ranked = model.rank(query, passages)
        return _in_place(len(passages), ((each["corpus_id"], each["score"]) for each in ranked))

    return rank


def flashrank(folder: str) -> Rank:
    from flashrank import Ranker, RerankRequest

    # FlashRank runs only models of its own list; ours stands in the folder of the one it is nearest to.
    ranker = Ranker("ms-marco-MiniLM-L-12-v2", cache_dir=str(Path(folder) / "flashrank"), log_level="ERROR")

    def rank(query: str, passages: list[str]) -> list[float]:
        asked = RerankRequest(query, [{"id": at, "text": text} for at, text in enumerate(passages)])
        return _in_place(len(passages), ((each["id"], each["score"]) for each in ranker.rerank(asked)))

    return rank


def fastembed(folder: str) -> Rank:
    import math

    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model("podium/mini", sources=ModelSource(hf="podium/mini"), model_file="onnx/model.onnx")
    model = TextCrossEncoder("podium/mini", specific_model_path=str(Path(folder) / "exported"))
    return lambda query, passages: [1 / (1 + math.exp(-logit)) for logit in model.rerank(query, passages)]


CONTENDERS: dict[str, Callable[[str], Rank]] = {
    "podium float32": lambda folder: podium(folder, "float32"),
    "podium int8": lambda folder: podium(folder, "int8"),
    "sentence-transformers": sentence_transformers,
    "FlashRank int8": flashrank,
    "fastembed": fastembed,
}


def _in_place(count: int, scored: Any) -> list[float]:
    scores = [0.0] * count
    for at, score in scored:
        scores[at] = float(score)
    return scores


def main(name: str, folder: str) -> None:
    import work

    began = time.perf_counter()
    rank = CONTENDERS[name](folder)
    loaded = time.perf_counter() - began
    texts = {workload: work.passages(workload) for workload in work.WORKLOADS}
    for line in sys.stdin:
        asked = line.strip()
        if asked == "memory":
            answer: dict[str, Any] = {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "load_s": loaded}
        elif asked == "first":
            rank(work.QUERY, texts["short"][:10])
            answer = {}
        else:
            began = time.perf_counter()
            scores = rank(work.QUERY, texts[asked])
            answer = {"seconds": time.perf_counter() - began, "scores": scores}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
