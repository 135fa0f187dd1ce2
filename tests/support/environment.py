"""The environment of every test: no network, and none of the user's caches and keys. It must be imported before podium."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"  # data that is not in the repository; if it is missing, the tests that read it are skipped
PARITY_MODELS = ROOT / "tests" / "parity"  # small models whose scores are compared with those of other libraries
SCRATCH = Path(tempfile.mkdtemp(prefix="podium-tests-"))

# podium and the hub's client read these variables when they are imported, in this process and in those that tests start.
os.environ.update(PODIUM_CACHE=str(SCRATCH / "podium"), HF_HOME=str(SCRATCH / "hf"), HF_HUB_DISABLE_PROGRESS_BARS="1")
os.environ.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_DISABLE_TELEMETRY="1", NO_PROXY="127.0.0.1,localhost")
for variable in list(os.environ):
    if variable.endswith(("_API_KEY", "_BASE_URL")) or variable in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        del os.environ[variable]

# Tests start podium about two hundred times, and each of these processes would compile its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell starts a program in the background with SIGINT ignored, which the processes that tests interrupt would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HAS_CORE = importlib.util.find_spec("podium._native") is not None
NEEDS_CORE = pytest.mark.skipif(not HAS_CORE, reason="podium was installed without its native core: no C++ compiler")
HAS_ONNX = all(importlib.util.find_spec(package) for package in ("onnxruntime", "onnx"))
NEEDS_ONNX = pytest.mark.skipif(not HAS_ONNX, reason="podium was installed without its extra onnx")
FIRST_RUNTIME = "onnx" if HAS_ONNX else "native"  # for tests that need any runtime
RUNTIMES = [pytest.param("onnx", marks=NEEDS_ONNX), pytest.param("native", marks=NEEDS_CORE)]
