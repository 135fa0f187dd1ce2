"""Run one of the contenders that bench/run.py measures, in its own process, as its users would call it.

    python contenders.py NAME MODEL_FOLDER

NAME is a key of CONTENDERS. The program reads requests from standard input, one per line, and answers every request with a line
of JSON:

- "short" and "long" rank 100 passages of that workload; the answer has the seconds and the scores.
- "first" ranks 10 passages.
- "memory" returns the peak memory so far, and the seconds of loading.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

Rank = Callable[[str, list[str]], list[float]]
"""A function that ranks passages for a query, and returns their scores in the order of the passages."""
BATCH_PASSAGES = 16
MAX_TOKENS = 512


def podium(folder: str, precision: Any, runtime: Any = "native") -> Rank:
    from podium import load

    return load(folder, precision=precision, runtime=runtime).score


def sentence_transformers(folder: str) -> Rank:
    import torch
    from sentence_transformers import CrossEncoder

    # The checkpoint is stored in float16. By default it would also be computed in float16, which is many times slower.
    model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": torch.float32})

    def rank(query: str, passages: list[str]) -> list[float]:
        ranked = model.rank(query, passages)
        return _by_index(len(passages), ((hit["corpus_id"], hit["score"]) for hit in ranked))

    return rank


def flashrank(folder: str) -> Rank:
    from flashrank import Ranker, RerankRequest

    # FlashRank runs only models in its list, so this model is in the folder of the most similar one (see export.py).
    ranker = Ranker("ms-marco-MiniLM-L-12-v2", cache_dir=str(Path(folder) / "flashrank"), log_level="ERROR")

    def rank(query: str, passages: list[str]) -> list[float]:
        request = RerankRequest(query, [{"id": index, "text": text} for index, text in enumerate(passages)])
        return _by_index(len(passages), ((hit["id"], hit["score"]) for hit in ranker.rerank(request)))

    return rank


def fastembed(folder: str) -> Rank:
    import math

    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model("podium/mini", sources=ModelSource(hf="podium/mini"), model_file="onnx/model.onnx")
    model = TextCrossEncoder("podium/mini", specific_model_path=str(Path(folder) / "exported"))
    return lambda query, passages: [1 / (1 + math.exp(-logit)) for logit in model.rerank(query, passages)]


def ctranslate2(folder: str, compute_type: str) -> Rank:
    """Return a function that ranks in batches of passages of similar length, one batch per processor at a time."""
    import math
    import os
    from concurrent.futures import ThreadPoolExecutor

    import ctranslate2
    import numpy as np
    from tokenizers import Tokenizer

    threads = len(os.sched_getaffinity(0))
    model = Path(folder) / "ctranslate2"
    encoder = ctranslate2.Encoder(str(model), compute_type=compute_type, inter_threads=threads, intra_threads=1)
    head = np.load(model / "classifier.npz")
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    pool = ThreadPoolExecutor(threads)

    def logits(batch: list[Any]) -> Any:
        pooled = encoder.forward_batch([pair.ids for pair in batch], token_type_ids=[pair.type_ids for pair in batch])
        return np.array(pooled.pooler_output) @ head["weight"].T + head["bias"]

    def rank(query: str, passages: list[str]) -> list[float]:
        encoded = tokenizer.encode_batch([(query, passage) for passage in passages])
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index].ids))
        batches = [order[start : start + BATCH_PASSAGES] for start in range(0, len(order), BATCH_PASSAGES)]
        outputs = pool.map(logits, [[encoded[index] for index in batch] for batch in batches])
        rows = [row for batch_rows in outputs for row in batch_rows]
        return _by_index(len(passages), ((index, 1 / (1 + math.exp(-row[0]))) for index, row in zip(order, rows, strict=True)))

    return rank


def openvino(folder: str, precision: str) -> Rank:
    """Return a function that sends an asynchronous request per pair, as OpenVINO's documentation recommends for throughput."""
    import math

    import numpy as np
    import openvino
    from tokenizers import Tokenizer

    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(Path(folder) / "openvino" / f"{precision}.xml", "CPU", settings)
    queue = openvino.AsyncInferQueue(model)
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)

    def rank(query: str, passages: list[str]) -> list[float]:
        scores = [0.0] * len(passages)

        def store_score(request: Any, index: int) -> None:
            scores[index] = 1 / (1 + math.exp(-float(request.get_output_tensor().data.reshape(-1)[0])))

        queue.set_callback(store_score)
        encoded = tokenizer.encode_batch([(query, passage) for passage in passages])
        for index in sorted(range(len(encoded)), key=lambda index: -len(encoded[index].ids)):
            ids = np.array([encoded[index].ids])
            segments = np.array([encoded[index].type_ids])
            queue.start_async({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": segments}, index)
        queue.wait_all()
        return scores

    return rank


CONTENDERS: dict[str, Callable[[str], Rank]] = {
    "podium float32": lambda folder: podium(folder, "float32"),
    "podium int8": lambda folder: podium(folder, "int8"),
    "podium on ONNX Runtime": lambda folder: podium(folder, "float32", "onnx"),
    "podium on ONNX Runtime int8": lambda folder: podium(folder, "int8", "onnx"),
    "sentence-transformers": sentence_transformers,
    "FlashRank int8": flashrank,
    "fastembed": fastembed,
    "CTranslate2": lambda folder: ctranslate2(folder, "float32"),
    "CTranslate2 int8": lambda folder: ctranslate2(folder, "int8"),
    "OpenVINO": lambda folder: openvino(folder, "float32"),
    "OpenVINO int8 (NNCF)": lambda folder: openvino(folder, "int8"),
}


def _by_index(count: int, indexed_scores: Iterable[tuple[int, float]]) -> list[float]:
    """Return the scores of `count` passages, from pairs of a passage's index and its score."""
    scores = [0.0] * count
    for index, score in indexed_scores:
        scores[index] = float(score)
    return scores


def main(name: str, folder: str) -> None:
    import work

    began = time.perf_counter()
    rank = CONTENDERS[name](folder)
    load_seconds = time.perf_counter() - began
    texts_by_workload = {workload: work.passages(workload) for workload in work.WORKLOADS}
    for line in sys.stdin:
        request = line.strip()
        if request == "memory":
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            answer: dict[str, Any] = {"peak_mb": peak_mb, "load_s": load_seconds}
        elif request == "first":
            rank(work.QUERY, texts_by_workload["short"][:10])
            answer = {}
        else:
            began = time.perf_counter()
            scores = rank(work.QUERY, texts_by_workload[request])
            answer = {"seconds": time.perf_counter() - began, "scores": scores}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
