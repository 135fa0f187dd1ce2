"""Scores in an SQLite file are stored once, remain if writing fails, and are read from files of earlier versions."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from fakes import FunctionScorer, row_with_value
from podium.compose.cached import CachedScorer
from podium.compose.stores import Row
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import PodiumError
from podium.types import Scores

ROW = row_with_value(0.5)
TABLE_OF_AN_EARLIER_VERSION = (
    "CREATE TABLE scores (key BLOB PRIMARY KEY, value REAL NOT NULL, raw REAL, tokens INTEGER, dropped INTEGER) WITHOUT ROWID"
)


def test_stored_scores_are_not_computed_again(tmp_path):
    calls = []

    def lengths(texts):
        calls.append(list(texts))
        return Scores([float(len(text)) for text in texts], tokens=[1] * len(texts), dropped_tokens=[0] * len(texts))

    def scorer(identity, store):
        function = FunctionScorer(lengths)
        function.identity = identity
        return CachedScorer(function, store)

    store = SqliteScores(tmp_path / "scores.db")
    first_scores = scorer("a", store).score("q", ["aa", "b", "aa"])
    assert (list(first_scores.values), first_scores.remembered) == ([2.0, 1.0, 2.0], 0)
    assert calls == [["aa", "b"]]
    second_scores = scorer("a", store).score("q", ["b", "ccc"])
    assert (list(second_scores.values), second_scores.remembered) == ([1.0, 3.0], 1)
    assert calls[1:] == [["ccc"]]
    assert list(scorer("b", store).score("q", ["b"]).values) == [1.0]
    assert list(scorer("a", SqliteScores(tmp_path / "scores.db")).score("other", ["b"]).values) == [1.0]
    assert calls[2:] == [["b"], ["b"]]
    store.close()


def test_file_that_is_not_a_database_is_refused(tmp_path):
    (tmp_path / "scores.db").write_text("not a database, " * 100)
    with pytest.raises(PodiumError, match="cannot store scores"):
        SqliteScores(tmp_path / "scores.db")


def test_empty_database_is_used(tmp_path):
    with sqlite3.connect(tmp_path / "scores.db"):
        SqliteScores(tmp_path / "scores.db").close()


def test_scores_on_a_full_disk_are_an_error_and_stored_ones_remain(tmp_path):
    store = SqliteScores(tmp_path / "scores")
    store.put({b"a": ROW})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(PodiumError, match="the score file failed"):
            store.put({bytes([number]) * 20: ROW for number in range(200)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert store.get([b"a"]) == {b"a": ROW}
    store.close()


def test_file_of_an_earlier_version_is_read(tmp_path):
    with sqlite3.connect(tmp_path / "old") as file:
        file.execute(TABLE_OF_AN_EARLIER_VERSION)
        file.execute("INSERT INTO scores VALUES (?, 0.5, 1.5, 3, 4)", (b"a",))
    file.close()
    store = SqliteScores(tmp_path / "old")
    old_row = row_with_value(0.5)._replace(raw=1.5, tokens=3, dropped_tokens=4)
    new_row = row_with_value(1.0)._replace(query_tokens=2, passage_start=0, passage_end=9, passage_score=0.5)
    store.put({b"b": new_row})
    assert store.get([b"a", b"b"]) == {b"a": old_row, b"b": new_row}
    store.close()


FORK_WHILE_STORING = """
import os, signal, sys, threading, time
from fakes import row_with_value
from podium.compose.stores.sqlite import SqliteScores

store = SqliteScores(sys.argv[1])

def store_scores():
    while True:
        store.put({b"parent": row_with_value(0.5)})
        time.sleep(0.001)  # so that other processes can write, too

threading.Thread(target=store_scores, daemon=True).start()
status = 0
for number in range(40):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        os.chdir("/")
        store.put({b"child %d" % number: row_with_value(number)})
        os._exit(0)
    status = status or os.waitpid(child, 0)[1]
print(status, len(store.get([b"child %d" % number for number in range(40)])), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_process_forked_while_scores_are_stored_can_store_scores(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", FORK_WHILE_STORING, "scores.db"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (process.stdout, process.returncode) == ("0 40\n", 0), process.stderr


OPEN_FILES = """
import sys
from fakes import row_with_value
from podium.compose.stores.sqlite import SqliteScores

for line in sys.stdin:
    store = SqliteScores(line.rstrip())
    store.put({line.encode(): row_with_value(0.5)})
    store.close()
    print("stored", flush=True)
"""


@pytest.mark.parametrize("table", [None, TABLE_OF_AN_EARLIER_VERSION], ids=["new", "earlier-version"])
def test_processes_can_open_a_file_at_once(tmp_path, table):
    """The first one creates the table or adds columns, and the others wait for it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", OPEN_FILES], text=True, env=environment, **pipes) for _ in range(4)]
    for number in range(40):
        path = tmp_path / f"scores-{number}.db"
        if table:
            with contextlib.closing(sqlite3.connect(path)) as file:
                file.execute(table)
        for process in processes:
            print(path, file=process.stdin, flush=True)
        assert {process.stdout.readline() for process in processes} == {"stored\n"}
    assert {process.communicate()[1] for process in processes} == {""}


def test_numbers_of_numpy_are_stored_as_numbers(tmp_path):
    scores = Scores(np.array([0.5], np.float32), raw=np.array([2.0], np.float32), tokens=[np.int64(4)])
    for _ in range(2):
        scorer = CachedScorer(FunctionScorer(lambda texts: scores), SqliteScores(tmp_path / "scores.db"))
        result = scorer.score("q", ["a"])
        assert (list(result.values), list(result.raw), list(result.tokens)) == ([0.5], [2.0], [4])
    assert result.remembered == 1


def test_values_that_are_not_numbers_are_ignored(tmp_path):
    """An earlier version stored numbers of numpy as bytes."""
    store = SqliteScores(tmp_path / "scores.db")
    store.put({b"k": Row(np.float32(0.5), None, None, None, None, None)})
    assert store.get([b"k"]) == {}


def test_count_that_sqlite_cannot_store_is_a_note(tmp_path):
    scorer = CachedScorer(FunctionScorer(lambda texts: Scores([0.5], tokens=[2**70])), SqliteScores(tmp_path / "scores.db"))
    scores = scorer.score("q", ["a"])
    assert list(scores.values) == [0.5]
    assert "the score file failed" in scores.notes[0]
