"""podium-mini with stored encodings: its scores are the same to the last bit, wherever the encodings are stored."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import podium
from environment import PARITY_MODELS
from podium.errors import InvalidInput
from redis_server import NEEDS_REDIS, running_redis
from serving import ServerProcess

TEXTS = [
    "a ripe red apple",
    "the sea at night",
    "Carson City is the capital city of Nevada.",
    "red, red, red",
    "a ripe red apple",
]
"""Five texts, of which four are different."""
QUERY = "a red fruit"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis."""
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The scores of TEXTS without a store."""
    return podium.load("podium-mini", keep=0).score(QUERY, TEXTS)


def check_shared(keep: str | Path, expected: list[float]) -> None:
    """Check that a second reranker uses the encodings that the first one stored."""
    first = podium.load("podium-mini", keep=keep)
    second = podium.load("podium-mini", keep=keep)
    for reranker, encoded_count in ((first, 4), (first, 0), (second, 0)):
        ranking = reranker.rerank(QUERY, TEXTS)
        assert ranking.usage.encoded == encoded_count
        assert [result.score for result in sorted(ranking, key=lambda result: result.index)] == expected


def test_rerankers_share_a_folder(tmp_path, expected):
    check_shared(tmp_path / "encodings", expected)


@NEEDS_REDIS
def test_rerankers_share_a_redis(url, expected):
    check_shared(url, expected)


def test_encodings_are_stored_in_memory_by_default(expected):
    reranker = podium.load("podium-mini")
    assert reranker.rerank_many([QUERY, "sea"], [TEXTS, TEXTS])[0].usage.encoded == 4
    assert reranker.rerank(QUERY, TEXTS[:2]).usage.encoded == 0
    assert reranker.score(QUERY, TEXTS) == expected


def test_without_memory_texts_are_encoded_again(expected):
    reranker = podium.load("podium-mini", keep=0)
    assert [reranker.rerank(QUERY, TEXTS).usage.encoded for _ in range(2)] == [4, 4]


def test_redis_that_is_down_changes_no_score(expected):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reranker = podium.load("podium-mini", keep=f"redis://127.0.0.1:{unused.getsockname()[1]}")
        assert reranker.score(QUERY, TEXTS) == expected


@pytest.mark.parametrize(
    "options", [{"encoding": "float16"}, {"pooling": 2}, {"precision": "float32"}, {"max_length": 3}], ids=str
)
def test_options_that_change_encodings_do_not_share_them(tmp_path, options):
    podium.load("podium-mini", keep=tmp_path, precision="int8").score(QUERY, TEXTS)
    other = podium.load("podium-mini", keep=tmp_path, **{"precision": "int8"} | options)
    assert other.rerank(QUERY, TEXTS).usage.encoded == 4


def test_search_in_a_folder_encodes_nothing(tmp_path):
    reranker = podium.load("podium-mini")
    index = podium.EmbeddedIndex.create(tmp_path / "index", text=["title", "body"])
    index.add([{"title": f"Part {number}", "body": text} for number, text in enumerate(TEXTS)], keep=reranker)
    without_store = podium.load("podium-mini", keep=0)
    stored = podium.Search(podium.EmbeddedIndex.open(tmp_path / "index"), without_store).search("a ripe red part")
    assert stored.usage.encoded == 0
    computed = without_store.rerank("a ripe red part", [result.document for result in stored], rank_by=["title", "body"])
    assert computed.usage.encoded > 0
    assert [result.score for result in computed] == [result.score for result in stored]


def test_cross_encoder_and_hosted_model_refuse_keep():
    with pytest.raises(InvalidInput, match=r"is a cross-encoder, which stores nothing.*keep"):
        podium.load(PARITY_MODELS / "bert", keep=0)
    with pytest.raises(InvalidInput, match="is a hosted API and does not have the option keep"):
        podium.load("cohere:m", api_key="k", keep=0)


@pytest.mark.parametrize("keep", [-1, 1.5, "http://host"], ids=repr)
def test_invalid_keep_is_refused(keep):
    with pytest.raises(InvalidInput, match="keep"):
        podium.load("podium-mini", keep=keep)


def test_reranker_with_a_folder_can_be_pickled(tmp_path, expected):
    reranker = pickle.loads(pickle.dumps(podium.load("podium-mini", keep=tmp_path)))
    assert reranker.score(QUERY, TEXTS) == expected
    assert list(tmp_path.glob("*.data"))


def test_reranker_with_a_password_is_not_pickled():
    with pytest.raises(InvalidInput, match=r"secret \(keep\)"):
        pickle.dumps(podium.load("podium-mini", keep="redis://user:secret@127.0.0.1:1"))


def test_server_encodes_a_text_once(tmp_path):
    with ServerProcess("--keep", str(tmp_path / "encodings")) as server:
        bodies = [{"query": query, "documents": TEXTS} for query in (QUERY, "the sea")]
        replies = [server.client.post("/v2/rerank", json=body).json() for body in bodies]
        assert [len(reply["results"]) for reply in replies] == [5, 5]
    assert podium.load("podium-mini", keep=tmp_path / "encodings").rerank(QUERY, TEXTS).usage.encoded == 0
