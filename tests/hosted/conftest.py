"""Fixtures of the tests of hosted rerankers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

import podium
from contracts import CONTRACTS, Contract
from loopback import Loopback, as_json


@pytest.fixture(params=CONTRACTS, ids=lambda contract: contract.provider)
def contract(request: pytest.FixtureRequest) -> Contract:
    return request.param


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server on loopback. A test sets its `answer`."""
    with Loopback(lambda request: as_json({})) as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def rerank(request: pytest.FixtureRequest) -> Callable[[podium.Reranker, str, list[str]], podium.Ranking]:
    """A function that reranks and then closes the reranker, with blocking calls or on an event loop."""

    def rerank_with_threads(reranker: podium.Reranker, query: str, docs: list[str]) -> podium.Ranking:
        with reranker:
            return reranker.rerank(query, docs)

    async def arerank(reranker: podium.Reranker, query: str, docs: list[str]) -> podium.Ranking:
        async with reranker:
            return await reranker.arerank(query, docs)

    def rerank_on_event_loop(reranker: podium.Reranker, query: str, docs: list[str]) -> podium.Ranking:
        return asyncio.run(arerank(reranker, query, docs))

    return rerank_with_threads if request.param == "sync" else rerank_on_event_loop
