"""The environments in which other libraries are measured, and the processes that run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["HOME", "REFERENCE", "ROOT", "VOCABULARY", "Contender", "install_environments", "run_in"]

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".bench"
VOCABULARY = ROOT / "src" / "podium" / "bundled" / "podium-mini"
# This environment also converts models and contains CTranslate2, so CTranslate2's own size is unknown.
REFERENCE = ["torch==2.13.0", "sentence-transformers==6.2.0", "onnx", "onnxscript", "ctranslate2"]


def install_environments(packages: Mapping[str, Sequence[str]]) -> None:
    """Make the environments that are missing: their names and the packages of each."""
    for name, requirements in packages.items():
        marker = HOME / name / "installed"
        if not marker.exists():
            print(f"installing {name} …", flush=True)
            subprocess.run([sys.executable, "-m", "venv", HOME / name], check=True)
            run_in(name, "-m", "pip", "install", "--quiet", *requirements)
            marker.touch()


def run_in(environment: str, *arguments: str | Path) -> None:
    """Run Python in an environment."""
    subprocess.run([HOME / environment / "bin" / "python", *arguments], check=True)


class Contender:
    """A process that reads requests from its standard input, one in each line, and answers each with a line of JSON."""

    def __init__(self, name: str, environment: str, arguments: Sequence[str | Path]) -> None:
        self.name, self._script = name, arguments[0]
        self._process = subprocess.Popen(
            [HOME / environment / "bin" / "python", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"},
            text=True,
        )

    def answer(self, request: str) -> dict[str, Any]:
        """Return the answer to a request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(request, file=self._process.stdin, flush=True)
        while not (line := self._process.stdout.readline()).startswith("{"):
            if not line:
                raise SystemExit(f"{self.name} ended; run {self._script} directly to see why")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
