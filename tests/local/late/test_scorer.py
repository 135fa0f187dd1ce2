"""LateInteraction: its scores, which depend only on query and text, its stored encodings and its options."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import struct
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from environment import FIRST_RUNTIME, NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS, RUNTIMES
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.encodings.memory import MemoryEncodings
from podium.errors import InvalidInput, PodiumError
from podium.local.files.folder import from_folder
from podium.local.late.encoding import HEADER, unpack
from podium.local.late.scorer import LateInteraction
from podium.local.tokenizer import TextTokenizer
from podium.schedule import Work
from podium.scorers import as_scorer

FOLDER = PARITY_MODELS / "late"
EXPECTED = json.loads(gzip.decompress((FOLDER / "expected.json.gz").read_bytes()))
WORDS = (PARITY_MODELS / "words.txt").read_text(encoding="utf-8").split()
TEXTS = [" ".join(WORDS[index : index + size]) for index, size in enumerate((1, 3, 8, 20, 40, 70, 5, 2))]
ANY_TEXT = st.lists(st.sampled_from([*WORDS[:30], "zzz", "café", "!", "東"]), min_size=1, max_size=80).map(" ".join)


def late(**options):
    """Return a scorer for the model in FOLDER."""
    return LateInteraction(from_folder(FOLDER), **{"runtime": FIRST_RUNTIME} | options)


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    return request.param


@pytest.fixture
def scorer(runtime):
    scorer = late(runtime=runtime)
    yield scorer
    scorer.close()


def test_logits_scores_and_lengths_are_the_expected_ones(runtime):
    scorer = late(runtime=runtime, encoding="float32")
    queries, texts = zip(*EXPECTED["pairs"], strict=True)
    scores = scorer.score_many(queries, [[text] for text in texts])
    assert scorer.max_length == EXPECTED["max_length"]
    assert [pair.total_tokens for pair in scores] == EXPECTED["lengths"]
    np.testing.assert_allclose([pair.raw[0] for pair in scores], EXPECTED["logits"], atol=1e-4, rtol=0)
    np.testing.assert_allclose([pair.values[0] for pair in scores], EXPECTED["scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("encoding", "tolerance"), [("float16", 0.01), ("int8", 0.1)])
def test_smaller_encodings_change_scores_little(encoding, tolerance):
    expected = late(encoding="float32").score("rank the query", TEXTS).raw
    np.testing.assert_allclose(late(encoding=encoding).score("rank the query", TEXTS).raw, expected, atol=tolerance, rtol=0)


def encoded(scorer, text):
    """Encode a text, and return the bytes that are stored for it."""
    scorer.encode([text])
    key = scorer.encoding_key(text)
    return scorer.store.get([key])[key]


def test_lower_precision_and_pooling_make_encodings_smaller():
    sizes = []
    for options in ({"encoding": "float32"}, {"encoding": "float16"}, {}, {"pooling": 2}, {"pooling": 3}):
        sizes.append(len(encoded(late(**options), TEXTS[4])))
    assert sorted(sizes, reverse=True) == sizes


def test_pooled_text_has_fewer_vectors_and_all_ids():
    encoding = unpack(encoded(late(pooling=3), TEXTS[4]))
    assert len(encoding.rows) == len(encoding.ids) // 3
    assert len(encoding.ids) == encoding.tokens + 1  # [SEP]


def test_stored_texts_are_not_encoded_again(scorer):
    first_scores = scorer.score("rank", TEXTS)
    second_scores = scorer.score("query", [*TEXTS, TEXTS[0], "new"])
    assert (first_scores.encoded, second_scores.encoded) == (len(TEXTS), 1)
    assert second_scores.total_tokens < first_scores.total_tokens
    assert scorer.encode(TEXTS) == 0
    assert scorer.encode(["newer", "newer", *TEXTS]) == 1


@functools.cache
def shared_scorer(**options):
    """Return a scorer with these options, which is loaded only once, because the next test has many examples."""
    return late(threads=1, **options)


@settings(max_examples=40, deadline=None)
@given(
    query=ANY_TEXT, texts=st.lists(ANY_TEXT, min_size=1, max_size=9), stored_count=st.integers(0, 9), pooling=st.integers(1, 3)
)
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_score_does_not_depend_on_other_texts_or_on_the_store(runtime, precision, query, texts, stored_count, pooling):
    scorer = shared_scorer(runtime=runtime, precision=precision, pooling=pooling)
    without_store = scorer.with_store(MemoryEncodings(0))
    with_store = scorer.with_store(MemoryEncodings(10**6))
    alone = [without_store.score(query, [text]).raw[0] for text in texts]
    with_store.encode(texts[:stored_count])
    assert with_store.score(query, texts).raw == alone
    assert with_store.score(query, texts[::-1]).raw[::-1] == alone
    assert without_store.score_many(["other", query], [texts[:2], texts])[1].raw == alone
    assert asyncio.run(with_store.ascore(query, texts)).raw == alone


def test_many_texts_are_compared_in_parts(scorer):
    texts = [f"{text} {index}" for index in range(90) for text in TEXTS]
    together = scorer.score("rank the query", texts)
    assert together.encoded == len(texts)
    assert scorer.score("rank the query", texts[300:310]).raw == together.raw[300:310]


def test_queries_without_texts_are_not_encoded(scorer):
    first, second, third = scorer.score_many(["a", "rank", "b"], [[], ["query"], []])
    assert (first.values, third.values) == ([], [])
    assert second.raw == scorer.score("rank", ["query"]).raw
    assert scorer.score_many([], []) == []


def test_progress_counts_every_text(scorer):
    counts = []
    scorer.encode(["stored"])
    scorer.score_many(["a", "b"], [["x", "y", "x", "stored"], ["z", "x"]], progress=counts.append)
    assert sum(counts) == 6
    counts.clear()
    scorer.encode(["stored", "u", "u"], progress=counts.append)
    assert sum(counts) == 3


def test_every_token_is_counted_as_read_or_dropped(scorer):
    scores = scorer.score("rank " * 90, TEXTS)
    lengths = [len(ids) for ids in TextTokenizer(FOLDER, 64)._tokenise(TEXTS)]
    assert [read + dropped for read, dropped in zip(scores.tokens, scores.dropped_tokens, strict=True)] == lengths
    assert any(scores.dropped_tokens)
    assert scores.query_tokens == [62] * len(TEXTS)
    assert scores.query_dropped_tokens[0] > 0


def test_max_length_applies_to_texts():
    assert late(max_length=16).score("rank", [TEXTS[5]]).tokens == [14]  # 16 tokens, less [CLS] and [SEP]


def test_usage_counts_encoded_texts(scorer, tmp_path):
    reranker = podium.Reranker(scorer)
    assert reranker.rerank("rank", TEXTS).usage.encoded == len(TEXTS)
    assert reranker.rerank("query", TEXTS).usage.encoded == 0
    cached = podium.Reranker(CachedScorer(scorer, SqliteScores(tmp_path / "scores")))
    assert cached.rerank("list", [*TEXTS, "new"]).usage.encoded == 1


def test_cross_encoder_does_not_count_encoded_texts():
    with podium.load(PARITY_MODELS / "bert") as reranker:
        assert reranker.rerank("rank", ["query"]).usage.encoded is None


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"not an encoding"], ids=["empty", "zeros", "text"])
def test_foreign_bytes_in_the_store_are_replaced(scorer, damage):
    expected = scorer.score("rank", ["query"]).raw
    store = MemoryEncodings(10**6)
    store.put({scorer.encoding_key("query"): damage})
    other_scorer = late(runtime=scorer.runtime, store=store)
    scores = other_scorer.score("rank", ["query"])
    assert scores.raw == expected
    assert scores.encoded == 1


def test_encodings_of_another_layout_are_computed_again(scorer):
    other_scorer = late(runtime=scorer.runtime, encoding="float16")
    assert other_scorer.encoding_key("query") != scorer.encoding_key("query")
    scorer.store.put({scorer.encoding_key("query"): encoded(other_scorer, "query")})
    assert scorer.score("rank", ["query"]).encoded == 1


def test_scorer_with_another_store_does_not_use_the_first_store(scorer):
    store = MemoryEncodings(10**6)
    other_scorer = scorer.with_store(store)
    assert other_scorer.encode(["a text of this test"]) == 1
    assert set(store.get([scorer.encoding_key("a text of this test")])) == {scorer.encoding_key("a text of this test")}
    assert other_scorer.score("rank", ["a text of this test"]).encoded == 0
    assert scorer.score("rank", ["a text of this test"]).encoded == 1


def test_closing_a_scorer_closes_the_scorer_that_shares_its_model():
    first_scorer = late()
    second_scorer = first_scorer.with_store(MemoryEncodings(10**6))
    first_scorer.close()
    with pytest.raises(PodiumError, match="was closed during the call"):
        second_scorer.score("rank", ["red"])


@pytest.mark.parametrize(
    "options",
    [{"precision": "int8"}, {"max_length": 32}, {"encoding": "float16"}, {"pooling": 2}],
    ids=["precision", "length", "encoding", "pooling"],
)
def test_keys_change_with_options(options):
    assert late(**options).encoding_key("query") != late().encoding_key("query")
    assert late().encoding_key("query") == late(threads=1).encoding_key("query")


@NEEDS_CORE
@NEEDS_ONNX
def test_keys_change_with_the_runtime():
    assert late(runtime="native").encoding_key("query") != late(runtime="onnx").encoding_key("query")


@pytest.mark.parametrize("options", [{"encoding": "int4"}, {"pooling": 0}, {"pooling": 4}, {"pooling": True}], ids=str)
def test_wrong_option_is_refused(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        podium.load(FOLDER, **options)


@pytest.mark.parametrize("options", [{"encoding": "int8"}, {"pooling": 2}], ids=str)
def test_cross_encoder_does_not_have_the_options_of_encodings(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        podium.load(PARITY_MODELS / "bert", **options)


def test_scorer_can_be_shared_between_threads(scorer):
    assert as_scorer(scorer) is scorer
    expected = scorer.score("rank", TEXTS).raw
    different = []

    def run():
        for index in range(20):
            if scorer.score("rank", [f"{index}", *TEXTS]).raw[1:] != expected:
                different.append(index)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different


def with_number(encoding: bytes, number_format: str, offset: int, number: float) -> bytes:
    """Return an encoding in which the number at an offset is replaced."""
    damaged = bytearray(encoding)
    struct.pack_into(number_format, damaged, offset, number)
    return bytes(damaged)


def ids_offset(encoding: bytes) -> int:
    """Return the offset of the first token id in an int8 encoding with a mean: after the header and the scales."""
    return HEADER.size + 4 * (len(unpack(encoding).rows) + 1)


def without_ids(encoding: bytes) -> bytes:
    ids_start = ids_offset(encoding)
    header = with_number(encoding[:ids_start], "<I", HEADER.size - 4, 0)  # the last number of the header is that of the ids
    return header + encoding[ids_start + 4 * len(unpack(encoding).ids) :]


DAMAGE = {
    "id outside the vocabulary": lambda encoding: with_number(encoding, "<i", ids_offset(encoding), 10**6),
    "no ids": without_ids,
    "NaN": lambda encoding: with_number(encoding, "<f", HEADER.size, np.nan),
    "infinity": lambda encoding: with_number(encoding, "<f", HEADER.size, np.inf),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_stored_encoding_that_cannot_be_compared_is_computed_again(runtime, damage):
    """Checksums do not notice an encoding that was wrong when it was written."""
    intact = late(runtime=runtime)
    expected = intact.score("a query", TEXTS)
    store = MemoryEncodings(10_000_000)
    scorer = late(runtime=runtime, store=store)
    keys = [scorer.encoding_key(text) for text in TEXTS]
    encodings = {key: bytes(encoding) for key, encoding in intact.store.get(keys).items()}
    store.put(encodings | {keys[2]: damage(encodings[keys[2]])})
    for computed_count in (1, 0):  # The computed encoding replaces the damaged one.
        scores = scorer.score("a query", TEXTS)
        assert scores.raw == expected.raw
        assert scores.encoded == computed_count


def test_damaged_and_missing_encodings_of_a_call_are_counted_once(runtime):
    """The text that was missing is computed first. Then the damaged one is computed, which must not forget the first one."""
    intact = late(runtime=runtime)
    two_texts = intact.score("a query", [TEXTS[0], TEXTS[2]])
    intact.score("a query", TEXTS)
    scorer = late(runtime=runtime, store=MemoryEncodings(10_000_000))
    keys = [scorer.encoding_key(text) for text in TEXTS[1:]]
    encodings = {key: bytes(encoding) for key, encoding in intact.store.get(keys).items()}
    damaged_key = scorer.encoding_key(TEXTS[2])
    scorer.store.put(encodings | {damaged_key: DAMAGE["NaN"](encodings[damaged_key])})
    counts = []
    (scores,) = scorer.score_many(["a query"], [TEXTS], progress=counts.append)
    assert (scores.encoded, scores.total_tokens) == (2, two_texts.total_tokens)
    assert sum(counts) == len(TEXTS)


class BlockingStore(MemoryEncodings):
    """A store whose reads, once `workers` is set, keep these workers busy until `release` is set."""

    def __init__(self) -> None:
        super().__init__(10_000_000)
        self.workers = None
        self.release = threading.Event()
        self.is_blocked = threading.Event()

    def get(self, keys):
        if self.workers is not None:
            running = threading.Event()
            # With one item, the call would run on its own thread, and leave the worker free.
            work = Work([1, 1], lambda items: (running.set(), self.release.wait(10)))
            threading.Thread(target=self.workers.run, args=[work]).start()
            running.wait(60)
            self.is_blocked.set()
        return super().get(keys)


def test_comparing_many_texts_does_not_block_the_event_loop():
    """More than 256 texts are compared by the workers, which can be busy with other calls."""
    store = BlockingStore()
    scorer = late(threads=1, store=store)
    texts = [f"{word} {number}" for number, word in zip(range(300), WORDS * 300, strict=False)]
    expected = scorer.score("a", texts)
    store.workers = scorer._loaded_model.workers

    async def compare():
        task = asyncio.ensure_future(scorer.ascore("a", texts))
        while not store.is_blocked.is_set():
            await asyncio.sleep(0.005)
        await asyncio.wait({task}, timeout=0.5)
        is_waiting = not task.done()
        store.release.set()
        return is_waiting, await task

    is_waiting, scores = asyncio.run(compare())
    assert is_waiting, "the event loop was blocked until the workers had done other work"
    assert scores.raw == expected.raw
    scorer.close()
