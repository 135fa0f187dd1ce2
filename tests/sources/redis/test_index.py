"""RedisIndex: create indexes and load documents into them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest
from redisvl.query.filter import Tag

from loopback import wait_until
from podium.errors import InvalidInput, SourceError
from podium.places import load_source
from podium.sources.loading import load_into
from redisearch import (
    DOCUMENTS,
    IDS,
    INFO,
    NAME,
    LoadingServer,
    RedisUnderTest,
    Turns,
    answering,
    embed,
    ids_of,
    index_at,
)
from resp import FakeRedis, encode_reply

DIGEST_KEYS = f"{NAME}:[0-9a-f]*"  # the keys of documents whose ids are digests


def no_progress(count):
    pass


@pytest.mark.recording("index-options")
def test_index_is_created_with_its_options(server):
    documents = [{"content": "red", "kind": ["a,b", "c"]}, {"content": "green"}]
    options = {"text": {"title": 3, "content": 1}, "vector": "vec", "tag_separator": ";", "m": 8, "ef_construction": 50}
    server.load(documents, ["x", "y"], **options)
    assert ids_of(server.source(text=None, vector="vec", filter=Tag("kind") == "a,b").search("red", 5)) == ["x"]
    info = str(server.client(protocol=2, decode_responses=True).execute_command("FT.INFO", NAME))
    for option in ("'HNSW'", "'M', 8", "'ef_construction', 50", "'WEIGHT', '3'"):
        assert option in info


@pytest.mark.recording("resume")
def test_second_run_continues_the_first_and_writes_nothing_twice(server):
    """If a document were written again, RediSearch would count its words twice in the average length, which changes scores."""
    index = server.index()
    index.prepare(len(DOCUMENTS))
    documents = list(zip(IDS, DOCUMENTS, strict=True))
    assert load_into(index, documents[:2], no_progress) == (2, 0, 0)
    index.close()  # as if the run was interrupted
    second_run = server.index()
    second_run.prepare(len(DOCUMENTS))
    assert load_into(second_run, documents, no_progress) == (3, 2, 0)
    source = server.source(mode="text")
    before = source.search("capital of the states", 5)
    assert load_into(second_run, documents, no_progress) == (0, 5, 0)
    assert source.search("capital of the states", 5) == before
    changed = [("d4", DOCUMENTS[4] | {"content": "Rye.", "year": None})]
    assert load_into(second_run, changed, no_progress) == (1, 0, 0)
    (document,) = source.search("rye", 5)
    assert "year" not in document
    assert source.search("flour", 5) == []


@pytest.mark.recording("empty-text")
def test_documents_without_text_are_stored(server):
    index = server.index()
    index.prepare(2)
    documents, ids = [{"content": "", "title": None}, "just a string"], ["empty", "string"]
    index.add(documents, ids)
    assert index.unchanged(documents, ids) == {"empty", "string"}


def test_ten_thousand_documents_are_loaded_once_each_after_a_kill(real_url, tmp_path):
    words = ["red", "green", "apple", "sea", "night", "city", "river", "stone"]
    documents = [{"content": f"{words[i % 8]} {words[i // 8 % 8]} number {i}", "year": i} for i in range(10_000)]
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    command = [sys.executable, "-m", "podium", "index", str(file), "--to", f"{real_url}/{NAME}", "--number", "year"]
    with contextlib.closing(RedisUnderTest(real_url, 3)) as server:
        client = server.client()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: next(client.scan_iter(DIGEST_KEYS), None) is not None)
        process.kill()
        process.wait()
        output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        added, skipped = (int(word) for word in output.replace(",", "").split() if word.isdecimal())
        assert added + skipped == 10_000
        assert skipped > 0
        assert load_source(f"{real_url}/{NAME}").search("number 77", 5)[0]["content"].endswith("number 77")
        assert sum(1 for _ in client.scan_iter(DIGEST_KEYS, count=1000)) == 10_000


@pytest.mark.recording("incompatible-index")
def test_index_without_the_fields_is_refused(server):
    server.load(tags=[], numbers=[], embed=None)
    with (
        contextlib.closing(server.index()) as index,
        pytest.raises(SourceError, match=r"exists without kind \(TAG\), year \(NUMERIC\), embedding \(VECTOR\)"),
    ):
        index.prepare(1)
    with pytest.raises(SourceError, match=r"without body \(TEXT\); it has content \(TEXT\)"):
        server.index(tags=[], numbers=[], embed=None, text=["body"]).prepare(1)


def test_loading_without_the_embedder_of_an_index_is_refused():
    with (
        FakeRedis(answering({"FT.INFO": INFO, "WATCH": b"+OK\r\n"})) as fake,
        index_at(fake.url) as index,
        pytest.raises(SourceError, match=r"has vectors in 'embedding'; load with its embedder \(--embed\)"),
    ):
        index.prepare(1)


@pytest.mark.recording("other-ids")
def test_loading_with_other_ids_is_refused(server):
    server.load(ids_from="id")
    with pytest.raises(InvalidInput, match="was created with --id id; use --id id again"):
        server.index(ids_from="").prepare(1)


@pytest.mark.recording("prefix-in-use")
def test_prefix_of_other_keys_is_refused(server):
    client = server.client()
    client.hset(f"{NAME}:1", mapping={"name": "Ann", "content": "a private apple"})
    with pytest.raises(SourceError, match=rf"has keys that begin with '{NAME}:', such as '{NAME}:1'; .*--prefix"):
        server.index().prepare(1)
    assert client.hgetall(f"{NAME}:1") == {b"name": b"Ann", b"content": b"a private apple"}
    server.load([{"content": "german apple"}], ["1"], prefix=f"{NAME}-docs")
    documents = server.source(mode="text").search("apple", 5)
    assert [document["source_key"] for document in documents] == [f"{NAME}-docs:1"]
    with pytest.raises(InvalidInput, match=rf"the keys of index '{NAME}' begin with '{NAME}-docs:'; leave --prefix"):
        server.index(prefix="elsewhere").prepare(1)


@pytest.mark.recording("prefix-overlap")
def test_prefix_that_overlaps_with_that_of_another_index_is_refused(server):
    client = server.client()
    client.execute_command("FT.CREATE", f"{NAME}-wide", "PREFIX", 1, f"{NAME}-w", "SCHEMA", "content", "TEXT")
    with pytest.raises(SourceError, match=rf"overlaps with '{NAME}-w' of index '{NAME}-wide' .*--prefix"):
        server.index(f"{NAME}-wiki").prepare(1)


@pytest.mark.parametrize("document_id", [".podium", ".podium-lease"])
def test_id_that_podium_uses_for_itself_is_refused(document_id):
    with (
        index_at("redis://127.0.0.1:9") as index,
        pytest.raises(InvalidInput, match=f"a document cannot have the id '{document_id}'"),
    ):
        index.check({"content": "a"}, document_id, 0)


def test_id_with_an_unpaired_surrogate_is_refused():
    with (
        index_at("redis://127.0.0.1:9") as index,
        pytest.raises(
            InvalidInput, match=r"a document cannot have the id 'a\\ud800', which has an unpaired surrogate; rename it"
        ),
    ):
        index.check({"content": "a"}, "a\ud800", 0)


def test_loading_waits_until_the_server_has_scanned_its_keys():
    begun, half = ({"indexing": 1, "percent_indexed": share} for share in ("0.1", "0.5"))
    percentages = []
    with (
        FakeRedis(answering({"FT.INFO": Turns([INFO, INFO | begun, INFO | half, INFO])})) as fake,
        index_at(fake.url, embed=embed) as index,
    ):
        index.prepare(1, percentages.append)
        assert fake.command_names().count("FT.INFO") == 4
    assert percentages == [10, 40]


def test_index_that_was_created_with_another_prefix_meanwhile_is_refused():
    created = INFO | {"index_definition": {"key_type": "HASH", "prefixes": ["elsewhere:"]}}
    with (
        FakeRedis(answering({"FT.INFO": Turns([Exception("no such index"), created])})) as fake,
        index_at(fake.url, embed=embed) as index,
        pytest.raises(SourceError, match=r"another process has just created index .* with other keys; run this again"),
    ):
        index.prepare(1)


def test_index_that_is_dropped_during_the_scan_is_an_error():
    replies = Turns([INFO, INFO | {"indexing": 1, "percent_indexed": "0.1"}, Exception("no such index")])
    with (
        FakeRedis(answering({"FT.INFO": replies})) as fake,
        index_at(fake.url, embed=embed) as index,
        pytest.raises(SourceError, match="was dropped meanwhile; index the file again"),
    ):
        index.prepare(1)


@pytest.mark.recording("unchanged-zero-vectors")
def test_documents_whose_vector_is_zero_are_unchanged(server):
    """Such a vector is not stored."""

    def zero_for_b(texts):
        return [[0.0] * 4 if text == "b" else [1.0] * 4 for text in texts]

    index = server.index(embed=zero_for_b)
    index.prepare(2)
    documents = [{"content": "a"}, {"content": "b"}]
    index.add(documents, ["a", "b"])
    assert index.unchanged(documents, ["a", "b"]) == {"a", "b"}


def test_large_documents_are_written_in_transactions_of_about_a_megabyte():
    redis_server = LoadingServer()
    with FakeRedis(redis_server) as fake, index_at(fake.url) as index:
        index.prepare(5)
        before = fake.command_names().count("EXEC")
        index.add([{"content": "x" * 400_000} for _ in IDS], IDS)
        assert fake.command_names().count("EXEC") - before == 2
        assert all(f"{NAME}:{document_id}" in redis_server.values for document_id in IDS)


def test_documents_cannot_be_added_before_prepare():
    with index_at("redis://127.0.0.1:9") as index, pytest.raises(InvalidInput, match=r"call prepare\(\) first"):
        index.add([{"content": "a"}], ["a"])


def test_error_does_not_contain_a_document():
    redis_server = LoadingServer()
    refusal = encode_reply(Exception("OOM command not allowed when used memory > 'maxmemory'."))
    with FakeRedis(lambda words: refusal if words[0] == "HSET" else redis_server(words)) as fake, index_at(fake.url) as index:
        index.prepare(1)
        with pytest.raises(SourceError, match=r"is full \(maxmemory\)") as caught:
            index.add([{"content": "a secret"}], ["a"])
        assert "secret" not in str(caught.value)


INFO_WITH_FAILURES = INFO | {"hash_indexing_failures": 2, "Index Errors": {"last indexing error": "Invalid numeric value"}}


def test_documents_that_the_server_could_not_index_are_an_error():
    replies = {"FT.INFO": Turns([INFO, INFO, INFO_WITH_FAILURES])}
    with FakeRedis(answering(replies)) as fake, index_at(fake.url, embed=embed) as index:
        index.prepare(1)
        with pytest.raises(SourceError, match="could not index 2 of them: Invalid numeric value"):
            index.finish()


def test_earlier_failures_are_not_reported():
    with FakeRedis(answering({"FT.INFO": INFO_WITH_FAILURES})) as fake, index_at(fake.url, embed=embed) as index:
        index.prepare(1)
        index.finish()


def test_index_that_was_dropped_meanwhile_is_an_error():
    replies = {"FT.INFO": Turns([INFO, INFO, Exception("Unknown index name")])}
    with FakeRedis(answering(replies)) as fake, index_at(fake.url, embed=embed) as index:
        index.prepare(1)
        with pytest.raises(SourceError, match="was dropped meanwhile; index the file again"):
            index.finish()


@pytest.mark.recording("missing-documents")
def test_documents_that_vanished_while_loading_are_an_error(server):
    index = server.index()
    index.prepare(len(DOCUMENTS))
    index.add(DOCUMENTS, IDS)
    server.client().delete(f"{NAME}:d0", f"{NAME}:d1")
    with pytest.raises(SourceError, match=r"2 of 5 documents are missing from index 'podium-test' .*evicted .*noeviction"):
        index.finish()
    index.close()
    server.load()


def test_eviction_policy_that_deletes_documents_is_noted():
    replies = {"FT.INFO": INFO, "INFO": "# Memory\r\nmaxmemory_policy:allkeys-lru\r\n"}
    with FakeRedis(answering(replies)) as fake, index_at(fake.url, embed=embed) as index:
        index.prepare(1)
        index.finish()
        assert "maxmemory-policy is allkeys-lru" in index.notes[0]


@pytest.mark.recording("index-filter")
def test_documents_that_do_not_pass_the_filter_of_an_index_are_noted(server):
    server.client().execute_command(
        *("FT.CREATE", NAME, "PREFIX", 1, f"{NAME}:", "FILTER", "@year > 1700"),
        *("SCHEMA", "content", "TEXT", "title", "TEXT", "kind", "TAG", "year", "NUMERIC"),
    )
    index = server.load(embed=None)
    assert index.notes == ["2 documents do not pass the index's FILTER (@year > 1700), so no search finds them"]
