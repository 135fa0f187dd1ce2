"""Measure how much of the int8 peak podium reaches, and how much faster five documents are on all cores.

    .venv/dev/bin/python bench/goals.py [--rounds 7]

`make bench` runs this program, too. The models have the layers of MiniLM-L6 and of bge-reranker-base, random weights, and
podium-mini's tokenizer. The peak is the rate of the native core's best int8 product on all cores. A share counts only the
products with the model's weights. Products and rankings alternate, and a share compares the fastest run of each. The ratio of
short requests is the median of those of alternating runs. On a machine with other work, use the figures by CPU seconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peak
import work
from environments import TOKENIZER_FOLDER
from export import write_tokenizer
from safetensors.numpy import save_file

from podium.load import local_scorer
from podium.local.cpu import cores
from podium.scorers import BaseScorer

VOCABULARY, POSITIONS = 30_522, 512
PEAK_ROWS = 2048
PRODUCTS = 40  # how often the product is computed in a round, to find its fastest run
SHORT_REQUEST = 5  # documents


@dataclass(frozen=True)
class Shape:
    """The layers of a BERT model with 12 heads."""

    name: str
    layers: int
    width: int

    @property
    def multiplications(self) -> int:
        """How many multiplications with weights a token takes."""
        return self.layers * 12 * self.width**2


@dataclass(frozen=True)
class Workload:
    """Documents of the same number of tokens, and the share of the peak that they should reach."""

    words: int
    documents: int
    target: float


SHAPES = (Shape("MiniLM-L6", 6, 384), Shape("bge-reranker-base", 12, 768))
WORKLOADS = (Workload(75, 60, 0.7), Workload(480, 12, 0.6))  # about 100 tokens with the query, and 512
REQUEST_TARGET = 0.6


def write_model(shape: Shape, folder: Path) -> Path:
    """Write a cross-encoder with random weights in float16, and return its folder."""
    generator = np.random.default_rng(0)
    target = folder / shape.name

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (generator.standard_normal((rows, columns), dtype=np.float32) * 0.04).astype(np.float16)

    def dense(name: str, outputs: int, inputs: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": matrix(outputs, inputs), f"{name}.bias": matrix(1, outputs)[0]}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": np.ones(shape.width, np.float16), f"{name}.bias": np.zeros(shape.width, np.float16)}

    width = shape.width
    tables = {"word": VOCABULARY, "position": POSITIONS, "token_type": 2}
    tensors = {f"bert.embeddings.{name}_embeddings.weight": matrix(rows, width) for name, rows in tables.items()}
    tensors |= norm("bert.embeddings.LayerNorm")
    for number in range(shape.layers):
        layer = f"bert.encoder.layer.{number}"
        for name in ("query", "key", "value"):
            tensors |= dense(f"{layer}.attention.self.{name}", width, width)
        tensors |= dense(f"{layer}.attention.output.dense", width, width) | norm(f"{layer}.attention.output.LayerNorm")
        tensors |= dense(f"{layer}.intermediate.dense", 4 * width, width)
        tensors |= dense(f"{layer}.output.dense", width, 4 * width) | norm(f"{layer}.output.LayerNorm")
    tensors |= dense("bert.pooler.dense", width, width) | dense("classifier", 1, width)
    target.mkdir()
    save_file(tensors, target / "model.safetensors")
    write_tokenizer(target, TOKENIZER_FOLDER)
    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "hidden_act": "gelu",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": 12,
        "num_hidden_layers": shape.layers,
        "num_labels": 1,
        "type_vocab_size": 2,
        "vocab_size": VOCABULARY,
    }
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


@functools.cache
def short_words() -> list[str]:
    return [word for word in work.words() if word.isascii() and word.isalpha() and len(word) < 8]


def documents(count: int, words: int, seed: int = 0) -> list[str]:
    """Return documents of this many words, which are the same for the same seed."""
    generator = random.Random(seed)
    return [" ".join(generator.sample(short_words(), words)) for _ in range(count)]


@dataclass(frozen=True)
class Seconds:
    elapsed: float
    cpu: float


def seconds_of(function: Callable[[], object]) -> Seconds:
    start, cpu_start = time.perf_counter(), time.process_time()
    function()
    return Seconds(time.perf_counter() - start, time.process_time() - cpu_start)


def fastest(runs: Iterable[Seconds]) -> Seconds:
    """Return the fewest elapsed seconds and the fewest CPU seconds."""
    runs = list(runs)
    return Seconds(min(run.elapsed for run in runs), min(run.cpu for run in runs))


def print_shares(shape: Shape, scorer: BaseScorer, rounds: int) -> None:
    """Print the share of the peak for each workload."""
    product = dict(peak.podium_products(PEAK_ROWS))["int8"]
    product_operations = 2 * PEAK_ROWS * peak.SIZE**2
    for workload in WORKLOADS:
        texts = documents(workload.documents, workload.words)
        tokens = scorer.score(work.QUERY, texts).total_tokens
        products = 2 * shape.multiplications * tokens / product_operations  # as many products have as many operations
        peaks, rankings = [], []
        for _ in range(rounds):
            peaks.append(fastest(seconds_of(product) for _ in range(PRODUCTS)))
            rankings.append(seconds_of(functools.partial(scorer.score, work.QUERY, texts)))
        best, ranking = fastest(peaks), fastest(rankings)
        share, cpu_share = products * best.elapsed / ranking.elapsed, products * best.cpu / ranking.cpu
        print(
            f"{shape.name}, int8, {tokens / len(texts):.0f} tokens a document: {share:.2f} of the peak "
            f"({cpu_share:.2f} by CPU seconds), should be {workload.target}",
            flush=True,
        )


def print_short_requests(name: str, model: str | Path, rounds: int) -> None:
    """Print the ratio of the times of a short request on all cores and on one."""
    scorers = [local_scorer(str(model), precision="int8", threads=threads) for threads in (cores(), 1)]
    ratios = []
    for number in range(20 * rounds):
        texts = documents(SHORT_REQUEST, WORKLOADS[0].words, number)  # new ones, because podium-mini stores their encodings
        parallel, single = (seconds_of(functools.partial(scorer.score, work.QUERY, texts)) for scorer in scorers)
        ratios.append((parallel.elapsed / single.elapsed, parallel.cpu / single.cpu, single.elapsed))
    ratio, cpu_ratio, single_seconds = (statistics.median(values) for values in zip(*ratios, strict=True))
    print(
        f"{name}, int8, {SHORT_REQUEST} documents of about 100 tokens: {single_seconds * 1000:.1f} ms on one core, "
        f"{ratio:.2f} of that on {cores()} with {cpu_ratio:.2f} of the CPU seconds, should be {REQUEST_TARGET}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folders = {shape: write_model(shape, Path(name)) for shape in SHAPES}
        print_short_requests("podium-mini", "podium-mini", rounds)
        print_short_requests(SHAPES[0].name, folders[SHAPES[0]], rounds)
        for shape, folder in folders.items():
            print_shares(shape, local_scorer(str(folder), precision="int8"), rounds)


if __name__ == "__main__":
    main()
