"""The interpreter can end while daemon threads are in the native core, which runs in the main interpreter only."""

from __future__ import annotations

import subprocess
import sys

import pytest

DAEMON_THREADS = """
import threading, time
import numpy as np
from podium import _native

qkv = np.ones((40, 192), np.float32)

def call():
    result = np.empty((40, 64), np.float32)
    while True:
        _native.attend(qkv, result, 4, 1.0, 0, "portable")

for _ in range(8):
    threading.Thread(target=call, daemon=True).start()
time.sleep(0.2)
"""


def test_process_ends_while_daemon_threads_are_in_the_native_core():
    """Python unwinds the stacks of such threads, which must not reach nanobind's functions."""
    process = subprocess.run([sys.executable, "-c", DAEMON_THREADS], capture_output=True, text=True, timeout=120)
    assert (process.returncode, process.stderr) == (0, "")


SUBINTERPRETER = """
import sys
import _xxsubinterpreters as interpreters

interpreters.run_string(interpreters.create(), '''
import warnings
warnings.simplefilter("ignore")  # numpy warns, too
import podium
try:
    podium.load("podium-mini")
except podium.PodiumError as error:
    print(error)
''')
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later versions of Python have another module for subinterpreters")
def test_model_is_refused_in_a_subinterpreter():
    process = subprocess.run([sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, timeout=120)
    assert process.stdout.startswith("the native core of podium runs in the main interpreter only"), process.stderr
    assert "load the model there (with mod_wsgi: WSGIApplicationGroup %{GLOBAL})" in process.stdout
