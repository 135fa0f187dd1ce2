"""Instructions of a call: they reach the models that read them, through every composition, and other models refuse them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

import podium
from fakes import is_on_event_loop
from podium.compose.cached import CachedScorer
from podium.compose.cascade import Cascade
from podium.compose.fallback import Fallback
from podium.compose.passages import Passages
from podium.compose.stores.memory import MemoryScores
from podium.errors import InvalidInput
from podium.inputs import checked_instruction
from podium.scorers import BaseScorer
from podium.types import ScoreKind, Scores
from serving import ServerThread

DOCUMENTS = ["a long river", "a sea", "a small river with fish"]


class Instructed(BaseScorer):
    """Scores a text by the words that it has in common with the query, or with the instruction."""

    score_kind: ScoreKind = "logit"
    model = "instructed"

    def __init__(self, instruction: str | None = None) -> None:
        self.instruction = instruction
        self.calls = 0

    @property
    def identity(self) -> str:
        return f"instruction {self.instruction}"

    @property
    def reads_instructions(self) -> bool:
        return True

    def with_instruction(self, instruction: str) -> Instructed:
        return Instructed(instruction)

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.calls += 1
        words = set((self.instruction or query).split())
        return Scores([float(len(words & set(text.split()))) for text in texts])


class Plain(Instructed):
    """A model that does not read instructions."""

    model = "plain"
    reads_instructions = False
    with_instruction = BaseScorer.with_instruction


@pytest.fixture
def reranker():
    return podium.Reranker(Instructed())


def best(ranking):
    return ranking[0].document


def test_every_method_passes_the_instruction(reranker):
    fish = {"instruction": "small fish"}
    assert best(reranker.rerank("sea", DOCUMENTS)) == "a sea"
    assert best(reranker.rerank("sea", DOCUMENTS, **fish)) == DOCUMENTS[2]
    assert reranker.rank("sea", DOCUMENTS, limit=1, **fish)[0] == [DOCUMENTS[2]]
    assert best(reranker.rerank_many(["sea"], [DOCUMENTS], **fish)[0]) == DOCUMENTS[2]
    assert asyncio.run(reranker.arank("sea", DOCUMENTS, limit=1, **fish))[0] == [DOCUMENTS[2]]
    assert best(asyncio.run(reranker.arerank("sea", DOCUMENTS, **fish))) == DOCUMENTS[2]
    assert best(reranker.with_instruction("small fish").rerank("sea", DOCUMENTS)) == DOCUMENTS[2]


def test_instruction_is_that_of_one_call_only(reranker):
    reranker.rerank("sea", DOCUMENTS, instruction="small fish")
    assert best(reranker.rerank("sea", DOCUMENTS)) == "a sea"


def test_other_arguments_of_the_call_still_apply(reranker):
    ranking = reranker.rerank("sea", DOCUMENTS, instruction="small fish", limit=1, max_tokens=1000)
    assert [result.document for result in ranking] == [DOCUMENTS[2]]


@pytest.mark.parametrize(
    "compose",
    [
        lambda scorer: Passages(scorer, size=100),
        lambda scorer: Fallback(scorer),
        lambda scorer: Cascade(Plain(), scorer, keep=3),
        lambda scorer: Cascade(scorer, Plain(), keep=1),
    ],
    ids=["Passages", "Fallback", "strong scorer of a Cascade", "cheap scorer of a Cascade"],
)
def test_compositions_pass_the_instruction(compose):
    reranker = podium.Reranker(compose(Instructed()))
    assert best(reranker.rerank("a", DOCUMENTS, instruction="small fish")) == DOCUMENTS[2]


def test_cached_scores_are_those_of_the_instruction():
    """The key of a score has the instruction, and both rerankers use the same store."""
    store = MemoryScores()
    reranker = podium.Reranker(CachedScorer(Instructed(), store))
    without = reranker.rerank("sea", DOCUMENTS)
    first = reranker.rerank("sea", DOCUMENTS, instruction="small fish")
    again = reranker.rerank("sea", DOCUMENTS, instruction="small fish")
    assert (best(without), best(first), best(again)) == ("a sea", DOCUMENTS[2], DOCUMENTS[2])
    assert (without.usage.remembered, first.usage.remembered, again.usage.remembered) == (0, 0, 3)


@pytest.mark.parametrize(
    "scorer",
    [Plain(), Fallback(Plain()), Passages(Plain(), size=100), Cascade(Plain(), Plain(), keep=1)],
    ids=["model", "Fallback", "Passages", "Cascade"],
)
def test_model_that_does_not_read_instructions_refuses_them(scorer):
    reranker = podium.Reranker(scorer)
    with pytest.raises(InvalidInput, match=r"instruction is for models that read one, .*; leave it out"):
        reranker.rerank("sea", DOCUMENTS, instruction="small fish")


def test_scorer_of_a_user_refuses_instructions():
    class Length:
        model = "length"
        revision = None
        score_kind = "logit"

        def score(self, query, texts):
            return Scores([float(len(text)) for text in texts])

    with pytest.raises(InvalidInput, match="and length does not; leave it out"):
        podium.Reranker(Length()).rerank("sea", DOCUMENTS, instruction="small fish")


def test_bundled_model_refuses_instructions(mini):
    with pytest.raises(InvalidInput, match="and podium-mini does not; leave it out"):
        mini.rerank("sea", DOCUMENTS, instruction="small fish")
    with pytest.raises(InvalidInput, match=r"podium-mini does not read instructions.* instruction; leave it out"):
        podium.load("podium-mini", instruction="small fish")


def test_hosted_model_refuses_instructions():
    with pytest.raises(InvalidInput, match=r"cohere is a hosted API and does not have the option instruction; leave it out"):
        podium.load("cohere:rerank-v3.5", api_key="k", instruction="small fish")


def test_configuration_file_may_have_and_get_an_instruction(tmp_path):
    file = tmp_path / "stack.toml"
    file.write_text('[reranker]\nmodel = "podium-mini"\ninstruction = "small fish"\n')
    with pytest.raises(InvalidInput, match=r"does not read instructions.* instruction; leave it out"):
        podium.load(file.as_posix())
    file.write_text('reranker = "podium-mini"\n')
    with pytest.raises(InvalidInput, match="and podium-mini does not; leave it out"):
        podium.load(file.as_posix(), instruction="small fish")


class LoopWatcher(Instructed):
    """Records whether each instruction was prepared on an event loop."""

    def __init__(self):
        super().__init__()
        self.was_on_loop = []

    def with_instruction(self, instruction):
        self.was_on_loop.append(is_on_event_loop())
        return super().with_instruction(instruction)


def test_asynchronous_calls_do_not_prepare_an_instruction_on_the_event_loop():
    """A language model tokenises it."""
    scorer = LoopWatcher()
    reranker = podium.Reranker(scorer)
    asyncio.run(reranker.arerank("sea", DOCUMENTS, instruction="small fish"))
    asyncio.run(reranker.arank("sea", DOCUMENTS, instruction="small fish"))
    with ServerThread(rerankers={"watcher": reranker}) as server:
        reply = server.post("/rank", {"query": "sea", "documents": DOCUMENTS, "instruction": "small fish"})
    assert reply.status_code == 200
    assert scorer.was_on_loop == [False, False, False]


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (5, "must be a string, not a int"),
        ("a" * 4001, "has 4,001 characters, more than 4,000; shorten it"),
    ],
    ids=["empty", "blank", "number", "long"],
)
def test_instruction_must_be_text(reranker, instruction, message):
    with pytest.raises(InvalidInput, match=message):
        reranker.rerank("sea", DOCUMENTS, instruction=instruction)


def test_instruction_is_not_changed():
    assert checked_instruction(" Prefer rivers ") == " Prefer rivers "


def test_reranker_without_instruction_is_itself(reranker):
    assert reranker.with_instruction(None) is reranker
