"""Measure podium beside other rerankers, in one run, alternating; print the table that README shows.

    make bench

Each contender gets an environment of its own under .bench/ (the first run installs them: several minutes and 2 GB, PyTorch
is in one of them). All rank the same passages with one cross-encoder of MiniLM-L6's shape. Rounds go A B C A B C …;
medians count. Machines differ and drift: a ratio counts, an absolute figure doesn't. Writes docs/benchmark.json and
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

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".bench"
VOCABULARY = ROOT / "src" / "podium" / "bundled" / "podium-mini"
CONTENDERS = {
    "podium float32": ("podium", ["-e", str(ROOT)]),
    "podium int8": ("podium", ["-e", str(ROOT)]),
    "sentence-transformers": ("reference", ["torch==2.13.0", "sentence-transformers==6.2.0", "onnx", "onnxscript"]),
    "FlashRank int8": ("flashrank", ["flashrank==0.2.10"]),
    "fastembed": ("fastembed", ["fastembed>=0.9"]),
}
BASELINE = "sentence-transformers"


class Contender:
    """A contender's process."""

    def __init__(self, name: str) -> None:
        self.name = name
        python = HOME / CONTENDERS[name][0] / "bin" / "python"
        command = [str(python), str(Path(__file__).parent / "contenders.py"), name, str(HOME / "model")]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )

    def ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, file=self._process.stdin, flush=True)
        while not (line := self._process.stdout.readline()).startswith("{"):
            if not line:
                raise SystemExit(f"{self.name} died; run bench/contenders.py by hand to see why")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def install() -> None:
    """Make each environment that is not there, and the model in the forms that the others need."""
    for folder, packages in dict(CONTENDERS.values()).items():
        done = HOME / folder / "installed"
        if not done.exists():
            print(f"installing {folder} …", flush=True)
            subprocess.run([sys.executable, "-m", "venv", HOME / folder], check=True)
            subprocess.run([HOME / folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
            done.touch()
    if not (HOME / "model" / "flashrank").exists():
        exporter = HOME / "reference" / "bin" / "python"
        subprocess.run([exporter, Path(__file__).parent / "export.py", HOME / "model", VOCABULARY], check=True)
        quantiser = HOME / "podium" / "bin" / "python"
        subprocess.run([quantiser, Path(__file__).parent / "export.py", HOME / "model", "--int8"], check=True)


def first_ranking(name: str) -> float:
    """Return seconds from starting a process to its first ranking of 10 passages."""
    began = time.perf_counter()
    contender = Contender(name)
    contender.ask("first")
    seconds = time.perf_counter() - began
    contender.close()
    return seconds


def measure(rounds: int) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {name: {"short": [], "long": [], "first": []} for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            figures[name]["first"].append(first_ranking(name))
    running = {name: Contender(name) for name in CONTENDERS}
    for workload in ("short", "long"):
        for counted in [False] + [True] * rounds:
            for name, contender in running.items():
                answer = contender.ask(workload)
                if counted:
                    figures[name][workload].append(answer["seconds"])
                figures[name][f"{workload} scores"] = answer["scores"]
        for name, contender in running.items():
            figures[name][f"{workload} memory"] = contender.ask("memory")
    for contender in running.values():
        contender.close()
    return figures


def summary(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return medians per contender, and how many times the baseline's rate each reached, round by round."""
    base = figures[BASELINE]
    found = {}
    for name, own in figures.items():
        row: dict[str, float] = {"first_s": statistics.median(own["first"])}
        for workload in ("short", "long"):
            row[f"{workload}_pairs_s"] = 100 / statistics.median(own[workload])
            row[f"{workload}_ratio"] = statistics.median(b / o for b, o in zip(base[workload], own[workload], strict=True))
            row[f"{workload}_peak_mb"] = own[f"{workload} memory"]["peak_mb"]
            row[f"{workload}_delta"] = max(
                abs(a - b) for a, b in zip(own[f"{workload} scores"], base[f"{workload} scores"], strict=True)
            )
        row["load_s"] = own["short memory"]["load_s"]
        row["installed_mb"] = installed_megabytes(name)
        found[name] = row
    return found


def installed_megabytes(name: str) -> float:
    """Return the size of a contender's environment, less pip itself and the sources of this repository."""
    folder = HOME / CONTENDERS[name][0]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and "/pip/" not in str(path)]
    return sum(path.stat().st_size for path in files) / 1e6


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
            f"{row['installed_mb']:.0f} MB",
            "–" if name == BASELINE else f"{max(row['short_delta'], row['long_delta']):.0e}",
        ]
        shown = f"**{name}**" if name.startswith("podium") else name
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    install()
    rows = summary(measure(rounds))
    found = table(rows)
    print(found)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    kept = {"table": found, "rows": rows, "rounds": rounds, "machine": machine}
    (ROOT / "docs" / "benchmark.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    speeds = {name: row["short_pairs_s"] for name, row in rows.items()}
    (ROOT / "docs" / "benchmark.svg").write_text(chart.bars(speeds, "pairs per second"), encoding="utf-8")


if __name__ == "__main__":
    main()
