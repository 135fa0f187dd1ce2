"""Run one of the contenders that bench/decoders.py measures, in its own process, as its users would call it.

    python decoder_contenders.py NAME FOLDER

NAME is a key of CONTENDERS. The program reads requests from standard input, one per line, and answers every request with a line
of JSON:

- "rank COUNT" ranks documents of about 100 tokens; the answer has the elapsed seconds, the CPU seconds, the scores, and in
  podium the number of tokens that its network has computed.
- "memory COUNT TOKENS" ranks documents of that length; the answer has the resident memory in MB while it runs.
"""

from __future__ import annotations

import functools
import json
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from export_decoder import INSTRUCTION, TEMPLATE, WORDS

computed_tokens: list[int] = []  # how many tokens podium's network has computed in each ranking
Rank = Callable[[str, list[str]], list[float]]
"""A function that returns the scores of documents for a query, as log-odds, in the order of the documents."""
THREADS = len(os.sched_getaffinity(0))
DOCUMENT_WORDS = 100  # about one token per word
QUERY_WORDS = 10


def podium(folder: str, precision: Any, shares_prefix: bool = True) -> Rank:
    """Return a function that ranks with the prompt of Qwen3-Reranker, and counts the tokens that the network computes."""
    import numpy as np

    from podium.local.build import load_decoder
    from podium.local.files.folder import from_folder
    from podium.local.model import LoadedModel, Options
    from podium.local.spec import Spec, build_spec, read_modules
    from podium.local.tokenizer import Encoded, Tokenizer

    class Prompts(Tokenizer[tuple[str, str]]):
        def encode(self, inputs: Any) -> list[Encoded]:
            prompts = [TEMPLATE.format(query=query, document=text) for query, text in inputs]
            return [self._encoded(query, ids) for (query, _), ids in zip(inputs, self._tokenise(prompts), strict=True)]

        def _encoded(self, query: str, ids: Any) -> Encoded:
            shared_tokens = 0
            if shares_prefix:
                (prefix,) = self._tokenise([TEMPLATE.partition("{document}")[0].format(query=query)])
                is_equal = prefix == ids[: len(prefix)]
                shared_tokens = len(prefix) if is_equal.all() else int(np.argmin(is_equal))
            return Encoded(ids, 0, len(ids), 0, shared_tokens=shared_tokens)

        def character_count(self, item: tuple[str, str]) -> int:
            return len(item[1])

        def text_limit(self, query: str) -> int:
            return self.max_length

    files = from_folder(folder)
    settings = json.loads((Path(folder) / "1_LogitScore" / "config.json").read_text())
    rows = (settings["true_token_id"], settings["false_token_id"])

    def tokenizer(spec: Spec, max_length: int) -> Prompts:
        return Prompts(spec.base, max_length)

    model: LoadedModel[tuple[str, str], float] = LoadedModel(
        files,
        build_spec(files.folder, read_modules(files.folder)[:0]),
        Options(precision=precision, runtime="native"),
        load=functools.partial(load_decoder, output_rows=rows),
        tokenizer=tokenizer,
        output=lambda pair, encoded, logits: float(logits[0] - logits[1]),
        probe=("a", "b"),
    )

    def rank(query: str, documents: list[str]) -> list[float]:
        computed = model.run([(query, document) for document in documents])
        shared_tokens = {encoded.shared_tokens for encoded in computed.encoded}
        rest = sum(len(encoded.ids) - encoded.shared_tokens for encoded in computed.encoded)
        computed_tokens.append(rest + sum(shared_tokens))
        return [computed.outputs[index] for index in computed.indices]

    return rank


def sentence_transformers(folder: str) -> Rank:
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(THREADS)
    model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": torch.float32})
    assert model.prompts["query"] == INSTRUCTION
    return lambda query, documents: model.predict([(query, document) for document in documents]).tolist()


def llama_cpp(folder: str) -> Rank:
    """Return a function that calls the server API of llama.cpp. Pairs are in batches of 2,048 tokens, in eight slots."""
    import math

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(Path(folder) / "model.gguf")
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.n_parallel = 8
    params.n_ctx = 8 * 512
    params.n_batch = params.n_ubatch = 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.n_gpu_layers = 0
    server = xllamacpp.Server(params)

    def rank(query: str, documents: list[str]) -> list[float]:
        reply = server.handle_rerank({"query": query, "documents": documents})
        results = (reply if isinstance(reply, dict) else json.loads(reply))["results"]
        scores = [0.0] * len(documents)
        for result in results:
            scores[result["index"]] = result["relevance_score"]  # a probability
        return [math.log(max(score, 1e-30) / max(1 - score, 1e-30)) for score in scores]

    return rank


CONTENDERS: dict[str, Callable[[str], Rank]] = {
    "podium int8": lambda folder: podium(folder, "int8"),
    "podium float32": lambda folder: podium(folder, "float32"),
    "podium int8, nothing shared": lambda folder: podium(folder, "int8", shares_prefix=False),
    "podium float32, nothing shared": lambda folder: podium(folder, "float32", shares_prefix=False),
    "llama.cpp Q8_0": llama_cpp,
    "sentence-transformers": sentence_transformers,
}


def texts(count: int, word_count: int) -> list[str]:
    draw = random.Random(word_count)
    words = WORDS.read_text(encoding="utf-8").split()
    return [" ".join(draw.choices(words, k=word_count)) for _ in range(count)]


def measure(rank: Rank, query: str, documents: list[str]) -> dict[str, Any]:
    """Return the seconds of ranking the documents, and their scores."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    scores = rank(query, documents)
    seconds = time.perf_counter() - start
    usage_after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage_after.ru_utime + usage_after.ru_stime - usage.ru_utime - usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "scores": scores, "tokens": computed_tokens[-1] if computed_tokens else None}


def measure_memory(rank: Rank, query: str, documents: list[str]) -> dict[str, int]:
    """Return the highest resident memory in MB while the documents are ranked, and the part that is not from files."""
    peaks = {"VmRSS": 0, "RssAnon": 0}
    has_ended = threading.Event()

    def watch() -> None:
        while not has_ended.wait(0.05):
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            for key in peaks:
                peaks[key] = max(peaks[key], int(lines[key].split()[0]) // 1000)

    thread = threading.Thread(target=watch)
    thread.start()
    rank(query, documents)
    has_ended.set()
    thread.join()
    return {"resident MB": peaks["VmRSS"], "of which not from files": peaks["RssAnon"]}


def main() -> None:
    name, folder = sys.argv[1:]
    rank = CONTENDERS[name](folder)
    (query,) = texts(1, QUERY_WORDS)
    for line in sys.stdin:
        kind, *numbers = line.split()
        if kind == "rank":
            answer = measure(rank, query, texts(int(numbers[0]), DOCUMENT_WORDS))
        else:
            answer = measure_memory(rank, query, texts(int(numbers[0]), int(numbers[1])))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
