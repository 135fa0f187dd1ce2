"""Measure podium and other libraries that run ColBERT models alternately, in one run, and print a table.

    make bench-late

The first run installs the libraries (two environments with PyTorch in .bench/). All libraries rank the same documents with one
model of podium-mini's shape. The documents' encodings are in memory. All libraries also encode documents, with this model and
with one of GTE-ModernColBERT's shape. In a round, every library does this once. The table has the medians of the rounds, and
the medians of the ratios to sentence-transformers in the same round. Writes docs/late.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from environments import HOME, REFERENCE, ROOT, TOKENIZER_FOLDER, Contender, install_environments, run_in

MODELS = HOME / "late-models"
CONTENDERS = {
    "podium float32": ("podium", ["-e", str(ROOT)]),
    "podium int8": ("podium", ["-e", str(ROOT)]),
    "sentence-transformers": ("reference", REFERENCE),
    "PyLate": ("pylate", ["pylate==1.6.0"]),
}
"""The name of a contender → its environment, and the packages of the environment."""
BASELINE = "sentence-transformers"
RANKINGS = {"rank 100": 100, "rank 1000": 1000}  # a column → how many documents are stored and ranked
ENCODINGS = {"encode small": 5, "encode modernbert": 1}  # a column, which is also the request → how often it is sent per round
COLUMNS = {
    "rank 100": "ranking of 100, ms",
    "rank 1000": "of 1,000, ms",
    "encode small": "encoding of 100, ms",
    "encode modernbert": "with ModernBERT, ms",
}
RANKINGS_PER_ROUND = 20

Times = dict[str, dict[str, list[float]]]
"""By column and contender, the median milliseconds of each round."""


def start_contender(name: str) -> Contender:
    return Contender(name, CONTENDERS[name][0], [Path(__file__).parent / "late_contenders.py", name, MODELS])


def measure(rounds: int) -> Times:
    """Return the times of all contenders, each in its own process, by column."""
    running = {name: start_contender(name) for name in CONTENDERS}
    times: Times = {column: {name: [] for name in CONTENDERS} for column in COLUMNS}
    scores: dict[str, list[float]] = {}
    for column, document_count in RANKINGS.items():
        for process in running.values():
            process.answer(f"store {document_count}")
        for is_measured in [False] + [True] * rounds:  # The first round is a warm-up.
            for name, process in running.items():
                answers = [process.answer("rank") for _ in range(RANKINGS_PER_ROUND)]
                scores[name] = answers[-1]["scores"]
                if is_measured:
                    times[column][name].append(1000 * statistics.median(answer["seconds"] for answer in answers))
        _check_scores(scores)
    for request, repetitions in ENCODINGS.items():
        for is_measured in [False] + [True] * rounds:
            for name, process in running.items():
                seconds = [process.answer(request)["seconds"] for _ in range(repetitions)]
                if is_measured:
                    times[request][name].append(1000 * statistics.median(seconds))
    for process in running.values():
        process.close()
    return times


def _check_scores(scores: dict[str, list[float]]) -> None:
    """End the program if a contender has other scores than the baseline, because then it does not do the same work."""
    for name, values in scores.items():
        difference = max(abs(a - b) for a, b in zip(values, scores[BASELINE], strict=True))
        print(f"{name}: largest difference of a score {difference:.2g}")
        if difference > 0.5:
            raise SystemExit(f"{name} has other scores than {BASELINE}")


def table(times: Times) -> str:
    """Return the medians of the rounds, and the ratios to the baseline in the same round, as Markdown."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name in CONTENDERS:
        cells = []
        for column in COLUMNS:
            own_times = times[column][name]
            ratios = [base / own for base, own in zip(times[column][BASELINE], own_times, strict=True)]
            cells.append(f"{statistics.median(own_times):.3g} ({statistics.median(ratios):.1f}×)")
        lines.append(f"| {f'**{name}**' if name.startswith('podium') else name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    install_environments(dict(CONTENDERS.values()))
    if not (MODELS / "modernbert").exists():
        run_in("reference", Path(__file__).parent / "export_late.py", MODELS, TOKENIZER_FOLDER)
    times = measure(rounds)
    print(table(times))
    (ROOT / "docs" / "late.json").write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
