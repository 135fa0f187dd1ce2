"""The ONNX runtime in forked processes, a model's own ONNX file, and podium without the extra "onnx"."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

import podium
from environment import NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS
from podium.errors import ModelError

FORK_WHILE_COMPUTING = """
import os, signal, sys, threading
import podium

scorer = podium.load(sys.argv[1], runtime="onnx", threads=1).scorer
expected = scorer.score("rank", ["query"]).raw
running = threading.Event()

def compute():
    while True:
        scorer.score("rank", ["query"])
        running.set()

for _ in range(3):
    threading.Thread(target=compute, daemon=True).start()
running.wait()
for _ in range(150):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        os._exit(scorer.score("rank", ["query"]).raw != expected)
    assert os.waitpid(child, 0)[1] == 0, "the forked process hung or computed another score"
os._exit(0)
"""


@NEEDS_ONNX
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_another_thread_computes():
    """If a lock of ONNX Runtime is held during a fork, it stays locked in the new process."""
    command = [sys.executable, "-W", "ignore", "-c", FORK_WHILE_COMPUTING, PARITY_MODELS / "bert"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr


@NEEDS_ONNX
@pytest.mark.parametrize("content", [b"", b"x" * 100], ids=["empty", "not-onnx"])
def test_damaged_onnx_file_is_refused(tmp_path, content):
    model = shutil.copytree(PARITY_MODELS / "exported-albert", tmp_path / "model")
    (model / "onnx" / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="cannot load this model"):
        podium.load(model)


WITHOUT_ONNX = """
import sys
for package in sys.argv[1].split():
    sys.modules[package] = None
import podium
reranker = podium.load(sys.argv[2], runtime=sys.argv[3])
print(reranker.scorer.runtime, reranker.scorer.choice, len(reranker.rerank("q", ["one", "two"])))
"""


def run_without(packages, model, runtime="auto"):
    """Load and run a model in a process that cannot import these packages."""
    command = [sys.executable, "-c", WITHOUT_ONNX, packages, model, runtime]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@NEEDS_CORE
@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
@pytest.mark.parametrize("name", ["bert", "deberta-v2", "late"])
def test_native_core_needs_no_onnx_runtime(package, name):
    process = run_without(package, PARITY_MODELS / name)
    assert process.stdout == "native nothing to choose from 2\n", process.stderr


MISSING = {
    "runtime": ("onnxruntime", PARITY_MODELS / "bert", "onnx", "the runtime onnx needs onnxruntime, which is not installed"),
    "onnx-file": (
        "onnxruntime",
        PARITY_MODELS / "exported-albert",
        "auto",
        "exported-albert is an ONNX file, which needs onnxruntime,",
    ),
    "no-core": ("podium._native onnxruntime", "podium-mini", "auto", "without its native core (there was no C++ compiler"),
}


@pytest.mark.parametrize(("packages", "model", "runtime", "message"), MISSING.values(), ids=MISSING)
def test_error_names_the_extra(packages, model, runtime, message):
    process = run_without(packages, model, runtime)
    assert "MissingPackage" in process.stderr
    assert message in process.stderr
    assert "pip install 'onnxruntime>=1.23' 'onnx>=1.17' (podium's extra 'onnx')" in process.stderr
