"""The commands of searches."""

from __future__ import annotations

import pytest

from podium.sources.redis import replies
from podium.sources.redis.commands import CommandOptions, documents_command, text_command
from redisearch import NAME


def options_of(**weights):
    return CommandOptions(index=NAME, weights=weights, count=3, timeout_ms=10_000)


@pytest.mark.parametrize(
    ("weights", "query"),
    [
        pytest.param({"title": 1.0, "b-c": 1.0}, r"@title|b\-c:(red | apple)", id="one weight"),
        pytest.param(
            {"title": 2.0, "a": 1.0, "b": 1.0},
            "(@title:(red | apple) => { $weight: 2.0 } | @a|b:(red | apple))",
            id="two weights",
        ),
    ],
)
def test_fields_of_one_weight_are_one_union(weights, query):
    """If each field had a clause, a word in several fields would count for each of them."""
    assert text_command(options_of(**weights), ["red", "Apple"])[2] == query


@pytest.mark.recording("documents-by-key")
def test_documents_are_fetched_by_their_keys(server):
    """A search with FT.HYBRID fetches documents like this, but no server with FT.HYBRID was recorded."""
    server.load()
    keys = [f"{NAME}:d{i}" for i in (3, 0, 9)]
    reply = server.client().execute_command(*documents_command(options_of(content=1.0), keys), NEVER_DECODE=True)
    titles = {raw.key: raw.fields["title"] for raw in replies.search_documents(reply, scored=False)}
    assert titles == {f"{NAME}:d3": b"Washington", f"{NAME}:d0": b"Nevada"}
