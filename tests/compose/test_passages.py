"""Passages: long documents are read completely, the best window decides, and its position is that in the document's text."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loopback
import podium
from environment import NEEDS_CORE, PARITY_MODELS
from fakes import FunctionScorer, MemoryStore, Reader, WordTokens, is_on_event_loop
from loopback import Loopback
from podium.compose.cached import CachedScorer
from podium.compose.cascade import Cascade
from podium.compose.fallback import Fallback
from podium.compose.passages import Passages
from podium.errors import InvalidInput, ProviderUnavailable
from podium.hosted.scorer import HostedScorer
from podium.texts import Texts, documents_of
from podium.types import Scores

QUERY = "red fruit"
SEA = "The sea is blue at night. "
FRUIT = "An apple is a red fruit indeed. "
LONG = SEA * 10 + FRUIT + SEA * 10
LIMIT = 22  # words of the query and a text; 20 of the text


@pytest.fixture(scope="module", params=["podium-mini", "bert", "ettin", "xlm-roberta-bfloat16", "pylate-bert"])
def local(request):
    """Models with each kind of tokenizer: WordPiece, byte-level BPE, SentencePiece; pairs and late interaction."""
    if request.param == "podium-mini":
        reranker = podium.load("podium-mini", keep=0)
    elif request.param == "pylate-bert":
        reranker = podium.load(PARITY_MODELS / "late-interaction" / request.param, max_length=32, keep=0)
    else:
        reranker = podium.load(PARITY_MODELS / request.param, max_length=40)
    with reranker:
        yield reranker


def test_best_window_decides_and_its_position_is_in_the_text(rerank):
    reranker = podium.Reranker(Passages(Reader(LIMIT), overlap=0))
    ranking = rerank(reranker, QUERY, ["short", LONG, SEA * 20])
    assert [result.index for result in ranking] == [1, 0, 2]
    passage = ranking[0].passage
    assert FRUIT.strip() in passage.text
    assert passage.text == LONG[passage.start : passage.end]
    assert passage.score == ranking[0].score == Reader(LIMIT).score(QUERY, [passage.text]).values[0]
    assert ranking[1].passage is None
    assert [result.dropped_tokens for result in ranking] == [0, 0, 0]
    assert [result.tokens for result in ranking] == [len(LONG.split()), 1, 120]
    assert ranking.notes == ("2 of 3 documents were read in passages, 14 in all",)
    assert ranking.usage.truncated == 0
    assert ranking.model == "reader"


WORDS = st.sampled_from(["red", "fruit", "unaffable", "東京", "é", "sea.", "night!", "\n", "x" * 50, "12.5", "\U0001f34e"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(WORDS, min_size=1, max_size=150).map(" ".join).filter(str.strip), min_size=1, max_size=3))
def test_no_token_is_left_unread(local, texts):
    ranking = podium.Reranker(Passages(local)).rerank("a red fruit", texts)
    assert sorted(result.index for result in ranking) == list(range(len(texts)))
    assert [result.dropped_tokens for result in ranking] == [0] * len(texts)
    for result in ranking:
        if result.passage:
            assert result.passage.text == texts[result.index][result.passage.start : result.passage.end]
            assert result.passage.text.strip() == result.passage.text


def test_passage_has_the_score_of_its_text_alone(local):
    text = " ".join(f"Sentence number {number} is about the sea." for number in range(60)) * 3
    ranking = podium.Reranker(Passages(local)).rerank("number seven", [text])
    passage = ranking[0].passage
    assert passage is not None
    assert local.score("number seven", [passage.text])[0] == pytest.approx(ranking[0].score, abs=1e-6)


def test_short_documents_have_the_same_ranking_as_without_passages(local):
    texts = ["a red fruit", "the sea at night", "", "red"]
    plain = local.rerank("fruit", texts)
    ranking = podium.Reranker(Passages(local)).rerank("fruit", texts)
    assert list(ranking) == list(plain)
    assert ranking.notes == plain.notes


def test_blocking_and_asynchronous_calls_and_many_queries_have_equal_results(local):
    reranker = podium.Reranker(Passages(local))
    texts = [LONG, "short", SEA * 30]
    queries = ["red fruit", "night", "a very long query " * 20]
    many = reranker.rerank_many(queries, [texts] * 3)
    for query, ranking in zip(queries, many, strict=True):
        assert list(reranker.rerank(query, texts)) == list(ranking)
        assert list(asyncio.run(reranker.arerank(query, texts))) == list(ranking)


def test_title_is_put_before_each_window_that_does_not_contain_it():
    reader = Reader(LIMIT)
    documents = [
        {"title": "Apples", "text": "Red ones. " + SEA * 8},
        {"title": "Sea", "text": "The Sea is here. It is " + "blue " * 30},
        {"text": "none"},
        "a string",
    ]
    reranker = podium.Reranker(Passages(reader, title="title", overlap=0))
    ranking = reranker.rerank(QUERY, documents)
    (texts,) = reader.calls
    apples = [text for text in texts if text.startswith("Apples\n\n")]
    assert len(apples) == 3
    assert [text.startswith("Sea\n\n") for text in texts if "blue blue" in text or "is here" in text] == [False, True, True]
    assert texts[-2:] == ["none", "a string"]
    assert all(len(text.split()) <= 20 for text in texts)
    by_index = {result.index: result for result in ranking}
    assert by_index[0].passage.text.startswith("Red ones.")
    assert [by_index[index].dropped_tokens for index in range(4)] == [0] * 4


def test_long_title_is_cut_to_a_quarter_of_the_window():
    reader = Reader(LIMIT)
    podium.Reranker(Passages(reader, title="title")).rerank(QUERY, [{"title": "word " * 50, "text": SEA * 5}])
    assert all(text.startswith("word word word word\n\nThe") for text in reader.calls[0])
    assert all(len(text.split()) <= 20 for text in reader.calls[0])


def test_title_of_a_document_can_change_its_score():
    documents = [{"title": "fruit", "text": "red"}, {"title": "sea", "text": "red"}]
    ranking = podium.Reranker(Passages(Reader(LIMIT), title="title")).rerank(QUERY, documents)
    assert [result.score for result in ranking] == [1.0, 0.5]
    with pytest.raises(InvalidInput, match="reads other fields of a document"):
        CachedScorer(Passages(Reader(LIMIT), title="title"), MemoryStore())


def test_windows_have_the_documents_that_they_come_from():
    received = []

    class DocumentReader(Reader):
        def score(self, query, texts):
            received.append(list(documents_of(texts)))
            return super().score(query, texts)

    documents = [{"text": SEA * 8}, {"text": "short"}]
    podium.Reranker(Passages(DocumentReader(LIMIT), overlap=0)).rerank(QUERY, documents)
    assert received == [[documents[0]] * 3 + [documents[1]]]


def test_scores_of_strings_without_documents_have_no_titles():
    scorer = Passages(Reader(LIMIT), title="title")
    assert scorer.score(QUERY, ["red", "fruit"]).values == [1.0, 1.0]
    assert scorer.score(QUERY, Texts(["red"], [{"title": "sea"}])).values == [0.5]


def test_mean_of_the_best_windows():
    scorer = Passages(Reader(10), size=None, overlap=0, aggregate="mean_top_k", top_k=2)
    text = "red red red red fruit x x x. " + "red red x x x x x x. " + "red x x x x x x x. "
    scores = scorer.score(QUERY, [text, "red"])
    assert scores.values == [pytest.approx((5 / 8 + 2 / 8) / 2), 1.0]
    assert scores.raw is None
    assert scores.passages[0].score == 5 / 8


def test_mean_of_scores_whose_sum_exceeds_a_float():
    highest = FunctionScorer(lambda texts: Scores([1.7e308] * len(texts)))
    passages = Passages(highest, size=20, aggregate="mean_top_k")
    assert passages.score(QUERY, [LONG]).values == [pytest.approx(1.7e308)]


def test_first_window_is_the_only_one_that_is_read():
    reader = Reader(LIMIT)
    ranking = podium.Reranker(Passages(reader, aggregate="first")).rerank(QUERY, [LONG, SEA])
    assert len(reader.calls[0]) == 2
    by_index = {result.index: result for result in ranking}
    assert by_index[0].passage.start == 0
    assert by_index[0].tokens + by_index[0].dropped_tokens == len(LONG.split())
    assert by_index[0].tokens == len(by_index[0].passage.text.split())
    assert ranking.usage.truncated == 1


def test_limit_of_windows_is_reported():
    ranking = podium.Reranker(Passages(Reader(LIMIT), max_passages=2, overlap=0)).rerank(QUERY, [SEA * 20])
    assert (ranking[0].tokens, ranking[0].dropped_tokens) == (36, 84)
    assert any("longer than the model reads" in note for note in ranking.notes)


def test_tokens_in_two_windows_count_once():
    reader = Reader(LIMIT)
    ranking = podium.Reranker(Passages(reader, overlap=6)).rerank(QUERY, [SEA * 20])
    assert sum(len(text.split()) for text in reader.calls[0]) > 120
    assert (ranking[0].tokens, ranking[0].dropped_tokens) == (120, 0)


def test_window_that_the_model_does_not_read_completely_is_divided_again(score):
    """The model reads half of what its tokenizer promises."""
    reader = Reader(12, believed_limit=LIMIT)
    scores = score(Passages(reader, overlap=0), QUERY, [LONG, "red"])
    assert scores.dropped_tokens == [0, 0]
    assert scores.tokens == [len(LONG.split()), 1]
    assert len(reader.calls) > 1
    passage = scores.passages[0]
    assert len(LONG[passage.start : passage.end].split()) <= 10


def test_windows_that_are_never_read_completely_are_reported():
    """The model drops a token of every text, however short. The call ends, and no document is lost."""

    class ForgetfulReader(Reader):
        def score(self, query, texts):
            return dataclasses.replace(super().score(query, texts), dropped_tokens=[1] * len(texts))

    ranking = podium.Reranker(Passages(ForgetfulReader(LIMIT), overlap=0)).rerank(QUERY, [LONG, "red"])
    assert sorted(result.index for result in ranking) == [0, 1]
    assert all(result.dropped_tokens > 0 for result in ranking)


@pytest.mark.parametrize("overlap", [0, 6, 9])
@pytest.mark.parametrize("limit", [12, 15, 19])
def test_dropped_tokens_in_two_windows_count_once(limit, overlap):
    """The windows are larger than the model reads, and are not divided again because their number is limited."""
    words = [f"Word{number}{'.' * (number % 3 == 0)}" for number in range(60)]
    reader = Reader(limit, believed_limit=LIMIT)
    (result,) = podium.Reranker(Passages(reader, overlap=overlap, max_passages=50)).rerank(QUERY, [" ".join(words)])
    read = {word for text in reader.calls[0] for word in text.split()[: limit - len(QUERY.split())]}
    assert (result.tokens, result.dropped_tokens) == (len(read), 60 - len(read))
    assert max(len(text.split()) for text in reader.calls[0]) > limit - len(QUERY.split())


def test_query_that_leaves_no_room_for_a_text_is_noted(rerank):
    """The texts are read once, as without passages."""
    reader = Reader(LIMIT)
    query = "red " * LIMIT
    ranking = rerank(podium.Reranker(Passages(reader)), query, [LONG, SEA])
    assert [list(call) for call in reader.calls] == [[LONG, SEA]]
    assert [(result.tokens, result.passage) for result in ranking] == [(0, None), (0, None)]
    assert sum(result.dropped_tokens for result in ranking) == len(LONG.split()) + len(SEA.split())
    assert "the query leaves too few tokens for passages, so documents were not divided; shorten the query" in ranking.notes
    assert not any("no token that the model knows" in note for note in ranking.notes)


def test_asynchronous_calls_do_not_tokenise_a_query_on_the_event_loop():
    class LoopWatcher(WordTokens):
        was_on_loop = ()

        def text_limit(self, query):
            self.was_on_loop += (is_on_event_loop(),)
            return super().text_limit(query)

    class Watched(Reader):
        token_counter = LoopWatcher(LIMIT)

    ranking = asyncio.run(podium.Reranker(Passages(Watched(LIMIT))).arerank(QUERY, [LONG]))
    assert ranking[0].passage is not None
    assert Watched.token_counter.was_on_loop == (False,)


def test_size_is_limited_by_what_the_model_reads():
    reader = Reader(LIMIT)
    podium.Reranker(Passages(reader, size=1000)).rerank(QUERY, [LONG])
    assert max(len(text.split()) for text in reader.calls[0]) <= 20
    podium.Reranker(Passages(reader, size=16)).rerank(QUERY, [LONG])
    assert max(len(text.split()) for text in reader.calls[1]) <= 16


def test_hosted_model_needs_a_size(rerank):
    with Loopback(loopback.cohere) as server:
        hosted = HostedScorer("cohere", "m", base_url=server.url, api_key="k")
        with pytest.raises(InvalidInput, match=r"the tokenizer of cohere:m is not on this machine.*set size"):
            Passages(hosted)
        with podium.Reranker(Passages(hosted, size=50)) as reranker:
            ranking = rerank(reranker, QUERY, [LONG, "short"])
        (request,) = server.requests
    assert all(len(text) <= 150 for text in request.json["documents"])
    assert "red fruit" in ranking[0].passage.text
    assert [result.tokens for result in ranking] == [None, None]
    assert [result.dropped_tokens for result in ranking] == [None, None]


class WaitingCounter(WordTokens):
    """A counter that waits until it may continue. `group_sizes` has the number of texts of each call."""

    def __init__(self, limit):
        super().__init__(limit)
        self.group_sizes = []
        self.began, self.may_continue = threading.Event(), threading.Event()

    def token_counts(self, texts):
        self.group_sizes.append(len(texts))
        self.began.set()
        assert self.may_continue.wait(120)
        return super().token_counts(texts)


class WaitingReader(Reader):
    def __init__(self):
        super().__init__(LIMIT)
        self.waiting_counter = WaitingCounter(LIMIT)

    @property
    def token_counter(self):
        return self.waiting_counter


def test_cancelled_call_tokenises_no_further_group():
    """A group has at most 200,000 characters, so that it ends soon."""
    scorer = WaitingReader()
    counter = scorer.waiting_counter

    async def call_and_cancel():
        texts = [f"{number} {SEA * 5_000}" for number in range(4)]  # 135,000 characters each
        call = asyncio.ensure_future(Passages(scorer, max_passages=2).ascore(QUERY, texts))
        assert await asyncio.to_thread(counter.began.wait, 120)
        call.cancel()
        counter.may_continue.set()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(call_and_cancel())
    assert counter.group_sizes == [1]
    assert scorer.calls == []


def test_limit_of_windows_of_a_hosted_model_is_an_estimate():
    with Loopback(loopback.cohere) as server:
        hosted = HostedScorer("cohere", "m", base_url=server.url, api_key="k")
        with podium.Reranker(Passages(hosted, size=50, max_passages=1, overlap=0)) as reranker:
            ranking = reranker.rerank(QUERY, [SEA * 20])
    assert (ranking[0].tokens, ranking[0].dropped_tokens) == (None, 174 - 44)


def test_texts_of_all_queries_are_scheduled_together():
    calls = []

    class ManyReader(Reader):
        def score_many(self, queries, texts_per_query, *, progress=None):
            calls.append([len(texts) for texts in texts_per_query])
            return super().score_many(queries, texts_per_query, progress=progress)

    counts = []
    scorer = Passages(ManyReader(LIMIT), overlap=0)
    scores = scorer.score_many(["a b", "c", "d e"], [[SEA * 8, "x"], [], [SEA * 20]], progress=counts.append)
    assert calls == [[4, 7]]
    assert sum(counts) == 3
    assert [len(query_scores.values) for query_scores in scores] == [2, 0, 1]


def test_best_window_is_in_the_best_tier():
    """A cascade scores only some of the windows with its strong scorer, whose scores are lower here."""
    strong = FunctionScorer(lambda texts: Scores([0.01] * len(texts)))
    ranking = podium.Reranker(Passages(Cascade(Reader(LIMIT), strong, keep=1), overlap=0)).rerank(QUERY, [SEA * 20, LONG, SEA])
    assert (ranking[0].index, ranking[0].scored_by, ranking[0].score) == (1, "function", 0.01)
    assert FRUIT.strip() in ranking[0].passage.text
    assert sorted(result.index for result in ranking) == [0, 1, 2]


def test_document_without_a_scored_window_has_no_score():
    def fail(texts):
        raise ProviderUnavailable("down")

    scorer = Passages(Fallback(FunctionScorer(fail)), size=16)
    ranking = podium.Reranker(scorer).rerank(QUERY, [LONG, "short"])
    assert [result.index for result in ranking] == [0, 1]
    assert all(math.isnan(result.score) and result.passage is None for result in ranking)
    assert ranking.reasons == ("function failed (ProviderUnavailable: down)",)


INVALID_OPTIONS = {
    "size 0": ({"size": 0}, "size must be a positive whole number"),
    "small size": ({"size": 5}, "size must be at least 16 tokens"),
    "overlap": ({"overlap": -1}, "overlap must be a number of tokens from 0"),
    "title": ({"title": ["title"]}, "title must be the name of a field"),
    "aggregate": ({"aggregate": "mean"}, "aggregate must be 'max', 'mean_top_k' or 'first'"),
    "top_k": ({"top_k": None}, "top_k must be a positive whole number"),
    "max_passages": ({"max_passages": 0}, "max_passages must be a positive whole number"),
}


@pytest.mark.parametrize(("options", "message"), INVALID_OPTIONS.values(), ids=INVALID_OPTIONS)
def test_invalid_option_is_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        Passages(Reader(LIMIT), **options)


def test_identity_depends_on_every_option():
    options = [{}, {"size": 20}, {"overlap": 0}, {"title": "t"}, {"aggregate": "first"}, {"top_k": 5}, {"max_passages": 2}]
    assert len({Passages(Reader(LIMIT), **option).identity for option in options}) == len(options)


def test_title_that_no_document_has_is_noted():
    documents = [{"title": "Fruit", "text": LONG}, {"title": "Sea", "text": SEA}]
    noted = podium.Reranker(Passages(Reader(40), size=20, title="titel")).rerank(QUERY, documents)
    assert "no document has the field 'titel', so passages have no title; did you mean 'title'?" in noted.notes
    for title in ("title", None):
        ranking = podium.Reranker(Passages(Reader(40), size=20, title=title)).rerank(QUERY, documents)
        assert not any("no document has" in note for note in ranking.notes)
    one_has_it = podium.Reranker(Passages(Reader(40), size=20, title="titel")).rerank(QUERY, [{"titel": "a", "text": SEA}, SEA])
    assert not any("no document has" in note for note in one_has_it.notes)


def test_overlap_is_below_the_size():
    with pytest.raises(InvalidInput, match="overlap must be below size, 64 tokens, not 64"):
        Passages(Reader(100), size=64, overlap=64)


@NEEDS_CORE
@pytest.mark.parametrize("count", [10, 225, 300], ids=["short query", "long query", "query without room"])
def test_tokens_of_a_language_model_are_those_that_it_reads(count):
    with podium.load(PARITY_MODELS / "prompts" / "Qwen3-Reranker-0.6B", max_length=400) as reranker:
        scores = Passages(reranker).score("red " * count, ["red apple list. " * 100, "red"])
        counter = reranker.scorer.token_counter
        assert [sum(pair) for pair in zip(scores.tokens, scores.dropped_tokens, strict=True)] == counter.token_counts(
            [" " + "red apple list. " * 100, " red"]
        )
        is_readable = count < 300
        assert [bool(number) for number in scores.tokens] == [is_readable, is_readable]
        assert [bool(number) for number in scores.dropped_tokens] == [not is_readable] * 2
