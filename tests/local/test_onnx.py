"""The ONNX runtime in forked processes, and a model's own ONNX file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

import podium
from environment import PARITY_MODELS
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_another_thread_computes():
    """If a lock of ONNX Runtime is held during a fork, it stays locked in the new process."""
    command = [sys.executable, "-W", "ignore", "-c", FORK_WHILE_COMPUTING, PARITY_MODELS / "bert"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("content", [b"", b"x" * 100], ids=["empty", "not-onnx"])
def test_damaged_onnx_file_is_refused(tmp_path, content):
    model = shutil.copytree(PARITY_MODELS / "exported-albert", tmp_path / "model")
    (model / "onnx" / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="cannot load this model"):
        podium.load(model)
