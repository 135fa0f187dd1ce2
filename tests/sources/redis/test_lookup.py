"""IndexLookup: indexes that are replaced or still being built, and embedders that do not fit the index."""

from __future__ import annotations

import pytest

import podium
from podium.errors import SourceError
from redisearch import INFO, ONE_HIT, TEXT_FIELD, Turns, answering, embed, ids_of, other_embed, source_at
from resp import FakeRedis

OTHER_FIELDS = INFO | {"attributes": [TEXT_FIELD | {"identifier": "body", "attribute": "body"}]}


def test_index_is_described_again_after_an_error():
    replies = {"FT.INFO": Turns([OTHER_FIELDS, INFO]), "FT.SEARCH": ONE_HIT}
    with FakeRedis(answering(replies)) as fake, source_at(fake.url) as source:
        with pytest.raises(SourceError, match="text field 'content'"):
            source.search("red", 5)
        assert ids_of(source.search("red", 5)) == ["k:1"]


def test_index_is_described_again_if_results_are_missing():
    """Results can be missing because the index was replaced by one with other fields after it was described."""
    replies = {"FT.INFO": Turns([INFO, OTHER_FIELDS]), "FT.SEARCH": Turns([ONE_HIT, [0]])}
    with FakeRedis(answering(replies)) as fake, source_at(fake.url) as source:
        assert ids_of(source.search("red", 1)) == ["k:1"]
        with pytest.raises(SourceError, match="text field 'content'"):
            source.search("red", 1)


def test_ranking_has_a_note_while_the_index_is_built(mini):
    building = INFO | {"indexing": 1, "percent_indexed": "0.25"}
    note = "index 'podium-test' is still being built (25% done): documents may be missing"
    replies = {"FT.INFO": Turns([building, INFO]), "FT.SEARCH": ONE_HIT}
    with FakeRedis(answering(replies)) as fake, source_at(fake.url) as source:
        search = podium.Search(source, mini)
        assert note in search.search("red").notes
        assert note not in search.search("red").notes


@pytest.mark.recording("other-embedder")
def test_another_embedder_is_refused(server):
    server.load()
    with pytest.raises(SourceError, match="was made with another embedder"):
        server.index(embed=other_embed).prepare(1)
    for mode in ("vector", "hybrid"):
        source = server.source(embed=other_embed, mode=mode)
        for _ in range(2):
            with pytest.raises(SourceError, match="was made with another embedder"):
                source.search("capital", 3)
        assert source.search("capital", 1, mode="text")


def test_user_without_permission_to_read_the_description_can_search():
    replies = {"FT.INFO": INFO, "GET": Exception("NOPERM no permission to access a key"), "FT.SEARCH": [0]}
    with FakeRedis(answering(replies)) as fake, source_at(fake.url, embed=embed, mode="vector") as source:
        assert "may not GET 'podium-test:.podium'" in source.search("red", 1).notes[0]
