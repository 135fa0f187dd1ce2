"""Measure podium and other rerankers alternately, in one run, and print the table of docs/performance.md.

    make bench

A contender is a way to rank with a library. Every library has an environment in .bench/. The first run installs the
environments, which takes several minutes and 2 GB, because one of them contains PyTorch. All contenders rank the same passages
with one cross-encoder of MiniLM-L6's shape. In a round, every contender ranks once; the table has the medians of the rounds.
Compare the ratios: absolute speeds differ between machines, and on one machine over time. Writes docs/benchmark.json and
docs/benchmark.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import chart
from environments import HOME, REFERENCE, ROOT, TOKENIZER_FOLDER, Contender, install_environments, run_in

CONTENDERS = {
    "podium float32": ("podium", ["-e", str(ROOT)]),
    "podium int8": ("podium", ["-e", str(ROOT)]),
    "podium on ONNX Runtime": ("podium-onnx", ["-e", f"{ROOT}[onnx]"]),
    "podium on ONNX Runtime int8": ("podium-onnx", ["-e", f"{ROOT}[onnx]"]),
    "sentence-transformers": ("reference", REFERENCE),
    "FlashRank int8": ("flashrank", ["flashrank==0.2.10"]),
    "fastembed": ("fastembed", ["fastembed>=0.9"]),
    "CTranslate2": ("reference", REFERENCE),
    "CTranslate2 int8": ("reference", REFERENCE),
    "OpenVINO": ("openvino", ["openvino", "nncf", "tokenizers"]),
    "OpenVINO int8 (NNCF)": ("openvino", ["openvino", "nncf", "tokenizers"]),
}
"""The name of a contender → its environment, and the packages of the environment."""
BASELINE = "sentence-transformers"
WITHOUT_SIZE = ("CTranslate2", "CTranslate2 int8")  # They share an environment with the baseline.


def start_contender(name: str) -> Contender:
    return Contender(name, CONTENDERS[name][0], [Path(__file__).parent / "contenders.py", name, HOME / "model"])


def install() -> None:
    """Create the environments that are missing, and the model in the formats of all contenders."""
    install_environments(dict(CONTENDERS.values()))
    if not (HOME / "model" / "flashrank").exists():
        script = Path(__file__).parent / "export.py"
        run_in("reference", script, HOME / "model", TOKENIZER_FOLDER)
        run_in("podium-onnx", script, HOME / "model", "--int8")
        run_in("openvino", script, HOME / "model", "--openvino")


def first_ranking(name: str) -> float:
    """Return the seconds from the start of a process to its first ranking of 10 passages."""
    began = time.perf_counter()
    process = start_contender(name)
    process.answer("first")
    seconds = time.perf_counter() - began
    process.close()
    return seconds


def measure(rounds: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each contender.

    - "first": the seconds of its first ranking, per round.
    - "short" and "long": the seconds of ranking this workload, per round.
    - "short scores" …: its scores. "short memory" …: its answer to the request "memory".
    """
    figures: dict[str, dict[str, Any]] = {name: {"short": [], "long": [], "first": []} for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            figures[name]["first"].append(first_ranking(name))
    running = {name: start_contender(name) for name in CONTENDERS}
    for workload in ("short", "long"):
        for is_measured in [False] + [True] * rounds:
            for name, process in running.items():
                answer = process.answer(workload)
                if is_measured:
                    figures[name][workload].append(answer["seconds"])
                figures[name][f"{workload} scores"] = answer["scores"]
        for name, process in running.items():
            figures[name][f"{workload} memory"] = process.answer("memory")
    for process in running.values():
        process.close()
    return figures


def summary(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each contender's medians, and the median of its ratios to the baseline in the same round."""
    base = figures[BASELINE]
    summaries = {}
    for name, own in figures.items():
        row: dict[str, float] = {"first_s": statistics.median(own["first"])}
        for workload in ("short", "long"):
            row[f"{workload}_pairs_s"] = 100 / statistics.median(own[workload])
            seconds = zip(base[workload], own[workload], strict=True)
            row[f"{workload}_ratio"] = statistics.median(base_seconds / own_seconds for base_seconds, own_seconds in seconds)
            row[f"{workload}_peak_mb"] = own[f"{workload} memory"]["peak_mb"]
            scores = zip(base[f"{workload} scores"], own[f"{workload} scores"], strict=True)
            row[f"{workload}_delta"] = max(abs(base_score - own_score) for base_score, own_score in scores)
        row["load_s"] = own["short memory"]["load_s"]
        row["installed_mb"] = installed_megabytes(name)
        summaries[name] = row
    return summaries


def installed_megabytes(name: str) -> float:
    """Return the size of a contender's environment without pip and without the sources of this repository."""
    folder = HOME / CONTENDERS[name][0]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and "/pip/" not in str(path)]
    return sum(path.stat().st_size for path in files) / 1e6


def peaks() -> dict[str, float]:
    """Return the highest rates of matrix products among the installed libraries, in billions of operations per second."""
    best: dict[str, float] = {}
    for folder in ("reference", "podium"):
        command = [HOME / folder / "bin" / "python", Path(__file__).parent / "peak.py"]
        rates = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        best = {kind: max(rate, best.get(kind, 0.0)) for kind, rate in rates.items()}
    return best


def operations() -> dict[str, float]:
    """Return how many billion operations the matrix products of an average pair take, by workload: 2 × weights × tokens."""
    script = (
        "import sys; from podium.load import local_scorer; import work;"
        "encode = local_scorer(sys.argv[1]).tokenizer.encode;"
        "pairs = {name: [(work.QUERY, text) for text in work.passages(name)] for name in ('short', 'long')};"
        "print([sum(len(pair.ids) for pair in encode(pairs[name])) / 100 for name in pairs])"
    )
    command = [HOME / "podium" / "bin" / "python", "-c", script, HOME / "model"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    token_counts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)  # six layers with four matrices of the attention and two of the feed-forward
    return {name: 2 * weights * count / 1e9 for name, count in zip(("short", "long"), token_counts, strict=True)}


def limits(best_rates: dict[str, float], pair_operations: dict[str, float], rows: dict[str, dict[str, float]]) -> list[str]:
    """Return the last rows of the table: the pairs/s that the machine's matrix products allow, and podium's share of them.

    - `best_rates`: the highest rates of matrix products by precision, as `peaks` returns them.
    - `pair_operations`: the billions of operations per pair, as `operations` returns them.
    - `rows`: the rows of the table, as `summary` returns them.
    """
    lines = []
    for kind, rate in best_rates.items():
        own = rows[f"podium {kind}"]
        cells = [
            f"{rate / pair_operations[name]:.0f} (podium has {own[f'{name}_pairs_s'] * pair_operations[name] / rate:.0%})"
            for name in ("short", "long")
        ]
        unit = "GFLOP/s" if kind == "float32" else "GOP/s"
        lines.append(f"| *best matrix product here, {kind}: {rate:,.0f} {unit}* | {' | '.join(cells)} | | | | |")
    return lines


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        "| | pairs/s, ~83 tokens | pairs/s, ~310 tokens | first ranking | peak memory | installed | max Δ score |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [
            f"{row['short_pairs_s']:.0f} ({row['short_ratio']:.1f}×)",
            f"{row['long_pairs_s']:.0f} ({row['long_ratio']:.1f}×)",
            f"{row['first_s']:.2f} s",
            f"{row['short_peak_mb']:.0f} / {row['long_peak_mb']:.0f} MB",
            "–" if name in WITHOUT_SIZE else f"{row['installed_mb']:.0f} MB",
            "–" if name == BASELINE else f"{max(row['short_delta'], row['long_delta']):.0e}",
        ]
        title = f"**{name}**" if name.startswith("podium") else name
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    install()
    rows = summary(measure(rounds))
    best_rates = peaks()
    full_table = "\n".join([table(rows), *limits(best_rates, operations(), rows)])
    print(full_table)
    run_in("podium", Path(__file__).parent / "goals.py")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    results = {"table": full_table, "rows": rows, "peaks": best_rates, "rounds": rounds, "machine": machine}
    (ROOT / "docs" / "benchmark.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    speeds = {name: row["short_pairs_s"] for name, row in rows.items()}
    (ROOT / "docs" / "benchmark.svg").write_text(chart.bars(speeds, "pairs per second"), encoding="utf-8")


if __name__ == "__main__":
    main()
