"""podium with and without its native core."""

from __future__ import annotations

import logging
import subprocess
import sys

import podium
from environment import NEEDS_ONNX, PARITY_MODELS

WITHOUT_CORE = "import sys; sys.modules['podium._native'] = None; import podium\n"

LOAD_TWICE = """
first, second = podium.load("podium-mini"), podium.load("podium-mini", precision="int8")
print(first.scorer.runtime, second.scorer.runtime, len(first.rerank("q", ["one", "two"])))
"""


def run(script, *, check=True):
    """Run a script in another process. With `check`, an error of the script is an error of the test."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=check, timeout=240)


@NEEDS_ONNX
def test_without_the_core_models_run_on_onnx_runtime_and_the_log_says_so_once():
    process = run(WITHOUT_CORE + LOAD_TWICE)
    assert process.stdout.split() == ["onnx", "onnx", "2"]
    assert process.stderr.count("without podium's native core") == 1
    assert "compiler" in process.stderr


def test_native_runtime_is_refused_without_the_core():
    process = run(WITHOUT_CORE + "podium.load('podium-mini', runtime='native')", check=False)
    assert "UnsupportedModel" in process.stderr
    assert "runtime='onnx'" in process.stderr


def test_with_the_core_nothing_is_logged(caplog):
    with caplog.at_level(logging.DEBUG, "podium"), podium.load(PARITY_MODELS / "bert", runtime="native") as reranker:
        reranker.rerank("q", ["a"])
    assert not caplog.records


PRINT_LOADED_MODULES = """
import sys, podium
podium.load("podium-mini", precision="int8", runtime="native").rerank("q", ["a"])
slow_modules = ("onnx", "onnxruntime", "huggingface_hub", "httpx", "asyncio", "importlib.metadata")
print([name for name in slow_modules if name in sys.modules])
"""


def test_native_core_does_not_load_slow_modules():
    """Loading ONNX Runtime takes most of the time and memory of a short program, and asyncio a fifth of its time."""
    assert run(PRINT_LOADED_MODULES).stdout.strip() == "[]"


HOLD_MODEL_IN_DAEMON_THREAD = """
import threading, podium

def hold(reranker):
    reranker.rank("q", ["a"])
    ranked.set()
    threading.Event().wait()

ranked = threading.Event()
reranker = podium.load("podium-mini", runtime="native")
threading.Thread(target=hold, args=[reranker], daemon=True).start()
ranked.wait()
"""


def test_daemon_thread_can_hold_a_model_when_the_process_ends():
    assert run(HOLD_MODEL_IN_DAEMON_THREAD).stderr == ""
