"""Scores in an SQLite file are stored once, remain if writing fails, and are read from files of earlier versions."""

from __future__ import annotations

import resource
import sqlite3

import pytest

from fakes import FunctionScorer, row_with_value
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import PodiumError
from podium.types import Scores

ROW = row_with_value(0.5)


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
        file.execute(
            "CREATE TABLE scores (key BLOB PRIMARY KEY, value REAL NOT NULL, raw REAL, tokens INTEGER, dropped INTEGER) "
            "WITHOUT ROWID"
        )
        file.execute("INSERT INTO scores VALUES (?, 0.5, 1.5, 3, 4)", (b"a",))
    file.close()
    store = SqliteScores(tmp_path / "old")
    old_row = row_with_value(0.5)._replace(raw=1.5, tokens=3, dropped_tokens=4)
    new_row = row_with_value(1.0)._replace(query_tokens=2, passage_start=0, passage_end=9, passage_score=0.5)
    store.put({b"b": new_row})
    assert store.get([b"a", b"b"]) == {b"a": old_row, b"b": new_row}
    store.close()
