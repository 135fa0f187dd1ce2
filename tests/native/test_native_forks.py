"""The native core in processes that are forked while other threads compute."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORK_WHILE_RANKING = """
import os, signal, threading
import podium

reranker = podium.load("podium-mini", keep=0, threads=1)
reranker.rerank("fox", ["a"])

def rank(thread):
    number = 0
    while True:
        reranker.rerank("fox", [f"text {thread} {number} fox"])
        number += 1

for thread in range(3):
    threading.Thread(target=rank, args=(thread,), daemon=True).start()
status = 0
for _ in range(60):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        reranker.rerank("fox", ["a fox", "b"])
        os._exit(0)
    status = status or os.waitpid(child, 0)[1]
    if status:
        break
print(status, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_process_forked_while_the_core_computes_can_compute():
    """A fork waits until no thread holds the network's lock. Otherwise the lock would stay locked in the new process."""
    process = subprocess.run([sys.executable, "-c", FORK_WHILE_RANKING], capture_output=True, text=True, timeout=300)
    assert (process.stdout, process.returncode) == ("0\n", 0), process.stderr
