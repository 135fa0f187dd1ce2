"""Check that two installed versions of podium compute the same scores, bit for bit.

    .venv/dev/bin/python bench/same_scores.py /path/to/another/checkout/.venv/dev/bin/python

Each version scores 1,000 pairs of random words with every model in tests/parity, in every runtime and precision.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARITY = ROOT / "tests" / "parity"
QUERIES, TEXTS_PER_QUERY = 20, 50


def pairs() -> list[tuple[str, list[str]]]:
    words = (PARITY / "words.txt").read_text(encoding="utf-8").split()
    generator = random.Random(7)
    text = lambda longest: " ".join(generator.choices(words, k=generator.randint(1, longest)))  # noqa: E731
    return [(text(12), [text(150) for _ in range(TEXTS_PER_QUERY)]) for _ in range(QUERIES)]


def print_scores() -> None:
    """Print a line of JSON for every model, runtime and precision: its name and the scores as hexadecimal numbers."""
    import podium

    for folder in sorted(path.parent for path in PARITY.glob("*/config.json")):
        for runtime, precision in itertools.product(("native", "onnx"), ("float32", "int8")):
            try:
                reranker = podium.load(str(folder), runtime=runtime, precision=precision)
            except podium.PodiumError:
                continue  # this model does not have this variant
            with reranker:
                raw = [
                    result.score for query, texts in pairs() for result in sorted(reranker.rerank(query, texts), key=by_index)
                ]
            print(json.dumps([f"{folder.name} {runtime} {precision}", [score.hex() for score in raw]]), flush=True)


def by_index(result) -> int:
    return result.index


def scores(python: str) -> dict[str, list[str]]:
    process = subprocess.run([python, __file__, "--print"], capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in process.stdout.splitlines())


def main() -> None:
    if sys.argv[1:] == ["--print"]:
        return print_scores()
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    here, other = scores(sys.executable), scores(sys.argv[1])
    if here.keys() != other.keys():
        sys.exit(f"only one of the versions runs: {', '.join(sorted(here.keys() ^ other.keys()))}")
    for name, values in here.items():
        different = sum(a != b for a, b in zip(values, other[name], strict=True))
        print(f"{name:<45} {len(values):>5} pairs, {different} different")
    sys.exit(any(here[name] != other[name] for name in here))


if __name__ == "__main__":
    main()
