"""Administration of indexes on Redis: list them, delete documents from them, drop them."""

from __future__ import annotations

import pytest

from podium.errors import SourceError
from podium.sources.encodings import KeptModel
from podium.sources.redis import admin
from podium.sources.redis.description import Description
from redisearch import INFO, LEASE, NAME, Turns, answering
from resp import FakeRedis


@pytest.mark.recording("admin")
def test_indexes_are_listed_documents_deleted_and_indexes_dropped(server):
    server.load()
    assert (NAME, "5") in [(name, count) for name, count, _ in admin.indexes(server.url)]
    ((_, _, fields),) = admin.indexes(server.url, NAME)
    assert fields.startswith("content (TEXT), title (TEXT), kind (TAG)")
    assert admin.delete(server.url, NAME, ["d0", "d1", "none"]) == 2  # "none" is not the id of a document
    assert admin.drop(server.url, NAME) == 3
    assert not list(server.client().scan_iter(f"{NAME}*"))
    with pytest.raises(SourceError, match=f"there is no index '{NAME}'"):
        admin.drop(server.url, NAME)


@pytest.mark.recording("delete")
def test_only_documents_of_the_index_are_deleted(server):
    server.load()
    client = server.client()
    client.rpush(f"{NAME}:jobs", "a")
    client.set(f"{NAME}:counter", 5)
    client.hset(f"{NAME}-other:1", mapping={"content": "of no index"})
    client.execute_command("FT.CREATE", f"{NAME}-all", "SKIPINITIALSCAN", "SCHEMA", "content", "TEXT")
    assert admin.delete(server.url, NAME, ["d0", "d0", "jobs", "counter", ".podium", "none"]) == 1
    assert admin.delete(server.url, f"{NAME}-all", [f"{NAME}:jobs", f"{NAME}:counter"]) == 0
    # All of these keys but the first still exist.
    assert client.exists(f"{NAME}:d0", f"{NAME}:jobs", f"{NAME}:counter", f"{NAME}:.podium", f"{NAME}-other:1") == 4


def test_many_documents_are_deleted_in_batches():
    """One search for all of them could take longer than the server allows."""
    batches = Turns([{"results": [{"id": f"{NAME}:{number}"}], "total_results": 1} for number in (0, 1000, 2000)])
    with FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": batches})) as fake:
        assert admin.delete(fake.url, NAME, [str(number) for number in range(2500)]) == 3
    searches = [words for words in fake.commands if words[0] == "FT.SEARCH"]
    assert [words[words.index("INKEYS") + 1] for words in searches] == ["1000", "1000", "500"]
    assert [words[1] for words in fake.commands if words[0] == "DEL"] == [f"{NAME}:{number}" for number in (0, 1000, 2000)]


def test_nothing_is_deleted_if_the_search_for_the_documents_is_incomplete():
    incomplete = {"results": [{"id": f"{NAME}:0"}], "total_results": 1, "warning": ["Timeout limit was reached"]}
    with (
        FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": incomplete})) as fake,
        pytest.raises(SourceError, match="Timeout limit was reached"),
    ):
        admin.delete(fake.url, NAME, ["0", "1"])
    assert "DEL" not in fake.command_names()


@pytest.mark.recording("drop-overlap")
def test_drop_that_would_delete_documents_of_another_index_is_refused(server):
    server.load()
    client = server.client()
    client.execute_command("FT.CREATE", f"{NAME}-all", "SKIPINITIALSCAN", "SCHEMA", "content", "TEXT")
    client.execute_command("FT.CREATE", f"{NAME}-part", "PREFIX", 1, f"{NAME}:d", "SCHEMA", "content", "TEXT")
    for name, other_pattern in ((f"{NAME}-all", ".*"), (NAME, f"{NAME}-part"), (f"{NAME}-part", NAME)):
        message = f"'{name}' would delete documents of index '{other_pattern}' .* FT.DROPINDEX {name} on"
        with pytest.raises(SourceError, match=message):
            admin.drop(server.url, name)
    client.execute_command("FT.DROPINDEX", f"{NAME}-part")
    # The index without a prefix, which covers all keys, does not prevent this.
    assert admin.drop(server.url, NAME) == 5


@pytest.mark.recording("drop-refused")
def test_index_is_not_dropped_by_an_alias_or_while_it_is_loaded(server):
    server.load()
    client = server.client()
    client.execute_command("FT.ALIASADD", "podium-alias", NAME)
    with pytest.raises(SourceError, match=f"'podium-alias' is an alias of the index '{NAME}'"):
        admin.drop(server.url, "podium-alias")
    client.execute_command("FT.ALIASDEL", "podium-alias")
    client.set(LEASE, "another process")
    with pytest.raises(SourceError, match="another process is loading documents into"):
        admin.drop(server.url, NAME)
    client.delete(LEASE)
    assert admin.drop(server.url, NAME) == 5


def test_encodings_are_deleted_before_the_index_is_dropped():
    """So an index whose `--drop` was killed can be dropped again, and no encodings remain."""
    description = Description(models=(KeptModel("podium-mini", "", None),)).to_json()
    encoding_key = f"{NAME}:.podium-encoding:1"
    replies = {"FT.INFO": INFO, "FT._LIST": [NAME], "GET": description, "SCAN": ["0", [encoding_key]], "WATCH": None}
    with FakeRedis(answering(replies)) as fake, pytest.raises(SourceError):
        admin.drop(fake.url, NAME)  # the connection breaks before the transaction that drops the index
    assert ("DEL", encoding_key) in fake.commands
    assert "FT.DROPINDEX" not in fake.command_names()
