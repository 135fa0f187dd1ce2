"""The environments in which other libraries are measured, and the processes that run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["HOME", "REFERENCE", "ROOT", "TOKENIZER_FOLDER", "Contender", "install_environments", "run_in"]

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".bench"
TOKENIZER_FOLDER = ROOT / "src" / "podium" / "bundled" / "podium-mini"  # Models of the benchmarks get its tokenizer.
# The packages of the environment of sentence-transformers. It also converts models and contains CTranslate2, so the size of
# CTranslate2 alone is not measured.
REFERENCE = ["torch==2.13.0", "sentence-transformers==6.2.0", "onnx", "onnxscript", "ctranslate2"]


def install_environments(packages_by_environment: Mapping[str, Sequence[str]]) -> None:
    """Create the environments that do not exist yet, and install their packages. Podium is built again if it has changed."""
    for name, packages in packages_by_environment.items():
        marker = HOME / name / "installed"
        if not marker.exists() or (str(ROOT) in packages and marker.stat().st_mtime < _build_time()):
            print(f"installing {name} …", flush=True)
            subprocess.run([sys.executable, "-m", "venv", HOME / name], check=True)
            run_in(name, "-m", "pip", "install", "--quiet", *packages)
            marker.touch()


def _build_time() -> float:
    """Return when the files from which podium is built were last changed. Python files need no build."""
    return max(
        path.stat().st_mtime for path in [ROOT / "pyproject.toml", ROOT / "CMakeLists.txt", *(ROOT / "native").iterdir()]
    )


def run_in(environment: str, *arguments: str | Path) -> None:
    """Run the Python of an environment with these arguments."""
    subprocess.run([HOME / environment / "bin" / "python", *arguments], check=True)


class Contender:
    """A process that reads one request per line from its standard input, and answers every request with a line of JSON.

    `arguments` are a script and its arguments, for the Python of the environment.
    """

    def __init__(self, name: str, environment: str, arguments: Sequence[str | Path]) -> None:
        self.name = name
        self._script = arguments[0]
        self._process = subprocess.Popen(
            [HOME / environment / "bin" / "python", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"},
            text=True,
        )

    def answer(self, request: str) -> dict[str, Any]:
        """Return the answer to a request. Other lines, which libraries may print, are skipped."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(request, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit(f"{self.name} ended; run {self._script} directly to see why")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
