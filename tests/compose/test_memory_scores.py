"""MemoryScores holds a limited number of scores, and threads share it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import podium
from fakes import row_with_value
from podium.compose.stores.memory import MemoryScores
from podium.errors import InvalidInput


def test_least_recently_used_score_is_dropped():
    store = MemoryScores(max_rows=2)
    rows = {name: row_with_value(number) for number, name in enumerate((b"a", b"b", b"c"))}
    store.put({b"a": rows[b"a"], b"b": rows[b"b"]})
    assert store.get([b"a"]) == {b"a": rows[b"a"]}
    store.put({b"c": rows[b"c"]})
    assert store.get([b"a", b"b", b"c"]) == {b"a": rows[b"a"], b"c": rows[b"c"]}
    store.close()
    assert store.get([b"a"]) == {}


def test_threads_share_a_store():
    store = MemoryScores(max_rows=100)

    def use(number):
        key = bytes([number % 200])
        store.put({key: row_with_value(float(number % 200))})
        return all(row.value == found_key[0] for found_key, row in store.get([key, b"\x01"]).items())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(4000)))
    assert len(store.get([bytes([number]) for number in range(200)])) == 100


def test_reranker_caches_scores_in_memory():
    reranker = podium.load("podium-mini", cache="memory", keep=0)
    first = reranker.rerank("red", ["a red apple", "the sea"])
    second = reranker.rerank("red", ["a red apple", "the sea"])
    assert list(first) == list(second)
    assert second.usage.remembered == 2
    assert second.usage.tokens == 0


def test_number_of_rows_is_positive():
    with pytest.raises(InvalidInput, match="max_rows must be a positive whole number"):
        MemoryScores(0)
