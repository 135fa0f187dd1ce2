"""What a hosted scorer tells other scorers about itself: its identity."""

from __future__ import annotations

import pytest

from fakes import MemoryStore
from loopback import Loopback, as_json
from podium.compose.cached import CachedScorer
from podium.hosted.providers import PROVIDERS
from podium.hosted.scorer import HostedScorer


def server_with_score(score: float) -> Loopback:
    """Return a server of TEI's or of Cohere's API, by the request's fields, that gives every text this score."""
    results = [{"index": 0, "score": score, "relevance_score": score}]
    return Loopback(lambda request: as_json(results if "texts" in request.json else {"results": results}))


@pytest.mark.parametrize(("provider", "model"), [("tei", ""), ("vllm", "m"), ("cohere", "m")])
def test_cached_scores_of_one_server_are_not_used_for_another(provider, model):
    store = MemoryStore()

    def cached_score(url: str) -> tuple[float, int]:
        scores = CachedScorer(HostedScorer(provider, model, base_url=url), store).score("q", ["a"])
        return scores.values[0], scores.remembered

    with server_with_score(0.25) as server, server_with_score(0.75) as other_server:
        assert cached_score(server.url) == (0.25, 0)
        assert cached_score(other_server.url) == (0.75, 0)
        assert cached_score(server.url) == (0.25, 1)


@pytest.mark.parametrize("row", [row for row in PROVIDERS if row.url], ids=lambda row: row.name)
def test_identity_at_the_public_address_is_that_address(row):
    scorer = HostedScorer(row.name, "m", api_key="k")
    assert scorer.identity.startswith(f"{row.url}/")
    assert HostedScorer(row.name, "m", api_key="other", base_url=f"{row.url}/").identity == scorer.identity


def test_identity_has_no_login():
    scorer = HostedScorer("vllm", "m", base_url="http://user:password@127.0.0.1:9/api")
    assert scorer.identity == "http://127.0.0.1:9/api/rerank"
