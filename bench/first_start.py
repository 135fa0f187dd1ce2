"""Measure the memory of a model's first start, which packs its weights and stores them, and of a later start.

    .venv/dev/bin/python bench/first_start.py [--precision int8] [--vocabulary 32000]

Writes a checkpoint with random weights in the shape of bge-reranker-base's layers, and prints the peak memory of two processes,
each of which loads the model and ranks one text, as a multiple of the file of packed weights. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "support"))
from checkpoints import write_random  # noqa: E402  in that folder

SMALL_MODEL = ROOT / "tests" / "parity" / "roberta"
SHAPE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
CHILD = """
import pathlib, re, sys, podium

def megabytes(field):
    return int(re.search(rf"{field}:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024 / 1e6

with podium.load(sys.argv[1], runtime="native", precision=sys.argv[2], max_length=64) as reranker:
    loaded = megabytes("VmHWM")
    reranker.rerank("rank", ["query"])
print(loaded, megabytes("VmHWM"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        write_random(model, SMALL_MODEL, **SHAPE, vocab_size=arguments.vocabulary)
        environment = os.environ | {"PODIUM_CACHE": f"{name}/cache"}
        for title in ("first start", "later start"):
            command = [sys.executable, "-c", CHILD, model, arguments.precision]
            output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            loaded, ranked = map(float, output.split())
            (packed,) = (Path(name) / "cache" / "native").iterdir()
            size = packed.stat().st_size / 1e6
            print(
                f"{title}: {loaded:.0f} MB after loading, {ranked:.0f} MB after ranking, "
                f"{ranked / size:.2f} times the packed weights ({size:.0f} MB)"
            )


if __name__ == "__main__":
    main()
