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
BATCH, LONGEST = 16, 512


def podium(folder: str, precision: Any, runtime: Any = "native") -> Rank:
    from podium import load

    return load(folder, precision=precision, runtime=runtime).score


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


def ctranslate2(folder: str, compute_type: str) -> Rank:
    """As its users do it: batches of texts of like length, one thread a batch, as many at once as there are processors."""
    import math
    import os
    from concurrent.futures import ThreadPoolExecutor

    import ctranslate2
    import numpy as np
    from tokenizers import Tokenizer

    threads = len(os.sched_getaffinity(0))
    where = str(Path(folder) / "ctranslate2")
    encoder = ctranslate2.Encoder(where, compute_type=compute_type, inter_threads=threads, intra_threads=1)
    head = np.load(Path(where) / "classifier.npz")
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    pool = ThreadPoolExecutor(threads)

    def logits(batch: list[Any]) -> Any:
        pooled = encoder.forward_batch([each.ids for each in batch], token_type_ids=[each.type_ids for each in batch])
        return np.array(pooled.pooler_output) @ head["weight"].T + head["bias"]

    def rank(query: str, passages: list[str]) -> list[float]:
        encoded = tokenizer.encode_batch([(query, passage) for passage in passages])
        order = sorted(range(len(encoded)), key=lambda at: -len(encoded[at].ids))
        batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
        found = pool.map(logits, [[encoded[at] for at in batch] for batch in batches])
        pairs = [(at, row[0]) for batch, rows in zip(batches, found, strict=True) for at, row in zip(batch, rows, strict=True)]
        return _in_place(len(passages), ((at, 1 / (1 + math.exp(-logit))) for at, logit in pairs))

    return rank


def openvino(folder: str, precision: str) -> Rank:
    """As its documentation has it for throughput: requests in flight on streams of their own, one pair each."""
    import math

    import numpy as np
    import openvino
    from tokenizers import Tokenizer

    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(Path(folder) / "openvino" / f"{precision}.xml", "CPU", settings)
    queue = openvino.AsyncInferQueue(model)
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)

    def rank(query: str, passages: list[str]) -> list[float]:
        scores = [0.0] * len(passages)

        def keep(request: Any, at: int) -> None:
            scores[at] = 1 / (1 + math.exp(-float(request.get_output_tensor().data.reshape(-1)[0])))

        queue.set_callback(keep)
        encoded = tokenizer.encode_batch([(query, passage) for passage in passages])
        for at in sorted(range(len(encoded)), key=lambda at: -len(encoded[at].ids)):
            ids = np.array([encoded[at].ids])
            segments = np.array([encoded[at].type_ids])
            queue.start_async({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": segments}, at)
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
