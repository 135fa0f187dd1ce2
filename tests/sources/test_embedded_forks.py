"""EmbeddedIndex in forked processes. Each test starts a process, which then forks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import podium

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def output_of(script, *arguments):
    process = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    return process.stdout


FORKS = """
def search_forever():
    while True:
        search()

for _ in range(3):
    threading.Thread(target=search_forever, daemon=True).start()
failed = 0
for _ in range(60):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        search()
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
    if failed:
        break
print(failed, flush=True)
os._exit(0)
"""
"""The script before this one defines `search`. Three threads call it while processes are forked, which call it once each."""

SEARCH = """
import os, signal, sys, threading, podium

index = podium.EmbeddedIndex.create(sys.argv[1] if len(sys.argv) > 1 else None)
index.add([f"apple {n}" for n in range(1000)])

def search():
    index.search("apple", 20)
"""


@pytest.mark.parametrize("location", ["memory", "folder"])
def test_process_forked_during_a_search_can_search(tmp_path, location):
    assert output_of(SEARCH + FORKS, *([] if location == "memory" else [tmp_path / "index"])) == "0\n"


GRAPH = """
import os, signal, threading
import numpy as np
from podium.sources.embedded.vectors import Vectors

rows = np.random.default_rng(0).standard_normal((6000, 16)).astype(np.float32)
vectors = Vectors(None, 16, exact_below=1000)
vectors.append(rows)
vectors.improve()

def search():
    vectors.nearest(rows[0], 100)
"""


def test_process_forked_during_a_search_of_a_graph_can_search():
    assert output_of(GRAPH + FORKS) == "0\n"


ADD = """
import os, sys, threading, podium

def embed(texts):
    if texts == ["slow"]:
        adding.set()
        may_continue.wait(60)
    return [[float(len(text)), 1.0] for text in texts]

adding = threading.Event()
may_continue = threading.Event()
index = podium.EmbeddedIndex.create(sys.argv[1], embed=embed)
thread = threading.Thread(target=index.add, args=(["slow"],))
thread.start()
adding.wait(60)
child = os.fork()
if not child:
    try:
        index.add(["apples"])
    except podium.SourceError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
may_continue.set()
thread.join()
"""


def test_add_in_a_process_forked_during_an_add_is_refused(tmp_path):
    """The forked process does not wait until the parent has added its documents, because that can take minutes."""
    assert "another process is adding" in output_of(ADD, tmp_path / "index")
    assert len(podium.EmbeddedIndex.open(tmp_path / "index")) == 1


WORKER = """
import os, sys, podium

pipe = os.pipe()
children = []

def embed(texts):
    if texts == ["first"]:
        children.append(os.fork())
        if not children[-1]:  # the worker, which ends when its parent closes the pipe
            os.close(pipe[1])
            os.read(pipe[0], 1)
            os._exit(0)
    return [[float(len(text)), 1.0] for text in texts]

index = podium.EmbeddedIndex.create(sys.argv[1], embed=embed)
index.add(["first"])
index.add(["second"])
print(len(index.search("first second", 9, mode="text")), flush=True)
os.close(pipe[1])
os.waitpid(children[0], 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="locks of the parent are closed on Linux only")
def test_process_forked_by_an_embedder_does_not_keep_the_index_locked(tmp_path):
    assert output_of(WORKER, tmp_path / "index") == "2\n"


ASYNC_EMBEDDER = """
import os, signal, podium

async def embed(texts):
    return [[float(len(text)), 1.0] for text in texts]

index = podium.EmbeddedIndex.create(None, embed=embed)
index.add(["apple", "a pear"])
child = os.fork()
if not child:
    signal.alarm(60)  # ends a child that hangs
    os._exit(len(index.search("apple", 2)) != 2)
print(os.waitpid(child, 0)[1], flush=True)
os._exit(0)
"""


def test_forked_process_can_call_an_async_embedder():
    assert output_of(ASYNC_EMBEDDER) == "0\n"
