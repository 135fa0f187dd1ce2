"""Search, then rerank: both stages' ranks on every result, in one call and on the command line."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

import podium
from commands import command
from environment import PARITY
from fakes import Letters, WordOverlap
from podium.cli import podium as podium_command
from podium.errors import InvalidInput, SourceError
from podium.inputs import comma_list
from podium.places import SourceOptions, load_source, weights
from podium.sources.redis.place import split_url
from resp import Fake, reply

DOCUMENTS = [
    {"title": "Nevada", "body": "Carson City is the capital city of Nevada.", "n": 1},
    {"title": "Capital punishment", "body": "has existed in the United States for centuries.", "n": 2},
    {"title": "Washington", "body": "D.C. is the capital of the United States.", "n": 3},
    {"title": "Bread", "body": "Flour and water.", "n": 4},
]


class Found:
    """A source that finds what it is given, whatever is asked."""

    def __init__(self, documents):
        self.documents, self.asked = documents, []

    def search(self, query, limit):
        self.asked.append((query, limit))
        return self.documents[:limit]


class AwaitedOnly:
    async def asearch(self, query, limit):
        await asyncio.sleep(0)
        return ["b c", "a"][:limit]


@pytest.fixture
def reranker():
    return podium.Reranker(WordOverlap())


@pytest.fixture
def index():
    made = podium.EmbeddedIndex.create(None, text=["title", "body"])
    made.add(DOCUMENTS, ids=["n", "p", "w", "b"])
    return made


def test_every_result_has_both_ranks_and_scores(index, reranker):
    search = podium.Search(index, reranker, candidates=3, limit=2)
    ranking = search.search("the capital of the United States")
    assert len(ranking) == 2
    found = index.search("the capital of the United States", 3)
    for result in ranking:
        assert result.document == found[result.index]
        assert (result.source_rank, result.source_score) == (result.index + 1, found[result.index]["source_score"])
        assert {"source_rank", "source_score"} <= set(result.to_dict())
    assert ranking.usage.source_seconds > 0
    assert ranking.to_dict()["usage"]["source_seconds"] == ranking.usage.source_seconds
    awaited = asyncio.run(search.asearch("the capital of the United States"))
    assert awaited.results == ranking.results


def test_ranks_stay_when_the_two_are_called_one_after_the_other(index, reranker):
    found = index.search("capital", 9)
    for result in reranker.rerank("capital", found, rank_by="body"):
        assert result.source_rank == result.index + 1
        assert result.source_score == found[result.index]["source_score"]
    plain = reranker.rerank("capital", ["a", {"text": "b", "source_rank": "first", "source_score": True}])
    assert [(result.source_rank, result.source_score) for result in plain] == [(None, None)] * 2


def test_documents_of_any_source_get_their_place(reranker):
    source = Found(["x", "a b", "a"])
    ranking = podium.Search(source, reranker, candidates=3, limit=1).search("a b")
    assert [(r.document, r.rank, r.source_rank, r.source_score) for r in ranking] == [("a b", 1, 2, None)]
    assert source.asked == [("a b", 3)]


def test_it_says_when_reranking_could_not_have_changed_what_is_in_the_answer(index, reranker):
    few = podium.Search(index, reranker, candidates=3, limit=3).search("capital city")
    assert any("the limit is 3: reranking could change their order, but not which" in note for note in few.notes)
    enough = podium.Search(index, reranker, candidates=3, limit=1).search("capital city")
    assert not any("the limit" in note for note in enough.notes)
    everything = podium.Search(index, reranker, candidates=3, limit=None).search("capital city")
    assert everything.notes == ()
    none = podium.Search(index, reranker).search("nothing like it")
    assert (len(none), none.notes) == (0, ("the source found no documents for this query, so nothing was reranked",))


def test_calls_override_what_was_set_up(index, reranker):
    search = podium.Search(index, reranker, candidates=1, limit=1, rank_by="title")
    assert search.search("capital")[0].document["source_key"] in ("n", "p", "w")
    ranking = search.search("capital punishment states", candidates=4, limit=4, rank_by=["body"], min_score=1)
    assert {result.document["source_key"] for result in ranking} == {"p", "w", "n"} - {
        result.document["source_key"] for result in ranking if result.score < 1
    }
    by_title = search.search("capital punishment", candidates=4, limit=1)
    assert by_title[0].document["source_key"] == "p"


def test_it_reads_the_fields_that_the_source_searched(index, reranker):
    asked = podium.Search(index, reranker)
    found = index.search("capital", 4)
    assert asked.fields(found) == ["title", "body"]
    assert asked.fields(found, "body") == ["body"]
    assert asked.fields([{"body": "x"}]) == ["body"]
    own = podium.EmbeddedIndex.create(None)
    own.add(["a b", "b"])
    assert podium.Search(own, reranker).search("a b")[0].document["text"] == "a b"


def test_a_source_that_can_only_be_awaited(reranker):
    search = podium.Search(AwaitedOnly(), reranker)
    assert [result.document for result in asyncio.run(search.asearch("a"))] == ["a", "b c"]
    with pytest.raises(InvalidInput, match="use asearch"):
        search.search("a")


def test_bad_use(index, reranker):
    for make, says in (
        (lambda: podium.Search(object(), reranker), "has a search"),
        (lambda: podium.Search(index, "podium-mini"), r"podium\.load returns"),
        (lambda: podium.Search(index, reranker, candidates=0), "candidates must be"),
        (lambda: podium.Search(index, reranker, candidates=None), "candidates must be"),
        (lambda: podium.Search(index, reranker, limit=0), "limit must be"),
        (lambda: podium.Search(index, reranker, rank_by=[]), "rank_by"),
        (lambda: podium.Search(index, reranker).search(""), "query is empty"),
        (lambda: podium.Search(index, reranker).search(None), "must be a string"),
        (lambda: podium.Search(Found("one string"), reranker).search("a"), "list of documents"),
        (lambda: podium.Search(Found([{"n": 1}]), reranker).search("a"), "none of the fields"),
    ):
        with pytest.raises(InvalidInput, match=says):
            make()


def test_places(tmp_path):
    assert split_url("redis://u:p@h:1/docs?ssl=x") == ("redis://u:p@h:1?ssl=x", "docs")
    assert split_url("redis://u:p@h:1/0/docs") == ("redis://u:p@h:1/0", "docs")
    assert split_url("redis://h?index=a/b") == ("redis://h", "a/b")
    for url in ("redis://h/2/docs", "redis://h/a/b/docs", "redis://u:123/s3c@h/docs", "redis+sentinel://h/main/3/docs"):
        with pytest.raises(InvalidInput, match="database 0 only") as caught:
            split_url(url)
        assert "s3c" not in str(caught.value)
    assert split_url("unix:///run/redis.sock?db=1&index=docs") == ("unix:///run/redis.sock?db=1", "docs")
    assert split_url("redis+sentinel://h:26379/main/0/docs") == ("redis+sentinel://h:26379/main/0", "docs")
    for url in ("redis://h", "redis://h/", "redis://h/0", "unix:///run/redis.sock"):
        with pytest.raises(InvalidInput, match="names no index"):
            split_url(url)
    for url in (
        "redis://[bad/x",
        "redis://u:s3c/ret@h/docs",
        "redis://h/docs#two",
        "REDIS://u:s3cret@h/x",
        "http://u:s3cret@h/x",
    ):
        with pytest.raises(InvalidInput, match=r"%2F|%23|not of a known kind") as caught:
            load_source(url)
        assert "s3c" not in str(caught.value)
    assert comma_list(" a, ,b ") == ["a", "b"]
    file = tmp_path / "docs.jsonl"
    file.write_text("\n".join(map(json.dumps, DOCUMENTS)), encoding="utf-8")
    assert load_source(file, text=["body"]).search("flour", 3)[0]["n"] == 4
    folder = tmp_path / "i"
    podium.EmbeddedIndex.create(folder, text="body").add(DOCUMENTS)
    assert load_source(folder).search("flour", 3)[0]["n"] == 4
    for use, error, says in (
        (lambda: load_source(folder, text=["title"]), InvalidInput, "leave them out"),
        (lambda: load_source(folder, vector="v", timeout=2), InvalidInput, "only an index on Redis takes timeout, vector"),
        (lambda: load_source(folder, candidates=3), InvalidInput, "a source has no option candidates; it has text, embed"),
        (lambda: load_source(folder, filter="@n:[1 2]"), InvalidInput, "only an index on Redis takes filter"),
        (lambda: load_source(tmp_path), SourceError, "is not an index of podium; create one"),
        (lambda: load_source(tmp_path / "nothing"), SourceError, "there is no"),
    ):
        with pytest.raises(error, match=says):
            use()
    source = load_source("redis://127.0.0.1:9/docs")
    with pytest.raises(SourceError, match="cannot reach Redis"):
        source.search("a", 1)
    source.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text("\n".join(map(json.dumps, DOCUMENTS)), encoding="utf-8")
    return path


def test_searching_a_file_shows_both_orders(file):
    asked = ["search", "capital of the United States", "--in", file, "--text", "title,body", "--limit", "2"]
    code, out, err = command(*asked)
    lines = out.splitlines()
    assert code == 0, err
    assert (lines[0], lines[5]) == ("reranked", "as found")
    assert lines[1].split() == ["rank", "score", "moved", "id", "document"]
    assert [line.split()[0] for line in (*lines[2:4], *lines[7:9])] == ["1", "2", "1", "2"]
    assert "3 found in" in lines[9]
    assert all(len(line) <= 80 for line in lines)
    lines = command(*asked, COLUMNS="120")[1].splitlines()
    assert lines[0].split() == ["rank", "reranked", "score", "moved", "as", "found", "score"]
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    assert all(len(line) <= 120 for line in lines)
    ids = [json.loads(line)["document"]["source_key"] for line in command(*asked, "--jsonl")[1].splitlines()]
    assert ids == [json.loads(line)["document"]["source_key"] for line in command(*asked, "--jsonl")[1].splitlines()]
    code, out, _ = command("search", "capital", "--in", file, "--text", "title,body", "--limit", "1", "--json")
    ranking = json.loads(out)
    assert (code, len(ranking["results"])) == (0, 1)
    assert ranking["results"][0]["source_rank"] >= 1
    code, out, err = command("search", "capital", "--in", file, "--text", "body", "--limit", "5")
    assert "reranking could change their order, but not which documents" in " ".join(err.split())


def test_indexing_into_a_folder_is_idempotent_and_goes_on(file, tmp_path):
    folder = tmp_path / "i"
    code, out, err = command("index", file, "--to", folder, "--text", "title,body", "--id", "n")
    assert (code, err) == (0, "")
    assert out.startswith("4 documents indexed; ")
    more = tmp_path / "more.jsonl"
    more.write_text("\n".join(map(json.dumps, [DOCUMENTS[0] | {"body": "changed"}, *DOCUMENTS[1:], {"n": 5, "title": "new"}])))
    assert command("index", more, "--to", folder, "--id", "n")[1].startswith("2 documents indexed, 3 were in the index already")
    again = command("index", more, "--to", folder, "--text", "title,body", "--id", "n", "--language", "english")
    assert again[1].startswith("0 documents indexed, 5 were in the index already"), again
    code, _, err = command("index", more, "--to", folder, "--text", "body", "--id", "n")
    assert code == 2
    assert "was created with --text title,body and --language english, which cannot be changed" in err
    index = podium.EmbeddedIndex.open(folder)
    assert len(index) == 5
    assert index.get(["1"])["1"]["body"] == "changed"
    code, out, _ = command("search", "flour", "--in", folder)
    assert "Flour and water." in out or "Bread" in out


def test_an_index_with_vectors_finds_its_own_embedder_again(file, tmp_path):
    embedder = PARITY / "embedders" / "bert-mean"
    assert command("index", file, "--to", tmp_path / "i", "--text", "body", "--embed", embedder)[0] == 0
    code, out, err = command("search", "zzz", "--in", tmp_path / "i", "--mode", "vector", "--json")
    assert (code, len(json.loads(out)["results"])) == (0, 4), err
    assert command("index", file, "--to", tmp_path / "i")[1].startswith("0 documents indexed, 4 were in the index already")
    (tmp_path / "long.txt").write_text("word " * 500)
    code, _, err = command("index", tmp_path / "long.txt", "--to", tmp_path / "i")
    assert (code, err) == (0, "note: 1 of them are longer than the embedder reads; their vectors cover the beginning only\n")
    code, _, err = command("search", "a", "--in", tmp_path / "i", "--embed", PARITY / "embedders" / "roberta-cls")
    assert code == 1
    assert "was created with another embedder" in err


def test_indexing_a_folder_with_other_ids_is_refused(file, tmp_path):
    """Else every document would be in the index twice."""
    folder = tmp_path / "i"
    assert command("index", file, "--to", folder, "--text", "body", "--id", "n")[0] == 0
    code, _, err = command("index", file, "--to", folder)
    assert code == 2
    assert "was created with --id n; use --id n again, or its documents would be in the index twice" in err
    digests = tmp_path / "digests"
    assert command("index", file, "--to", digests, "--text", "body")[0] == 0
    code, _, err = command("index", file, "--to", digests, "--id", "n")
    assert code == 2
    assert "was created with digests of the documents as ids; leave out --id" in err
    assert len(podium.EmbeddedIndex.open(digests)) == len(podium.EmbeddedIndex.open(folder)) == 4


def test_an_index_in_a_folder_is_listed_thinned_out_and_dropped(file, tmp_path):
    folder = tmp_path / "indexes" / "one"
    command("index", file, "--to", folder, "--text", "title,body", "--id", "n")
    for place in (folder, folder.parent):
        code, out, _ = command("index", "--list", "--to", place)
        assert code == 0
        assert out.split()[:3] == ["index", "documents", "fields"]
        assert out.split()[-3:] == ["4", "title,", "body"]
    assert command("index", "--delete", "1", "--delete", "2", "--delete", "99", "--to", folder)[1] == "2 documents deleted\n"
    assert len(podium.EmbeddedIndex.open(folder)) == 2
    (folder / "notes.txt").write_text("not part of the index")
    assert command("index", "--drop", "--to", folder)[1] == "one dropped, with 2 documents\n"
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    command("index", file, "--to", folder.parent / "two", "--text", "body")
    assert command("index", "--drop", "--to", folder.parent / "two")[0] == 0
    assert not (folder.parent / "two").exists()


def test_listing_a_place_without_an_index_says_so(tmp_path):
    assert command("index", "--list", "--to", tmp_path) == (
        0,
        "",
        f"there is no index in {tmp_path}; create one with podium index FILE --to PLACE\n",
    )
    code, out, err = command("index", "--list", "--to", tmp_path / "missing")
    assert (code, out) == (1, "")
    assert "there is no folder" in err


def test_an_id_that_is_too_long_is_refused_before_anything_is_written(tmp_path):
    file = tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps({"id": name, "text": "a"}) + "\n" for name in ("short", "x" * 1001)))
    code, _, err = command("index", file, "--to", tmp_path / "i", "--id", "id")
    assert code == 2
    assert "has 1001 characters" in err
    assert not (tmp_path / "i").exists()


def test_pages_of_a_folder_and_of_the_command_line(file):
    index = podium.EmbeddedIndex.create(None, text=["title", "body"])
    index.add(DOCUMENTS)
    whole = index.search("capital of the United States", 9)
    pages = [index.search("capital of the United States", 1, offset=offset) for offset in range(3)]
    assert [document for page in pages for document in page] == whole
    assert [page.total for page in pages] == [len(whole)] * 3
    assert index.search("capital", 5, offset=9) == []
    with pytest.raises(InvalidInput, match="offset must be a whole number from 0"):
        index.search("capital", 5, offset=-1)
    place = ("--in", file, "--text", "title,body", "--json")
    first, second = (
        json.loads(command("search", "capital of the United States", *place, "--limit", "1", "--offset", str(offset))[1])
        for offset in (0, 1)
    )
    assert [ranking["results"][0]["rank"] for ranking in (first, second)] == [1, 2]
    assert first["total"] == second["total"] == len(whole)


def test_weights_of_fields_are_written_with_a_caret(file):
    assert weights("title^2.5, body") == {"title": 2.5, "body": 1.0}
    assert weights("x^y") == {"x^y": 1.0}
    assert weights(None) is None
    out = json.loads(command("search", "capital", "--in", file, "--text", "title^9,body", "--json")[1])
    assert out["results"]


def test_every_command_that_searches_takes_the_same_options():
    """Of a source there is one table of options; serve has a --timeout of its own."""
    fields = {each.name.replace("_", "-") for each in dataclasses.fields(SourceOptions)}
    for name, timeout in (("search", "--timeout"), ("eval", "--timeout"), ("serve", "--index-timeout")):
        flags = {flag for parameter in podium_command.commands[name].params for flag in parameter.opts}
        assert {f"--{field}" for field in fields - {"timeout"}} | {timeout} <= flags, name


def test_options_of_a_source_reach_redis(tmp_path):
    """Each option of the command line is seen in the commands that are sent."""
    info = {
        "index_name": "i",
        "index_definition": {"key_type": "HASH", "prefixes": ["i:"]},
        "attributes": [
            {"identifier": "title", "attribute": "title", "type": "TEXT"},
            {"identifier": "year", "attribute": "year", "type": "NUMERIC"},
        ],
        "num_docs": 1,
    }
    found = {"FT.INFO": info, "FT.SEARCH": [1, "i:1", "2.5", ["title", "red"]]}
    with Fake(lambda words: reply(found[words[0]], 3)) as fake:
        code, _, err = command(
            *("search", "red", "--in", f"{fake.url}/i", "--text", "title^2", "--filter", "@year:[2000 +inf]", "--json"),
            *("--return-fields", "title", "--timeout", "100"),
        )
        assert code == 0, err
        (sent,) = [words for words in fake.commands if words[0] == "FT.SEARCH"]
        assert "@title:(red) => { $weight: 2.0 }" in sent[2]
        assert "@year:[2000 +inf]" in sent[2]
        assert sent[sent.index("RETURN") :][:3] == ("RETURN", "1", "title")
        assert int(sent[sent.index("TIMEOUT") + 1]) > 10_000


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    from podium.sources.loading import load_into, with_ids

    index = podium.EmbeddedIndex.create(tmp_path / "i", embed=Letters())
    index.batch = 2
    pairs = list(with_ids([{"text": f"number {at}"} for at in range(7)], None))

    def killed(done):
        if len(index) >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_into(index, pairs, killed)
    assert len(index) == 4
    again = podium.EmbeddedIndex.open(tmp_path / "i", embed=Letters())
    assert load_into(again, pairs, lambda done: None) == (3, 4)
    assert set(again.get([name for name, _ in pairs])) == {name for name, _ in pairs}
    assert len(again) == 7


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["index", "{file}", "--to", "redis://127.0.0.1:9/x", "--text", "body"], "cannot reach Redis at 127.0.0.1:9"),
        (["index", "{file}", "--to", "redis://127.0.0.1:9/x"], "has none of the fields 'content', 'text'"),
        (
            ["index", "{file}", "--to", "redis://127.0.0.1:9/x", "--text", "body", "--language", "german"],
            "only an index in a folder takes --language",
        ),
        (["index", "{file}", "--to", "{folder}", "--text", "title,bdy"], "has the field bdy"),
        (["index", "{file}", "--to", "{folder}", "--tag", "n"], "only an index on Redis takes --tag"),
        (["index", "{file}", "--to", "{folder}"], "document 0 has none of the fields"),
        (["index", "{file}", "--to", "redis://127.0.0.1:9/x", "--text", "contnet"], "document 0 has no field contnet"),
        (["index", "{file}", "--to", "{folder}", "--id", "title2"], "document 0 has no 'title2' to use as its id"),
        (["index", "nothing.jsonl", "--to", "{folder}"], "cannot read nothing.jsonl"),
        (["search", "a", "--in", "nothing.jsonl"], "there is no nothing.jsonl"),
        (
            ["search", "a", "--in", "{file}", "--mode", "vector", "--text", "body"],
            "--mode vector needs vectors, and this index has none; create another index with --embed",
        ),
        (["search", "a", "--in", "{file}", "--text", "body", "--offset", "100"], "leaves none of 100 candidates"),
        (["search", "a", "--in", "{file}", "--text", "body", "--vector", "v"], "only an index on Redis takes --vector"),
        (["index", "{file}", "--to", "{folder}", "--text", "body", "--list"], "name one FILE to index, or one of --list"),
        (["index", "--to", "{folder}"], "name one FILE to index, or one of --list"),
        (["index", "--drop", "--to", "{folder}"], "is not an index of podium, so nothing was done"),
        (["search", " ", "--in", "{file}", "--text", "body"], "the query is empty"),
    ],
)
def test_what_goes_wrong_is_one_line(file, tmp_path, arguments, says):
    code, out, err = command(*(each.format(file=file, folder=tmp_path / "new") for each in arguments))
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("podium: ")
    assert len(err.splitlines()) == 1
    assert says in err
    assert not (tmp_path / "new").exists()
