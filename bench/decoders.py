"""Measure podium and other libraries that run Qwen3-Reranker-0.6B alternately, in one run, and print a table.

    make bench-decoders

The first run installs the libraries in .bench/. The model has the shape of Qwen3-Reranker-0.6B and random weights. It is
written to a temporary folder, together with a copy for llama.cpp in Q8_0, and needs 4 GB there. Every library ranks the same
documents of about 100 tokens for one query, with the default instruction. In a round, every library does this once. The table
has the medians of the rounds, and of the ratios to sentence-transformers and llama.cpp in the same round. Besides the elapsed
seconds, it has those of all processors (CPU seconds), which depend less on other programs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from environments import HOME, REFERENCE, ROOT, Contender, install_environments, run_in
from export_decoder import MULTIPLICATIONS

LLAMA = ["xllamacpp", "gguf", "ml_dtypes", "safetensors", "tokenizers"]
CONTENDERS = {
    "podium int8": ("podium", ["-e", str(ROOT)]),
    "podium float32": ("podium", ["-e", str(ROOT)]),
    "podium int8, nothing shared": ("podium", ["-e", str(ROOT)]),
    "podium float32, nothing shared": ("podium", ["-e", str(ROOT)]),
    "llama.cpp Q8_0": ("llama", LLAMA),
    "sentence-transformers": ("reference", REFERENCE),
}
"""The name of a contender → its environment, and the packages of the environment."""
RATIOS = (  # (what is slower, what is faster, the ratio that podium should reach)
    ("llama.cpp Q8_0", "podium int8", 4.0),
    ("sentence-transformers", "podium int8", 6.0),
    ("sentence-transformers", "podium float32", 1.8),
    ("podium int8, nothing shared", "podium int8", 1.5),
    ("podium float32, nothing shared", "podium float32", 1.5),
)
MEMORY_DOCUMENTS = "memory 1000 200"  # a request: how many documents, and of how many tokens

Answers = dict[str, list[dict[str, float]]]
"""By contender, the answers of the rounds."""


def measure(folder: Path, rounds: int, document_count: int) -> Answers:
    """Return the answers of all contenders, each in its own process."""
    script = Path(__file__).parent / "decoder_contenders.py"
    running = {name: Contender(name, CONTENDERS[name][0], [script, name, folder]) for name in CONTENDERS}
    answers: Answers = {name: [] for name in CONTENDERS}
    scores = {}
    for is_measured in [False] + [True] * rounds:  # The first round is a warm-up with a few documents.
        for name, process in running.items():
            answer = process.answer(f"rank {document_count if is_measured else 4}")
            scores[name] = answer.pop("scores")
            if is_measured:
                answers[name].append(answer)
                print(f"{name:32s} {answer['seconds']:8.1f} s {answer['cpu']:8.1f} CPU s", flush=True)
        _print_differences(scores)
    for process in running.values():
        process.close()
    return answers


def _print_differences(scores: dict[str, list[float]]) -> None:
    """Print how much the scores differ from those of sentence-transformers. A wrong prompt would change them by several."""
    from scipy.stats import kendalltau

    expected = scores["sentence-transformers"]
    for name, values in scores.items():
        difference = max(abs(value - other) for value, other in zip(values, expected, strict=True))
        tau = kendalltau(values, expected).statistic
        print(f"{name:32s} largest difference of a score {difference:.2g}, Kendall's tau {tau:.3f}", flush=True)


def print_table(answers: Answers) -> None:
    for name, rounds in answers.items():
        seconds, cpu = (statistics.median(answer[key] for answer in rounds) for key in ("seconds", "cpu"))
        print(f"{name:32s} {seconds:8.2f} s {cpu:8.2f} CPU s")
    for slower, faster, target in RATIOS:
        pairs = list(zip(answers[slower], answers[faster], strict=True))
        by_key = {key: statistics.median(a[key] / b[key] for a, b in pairs) for key in ("seconds", "cpu")}
        print(f"{slower} / {faster}: {by_key['seconds']:.2f} ({by_key['cpu']:.2f} by CPU seconds), should be {target}")


def print_memory_and_peak(folder: Path) -> None:
    """Print podium's resident memory for many documents, and how near its int8 products come to the machine's peak."""
    process = Contender("podium int8", "podium", [Path(__file__).parent / "decoder_contenders.py", "podium int8", folder])
    print(f"podium int8, 1,000 documents of 200 tokens: {process.answer(MEMORY_DOCUMENTS)}")
    answer = process.answer("rank 50")
    process.close()
    peak_script = Path(__file__).parent / "peak.py"
    output = subprocess.run(
        [HOME / "reference" / "bin" / "python", peak_script], capture_output=True, text=True, check=True
    ).stdout
    own_output = subprocess.run(
        [HOME / "podium" / "bin" / "python", peak_script], capture_output=True, text=True, check=True
    ).stdout
    peak = max(json.loads(text)["int8"] for text in (output, own_output))
    rate = 2 * MULTIPLICATIONS * answer["tokens"] / answer["seconds"] / 1e9
    print(f"int8: {rate:,.0f} GOP/s of {peak:,.0f} at most ({rate / peak:.2f}, should be 0.5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=100)
    options = parser.parse_args()
    install_environments(dict(CONTENDERS.values()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PODIUM_CACHE"] = str(folder / "cache")  # of the contenders
        run_in("reference", Path(__file__).parent / "export_decoder.py", "checkpoint", folder)
        run_in("llama", Path(__file__).parent / "export_decoder.py", "gguf", folder)
        print_table(measure(folder, options.rounds, options.documents))
        print_memory_and_peak(folder)


if __name__ == "__main__":
    main()
