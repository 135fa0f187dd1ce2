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
QUERIES = 20
TEXTS_PER_QUERY = 50


def queries_with_texts() -> list[tuple[str, list[str]]]:
    """Return queries of random words, and the texts of each query. They are the same in every call."""
    words = (PARITY / "words.txt").read_text(encoding="utf-8").split()
    generator = random.Random(7)

    def random_text(max_words: int) -> str:
        return " ".join(generator.choices(words, k=generator.randint(1, max_words)))

    return [(random_text(12), [random_text(150) for _ in range(TEXTS_PER_QUERY)]) for _ in range(QUERIES)]


def print_scores() -> None:
    """Print a line of JSON, [name, scores], for every variant: a model in a runtime and precision. Scores are hexadecimal."""
    import podium

    for folder in sorted(path.parent for path in PARITY.glob("*/config.json")):
        for runtime, precision in itertools.product(("native", "onnx"), ("float32", "int8")):
            try:
                reranker = podium.load(str(folder), runtime=runtime, precision=precision)
            except podium.PodiumError:
                continue  # the model does not have this variant
            scores = []
            with reranker:
                for query, texts in queries_with_texts():
                    scores += reranker.score(query, texts)
            print(json.dumps([f"{folder.name} {runtime} {precision}", [score.hex() for score in scores]]), flush=True)


def scores_by_variant(python: str) -> dict[str, list[str]]:
    """Return the scores that the podium installed for a Python executable computes, by the name of the variant."""
    process = subprocess.run([python, __file__, "--print"], capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in process.stdout.splitlines())


def main() -> None:
    if sys.argv[1:] == ["--print"]:
        return print_scores()
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    own_scores = scores_by_variant(sys.executable)
    other_scores = scores_by_variant(sys.argv[1])
    if own_scores.keys() != other_scores.keys():
        different_names = ", ".join(sorted(own_scores.keys() ^ other_scores.keys()))
        sys.exit(f"only one of the two versions can load these models: {different_names}")
    for name, scores in own_scores.items():
        difference_count = sum(own != other for own, other in zip(scores, other_scores[name], strict=True))
        print(f"{name:<45} {len(scores):>5} pairs, {difference_count} different")
    sys.exit(own_scores != other_scores)


if __name__ == "__main__":
    main()
