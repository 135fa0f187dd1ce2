"""EmbeddedIndex: what it finds, what it keeps, and that no kill leaves it in between."""

from __future__ import annotations

import gzip
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from environment import ROOT, SHARED
from fakes import Letters
from loopback import wait_until
from podium.documents import texts_of
from podium.errors import InvalidInput, SourceError
from podium.sources.embedded.description import DESCRIPTION_FILE as FILE
from podium.sources.embedded.index import LANGUAGES
from podium.sources.embedded.vectors import EXACT_BELOW, Vectors
from podium.sources.fusion import Hit, fuse

DATA = SHARED / "data"
DOCUMENTS = [
    {"title": "Nevada", "text": "Carson City is the capital city of Nevada.", "year": 1864},
    {"title": "Saipan", "text": "The capital of the Northern Mariana Islands is Saipan.", "tags": ["a", {"b": None}]},
    {"title": "Capital", "text": "Punishment has existed in the United States for centuries."},
    {"title": "Bread", "text": "Flour, water, salt and time. 東京 ☃"},
]
IDS = ["n", "s", "c", "b"]


def keys(found):
    return [document["source_key"] for document in found]


@pytest.fixture(params=["memory", "folder"])
def index(request, tmp_path):
    made = podium.EmbeddedIndex.create(None if request.param == "memory" else tmp_path / "i", embed=Letters())
    made.add(DOCUMENTS, ids=IDS)
    return made


def test_every_mode_gives_whole_documents_best_first(index):
    for mode in ("text", "vector", "hybrid"):
        found = index.search("the capital cities", 3, mode=mode)
        scores = [document["source_score"] for document in found]
        assert scores == sorted(scores, reverse=True)
        assert [document["source_rank"] for document in found] == list(range(1, len(found) + 1))
        for document in found:
            said = DOCUMENTS[IDS.index(document["source_key"])]
            assert {name: value for name, value in document.items() if not name.startswith("source_")} == said
    assert keys(index.search("the capital cities", 3, mode="text"))[0] == "n"
    assert len(index.search("anything", 10, mode="vector")) == 4


def test_vectors_are_compared_by_cosine(index):
    embed = Letters()
    queried = embed(["capital"])[0]
    for found in index.search("capital", 4, mode="vector"):
        vector = embed([found["text"]])[0]
        cosine = vector @ queried / np.linalg.norm(vector) / np.linalg.norm(queried)
        assert found["source_score"] == pytest.approx(cosine, abs=1e-5)


def test_a_document_that_is_added_again_takes_its_own_place(index):
    index.add([{"text": "rye"}], ids=["b"])
    assert len(index) == 4
    assert index.get(["b", "nobody"]) == {"b": {"text": "rye"}}
    assert keys(index.search("flour", 5, mode="text")) == []
    assert keys(index.search("rye", 5, mode="text")) == ["b"]
    assert sorted(keys(index.search("rye", 9, mode="vector"))) == sorted(IDS)


def test_what_is_deleted_is_found_by_nobody(index):
    assert index.delete(["n", "nobody", "n"]) == 1
    assert len(index) == 3
    for mode in ("text", "vector", "hybrid"):
        assert "n" not in keys(index.search("the capital city of Nevada", 9, mode=mode))
    assert len(index.search("x", 3, mode="vector")) == 3
    assert index.delete([]) == 0


def test_dead_rows_never_crowd_out_living_documents(index):
    for _ in range(30):
        index.add(DOCUMENTS, ids=IDS)
    assert sorted(keys(index.search("capital", 4, mode="vector"))) == sorted(IDS)
    assert index.delete(["n", "s"]) == 2
    assert sorted(keys(index.search("capital", 1, mode="vector")) + keys(index.search("flour", 9, mode="vector"))[-1:]) == [
        "b",
        "c",
    ]


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("capital", {"n", "s"}),
        ('"capital" AND -nevada:* (title:x', {"n", "s"}),
        ("the of is and", set()),
        ("!!! ☃", set()),
        ("東京", {"b"}),
        ("\x00 \n capital", {"n", "s"}),
        ("capital " * 10_000, {"n", "s"}),
        ("x" * 100_000, set()),
        (" ".join(f"word{at}" for at in range(10_000)) + " flour", {"b"}),
    ],
)
def test_any_text_is_a_query(index, typed, wanted):
    assert set(keys(index.search(typed, 5, mode="text"))) == wanted
    assert len(index.search(typed, 2)) == 2


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1))
def test_no_text_breaks_it(typed):
    index = podium.EmbeddedIndex.create(None)
    index.add([typed, "x"])
    if texts_of([typed])[0] is None:
        with pytest.raises(InvalidInput, match="query is empty"):
            index.search(typed, 9)
    else:
        assert len(index.search(typed, 9)) <= 2


def test_fields_and_their_weights(tmp_path):
    made = {
        name: podium.EmbeddedIndex.create(None, text=text)
        for name, text in {"own": None, "one": "text", "two": ["title", "text"], "heavy": {"title": 9, "text": 1}}.items()
    }
    for each in made.values():
        each.add(DOCUMENTS, ids=IDS)
    assert keys(made["own"].search("capital", 9)) == keys(made["one"].search("capital", 9))
    assert set(keys(made["two"].search("capital", 9))) == {"n", "s", "c"}
    assert keys(made["heavy"].search("capital", 9))[0] == "c"
    assert made["heavy"].text_fields == ["title", "text"]
    assert "title × 9" in made["heavy"].explain()
    with pytest.raises(InvalidInput, match="document 1 has no field"):
        made["two"].add([{"title": "x"}, {"body": "y"}])
    assert len(made["two"]) == 4
    made["two"].add([{"title": "only a title"}], ids=["t"])
    assert keys(made["two"].search("title", 9)) == ["t"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_a_stemmer_and_stop_words(language):
    index = podium.EmbeddedIndex.create(None, language=language)
    index.add(["x"])
    assert keys(index.search("x", 1))


def test_no_language_has_neither():
    index = podium.EmbeddedIndex.create(None, language=None)
    index.add(["the cities"])
    assert index.search("city", 1) == []
    assert index.search("the", 1)
    with pytest.raises(InvalidInput, match="no stemmer for 'klingon'"):
        podium.EmbeddedIndex.create(None, language="klingon")


def test_documents_come_back_as_they_were(tmp_path):
    odd = {"text": "a\ud800b\x00", "é ☃": [1.5, None, True, {"deep": ["x"]}], "big": 10**30, "source_key": "mine"}
    index = podium.EmbeddedIndex.create(tmp_path / "i")
    index.add(["plain", odd, {"text": ""}], ids=["p", "o", "e"])
    again = podium.EmbeddedIndex.open(tmp_path / "i")
    assert again.get(["p", "o", "e"]) == {"p": {"text": "plain"}, "o": odd | {"text": "a�b\x00"}, "e": {"text": ""}}
    assert len(again) == 3


def test_what_cannot_be_kept_is_refused_whole(index):
    class Thing:
        text = "object"

    for documents, says in (
        ([{"text": "a", "x": Thing()}], "document 0 cannot be written as JSON"),
        (["fine", Thing()], "document 1 is a Thing; an index takes strings and mappings"),
        ([None], "document 0 is a NoneType"),
        ([{1: "a", "text": "b"}], "whose name is not a string"),
        ("one string", "docs must be a list"),
        ([{"body": "a"}], "document 0 has none of the fields"),
    ):
        with pytest.raises(InvalidInput, match=says):
            index.add(documents)
    for ids, says in (
        (["a"], "1 ids for 2 documents"),
        (["a", "a"], "two documents have the id 'a'"),
        ("ab", "list of strings"),
        ([1, 2], "list of strings"),
        (5, "list of strings"),
        (["a", "b" * 2000], "2000 characters; an id has at most 1000"),
    ):
        with pytest.raises(InvalidInput, match=says):
            index.add(["x", "y"], ids=ids)
    assert len(index) == 4
    for wrong in ("n", 5, [5], [None]):
        with pytest.raises(InvalidInput, match="ids must be a list of strings"):
            index.delete(wrong)
        with pytest.raises(InvalidInput, match="ids must be a list of strings"):
            index.get(wrong)
    assert index.get(["\ud800"]) == {}
    for wrong in (5, [[]], {"a": "b"}):
        with pytest.raises(InvalidInput, match="text"):
            podium.EmbeddedIndex.create(None, text=wrong)
    for wrong in (5, "a\0b", "x" * 5000):
        with pytest.raises(InvalidInput, match="not a valid path of a file or folder"):
            podium.EmbeddedIndex.open(wrong)


def test_an_embedder_that_fails_adds_nothing(tmp_path):
    calls = []

    def sometimes(texts):
        calls.append(texts)
        if len(calls) > 2:
            raise RuntimeError("out of memory")
        return Letters()(texts)

    index = podium.EmbeddedIndex.create(tmp_path / "i", embed=sometimes)
    index.add(["one"])
    with pytest.raises(SourceError, match="the embedder failed with RuntimeError"):
        index.add(["two", "three"])
    assert len(podium.EmbeddedIndex.open(tmp_path / "i")) == 1


def test_an_embedder_that_changes_its_size_adds_nothing():
    sizes = iter([4, 4, 3])
    index = podium.EmbeddedIndex.create(None, embed=lambda texts: np.ones((len(texts), next(sizes))))
    index.add(["one"])
    with pytest.raises(SourceError, match="returned 3 dimensions; this index has 4"):
        index.add(["two"])
    assert len(index) == 1


def test_a_folder_that_is_no_index_or_is_damaged_is_refused(tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.txt").write_text("mine")
    for make, says in (
        (lambda: podium.EmbeddedIndex.open(tmp_path / "nothing"), "there is no folder"),
        (lambda: podium.EmbeddedIndex.open(tmp_path / "foreign"), "is not an index of podium"),
        (lambda: podium.EmbeddedIndex.create(tmp_path / "foreign"), "exists and is not an index"),
        (lambda: podium.EmbeddedIndex.create(tmp_path / "foreign" / "a.txt"), "exists and is not an index"),
    ):
        with pytest.raises(SourceError, match=says):
            make()
    assert (tmp_path / "foreign" / "a.txt").read_text() == "mine"
    folder = tmp_path / "i"
    podium.EmbeddedIndex.create(folder, embed=Letters()).add(DOCUMENTS)
    with pytest.raises(SourceError, match="is an index already"):
        podium.EmbeddedIndex.create(folder)
    whole = (folder / "vectors.f32").read_bytes()
    (folder / "vectors.f32").write_bytes(whole[:-1])
    with pytest.raises(SourceError, match="fewer vectors than documents"):
        podium.EmbeddedIndex.open(folder)
    (folder / "vectors.f32").write_bytes(whole)
    podium.EmbeddedIndex.open(folder)
    wrong = json.dumps({"fields": 5, "language": None, "probe": []})
    for name, content in ((FILE, "{}"), (FILE, wrong), (FILE, "not json"), (FILE, None), ("text/meta.json", "{")):
        kept = (folder / name).read_bytes()
        (folder / name).write_text(content) if content is not None else (folder / name).unlink()
        with pytest.raises(SourceError, match=r"cannot be used|is not an index"):
            podium.EmbeddedIndex.open(folder)
        (folder / name).write_bytes(kept)
    described = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(described | {"layout": 99}))
    with pytest.raises(SourceError, match="has layout 99"):
        podium.EmbeddedIndex.open(folder)


def test_vectors_that_change_under_an_open_index_are_noticed(tmp_path):
    folder = tmp_path / "i"
    texts = ["apple", "river", "stone"]
    podium.EmbeddedIndex.create(folder, embed=Letters()).add(texts, ids=texts)
    reader = podium.EmbeddedIndex.open(folder, embed=Letters())
    assert keys(reader.search("apple", 1, mode="vector")) == ["apple"]
    whole = (folder / "vectors.f32").read_bytes()
    (folder / "vectors.f32").write_bytes(whole[: len(whole) // 3])
    for use in (lambda: reader.search("apple", 1, mode="vector"), lambda: reader.add(["x"])):
        with pytest.raises(SourceError, match="cut short or deleted"):
            use()
    other = tmp_path / "other"
    podium.EmbeddedIndex.create(other, embed=Letters()).add(texts[::-1], ids=texts[::-1])
    for name in ("text", "vectors.f32", "vectors.checksums"):
        moved = folder / name
        shutil.rmtree(moved) if moved.is_dir() else moved.unlink()
        (other / name).rename(moved)
    assert keys(reader.search("apple", 1, mode="vector")) == ["apple"]


def test_segments_that_are_gone_are_said(tmp_path):
    podium.EmbeddedIndex.create(tmp_path / "i").add(DOCUMENTS)
    for path in (tmp_path / "i" / "text").glob("*.store"):
        path.unlink()
    with pytest.raises(SourceError, match="cannot be used"):
        podium.EmbeddedIndex.open(tmp_path / "i").search("capital", 1)


def test_another_embedder_is_refused(tmp_path):
    folder = tmp_path / "i"
    podium.EmbeddedIndex.create(folder, embed=Letters()).add(DOCUMENTS, ids=IDS)
    for other in (Letters(1), Letters(0, 9)):
        with pytest.raises(SourceError, match=r"created with another embedder \(letters-0, 8 dimensions\)"):
            podium.EmbeddedIndex.open(folder, embed=other)
    without = podium.EmbeddedIndex.open(folder)
    assert (without.mode, without.embedder) == ("text", "letters-0")
    assert without.search("capital", 1)
    for use in (lambda: without.search("capital", 1, mode="vector"), lambda: without.add(["x"])):
        with pytest.raises(InvalidInput, match="open it with embed="):
            use()
    podium.EmbeddedIndex.create(tmp_path / "t").add(["x"])
    with pytest.raises(SourceError, match="created without an embedder"):
        podium.EmbeddedIndex.open(tmp_path / "t", embed=Letters())
    with pytest.raises(InvalidInput, match="create another index with embed="):
        podium.EmbeddedIndex.open(tmp_path / "t", mode="hybrid")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "fuzzy"}, "mode must be"),
        ({"fusion": "x"}, "fusion must be"),
        ({"text_weight": -1}, "0 to 1"),
        ({"text": {"a": -1}}, "weight"),
    ],
)
def test_bad_use(tmp_path, options, says):
    for where in (None, tmp_path / "i"):
        with pytest.raises(InvalidInput, match=says):
            podium.EmbeddedIndex.create(where, embed=Letters(), **options)
    assert list(tmp_path.iterdir()) == []


def test_many_threads_search_while_one_adds(tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "i", embed=Letters())
    index.add(DOCUMENTS, ids=IDS)

    def searched(_):
        return [set(keys(index.search("capital", 4, mode=mode))) >= {"n"} for mode in ("text", "vector", "hybrid")]

    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(searched, at) for at in range(40)]
        for at in range(10):
            index.add([f"flour {at}"], ids=[f"f{at}"])
        assert all(all(each.result()[::2]) for each in found)
    assert len(index) == 14


def test_two_processes_cannot_write_at_once_and_say_so(tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "i")
    script = (
        "import sys, time, podium; index = podium.EmbeddedIndex.open(sys.argv[1])\n"
        "with index._texts.writing():\n    print('writing', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "i")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"writing\n"
    with pytest.raises(SourceError, match="another process is adding"):
        index.add(["x"])
    assert len(index) == 0
    other.communicate()
    index.add(["x"])
    assert len(index) == 1


WRITER = """
import sys, podium
sys.path.insert(0, sys.argv[2])
from fakes import Letters
index = podium.EmbeddedIndex.open(sys.argv[1], embed=Letters())
at = len(index)
while True:
    index.add([f"number {n}" for n in range(at, at + 7)], ids=[f"d{n}" for n in range(at, at + 7)])
    index.add(["number one again"], ids=["d1"])
    at += 7
"""


def _has_more(index, count):
    return len(index) > count


def test_a_writer_that_is_killed_at_any_moment_leaves_its_last_commit(tmp_path):
    """Whole batches are there or not; each document has its vector; and the next writer goes on."""
    folder = tmp_path / "i"
    podium.EmbeddedIndex.create(folder, embed=Letters())
    draw = random.Random(0)
    seen = 0
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(ROOT / "tests" / "support")])
        reader = podium.EmbeddedIndex.open(folder, embed=Letters())
        wait_until(partial(_has_more, reader, seen), 120)
        time.sleep(draw.random() * 0.15)
        writer.kill()
        writer.wait()
        index = podium.EmbeddedIndex.open(folder, embed=Letters())
        assert len(index) % 7 == 0
        assert len(index) > seen
        seen = len(index)
        everything = {f"d{at}" for at in range(seen)}
        assert set(index.get(everything)) == everything
        assert set(keys(index.search("number", seen, mode="text"))) == everything
        assert set(keys(index.search("number", seen, mode="vector"))) == everything
        for found in index.search("number 3", 3, mode="vector"):
            vector, asked = Letters()([found["text"], "number 3"])
            assert found["source_score"] == pytest.approx(
                vector @ asked / np.linalg.norm(vector) / np.linalg.norm(asked), abs=1e-5
            )


def test_a_string_is_kept_as_the_field_that_is_searched(mini):
    index = podium.EmbeddedIndex.create(None, text=["title", "body"])
    index.add(["a ripe red apple", {"title": "sea", "body": "night"}], ids=["a", "b"])
    assert index.get(["a"]) == {"a": {"title": "a ripe red apple"}}
    assert podium.Search(index, mini).search("a red apple")[0].document["source_key"] == "a"


def test_an_index_is_made_whole_or_not_at_all(tmp_path):
    def failing(texts):
        raise RuntimeError

    with pytest.raises(SourceError, match="the embedder failed"):
        podium.EmbeddedIndex.create(tmp_path / "i", embed=failing)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "i").mkdir()
    podium.EmbeddedIndex.create(tmp_path / "i").add(["x"])
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


MAKER = """
import sys, time, podium
sys.stdin.readline()
try:
    index = podium.EmbeddedIndex.create(sys.argv[1])
except podium.SourceError:
    index = podium.EmbeddedIndex.open(sys.argv[1])
for attempt in range(500):
    try:
        index.add([sys.argv[2]])
        break
    except podium.SourceError as error:
        assert "another process is adding" in str(error), error
        time.sleep(0.02)
else:
    raise SystemExit("never got to write")
"""


def test_two_processes_that_make_one_index_share_it(tmp_path):
    for at in range(4):
        folder = tmp_path / str(at)
        makers = [subprocess.Popen([sys.executable, "-c", MAKER, str(folder), name], stdin=subprocess.PIPE) for name in "ab"]
        for maker in makers:
            maker.stdin.write(b"\n")
            maker.stdin.flush()
        for maker in makers:
            maker.communicate()
            assert maker.returncode == 0
        assert len(podium.EmbeddedIndex.open(folder)) == 2


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_many_vectors_are_searched_by_a_graph_that_finds_nearly_all(tmp_path, where):
    rng = np.random.default_rng(0)
    folder = None if where == "memory" else tmp_path
    count, size = EXACT_BELOW + 2_000, 16
    rows = rng.normal(size=(count, size)).astype(np.float32)
    vectors = Vectors(folder, size)
    assert vectors.append(rows[:-1_500]) == range(count - 1_500)
    vectors.improve()
    vectors.append(rows[-1_500:])
    vectors.improve()
    assert vectors._current_graph()[0] == count - 1_500
    readers = [vectors] if folder is None else [vectors, Vectors(folder, size)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for reader in readers:
        hits = 0
        for query in rng.normal(size=(20, size)).astype(np.float32):
            exact = np.argsort(-(unit @ query))[:50]
            found = reader.nearest(query, 50)
            hits += len({row for row, _ in found} & set(exact.tolist()))
            assert all(score == pytest.approx(unit[row] @ query / np.linalg.norm(query), abs=1e-5) for row, score in found)
            assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert hits > 0.97 * 20 * 50
    if folder is not None:
        assert len(list(folder.glob("graph-*"))) == 1, "the graph before it is gone"


DAMAGED_GRAPH = """
import sys, numpy as np
from pathlib import Path
from podium.sources.embedded.vectors import Vectors

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
vectors = Vectors(folder, 16)
rows = np.array(vectors.rows())
(graph,) = folder.glob("graph-*")
whole, rng = graph.read_bytes(), np.random.default_rng(seed)
for _ in range(15):
    damaged = bytearray(whole)
    for place in rng.integers(64, len(whole), rng.integers(1, 50)):
        damaged[place] ^= 1 << int(rng.integers(8))
    graph.write_bytes(damaged if rng.integers(4) else damaged[: rng.integers(len(whole))])
    for query in rng.normal(size=(5, 16)).astype(np.float32):
        query /= np.linalg.norm(query)
        exact = np.argsort(-(rows @ query), kind="stable")[:20]
        assert [row for row, _ in Vectors(folder, 16).nearest(query, 20)] == exact.tolist()
writer = Vectors(folder, 16)
writer.improve()
(graph,) = folder.glob("graph-*")
assert writer._current_graph()[0] == Vectors(folder, 16)._current_graph()[0] == len(rows)
print("held")
"""


def test_damaged_graph_is_left_out_and_made_again(tmp_path):
    """In a process of its own: walking a damaged graph may end the process."""
    vectors = Vectors(tmp_path, 16)
    vectors.append(np.random.default_rng(1).normal(size=(EXACT_BELOW, 16)).astype(np.float32))
    vectors.improve()
    script = [sys.executable, "-c", DAMAGED_GRAPH, str(tmp_path), "7"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "held\n"
    assert "is damaged; searches are exact but slower" in done.stderr


def test_graph_without_a_checksum_is_not_trusted(tmp_path):
    """As earlier versions wrote it."""
    vectors = Vectors(tmp_path, 4)
    vectors.append(np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32))
    (tmp_path / "graph-10.usearch").write_bytes(b"anything")
    assert vectors._current_graph() == (0, None)


def test_graph_that_cannot_be_saved_leaves_nothing_behind(tmp_path, caplog):
    vectors = Vectors(tmp_path, 4)
    vectors.append(np.random.default_rng(1).normal(size=(EXACT_BELOW, 4)).astype(np.float32))
    (tmp_path / "graph-5.unfinished").write_bytes(b"of a process that was killed")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))  # writing more fails, as on a full disk
    try:
        vectors.improve()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "could not be saved" in caplog.text
    assert not list(tmp_path.glob(f"graph-{EXACT_BELOW}*"))
    assert len(vectors.nearest(np.ones(4, np.float32), 3)) == 3
    vectors.improve()
    assert [path.suffix for path in tmp_path.glob("graph-*")] == [".usearch"]


@pytest.mark.parametrize("scale", [3e38, 1e30, 1e-30, 1e-40])
def test_vectors_near_the_limits_of_float32_keep_their_directions(scale):
    vectors = Vectors(None, 2)
    rows = (np.array([[1, 0], [0, 1], [0.6, 0.8]]) * scale).astype(np.float32)
    vectors.append(np.concatenate([rows, np.zeros((1, 2), np.float32)]))
    found = vectors.nearest(rows[0], 4)
    assert [row for row, _ in found] == [0, 2, 1, 3]
    assert [score for _, score in found] == pytest.approx([1, 0.6, 0, 0], abs=1e-4)


def test_fusions():
    text, near = [Hit("a", 8.0), Hit("b", 4.0)], [Hit("b", 0.9), Hit("c", 0.5)]
    assert [hit.key for hit in fuse("rrf", text, near, 0.3)] == ["b", "a", "c"]
    assert fuse("weighted", text, near, 0.3) == [Hit("b", pytest.approx(0.78)), Hit("c", pytest.approx(0.35)), Hit("a", 0.3)]
    assert fuse("weighted", [], [], 0.3) == []
    assert fuse("weighted", [Hit("a", 0.0)], [], 0.3) == [Hit("a", 0.0)]


@pytest.mark.skipif(not DATA.exists(), reason="the test collections are not beside this repository")
@pytest.mark.parametrize(("collection", "at_least"), [("scifact", 0.665), ("nfcorpus-preprocessed", 0.31)])
def test_candidates_are_as_good_as_bm25_should_be(collection, at_least):
    with gzip.open(DATA / collection / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    grades = {}
    for line in (DATA / collection / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        grades.setdefault(query, {})[document] = int(float(grade))
    index = podium.EmbeddedIndex.create(None, text=["title", "text"])
    index.add(documents, ids=[document["_id"] for document in documents])
    gains = []
    for line in (DATA / collection / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        query = json.loads(line)
        wanted = sorted(grades.get(query["_id"], {}).values(), reverse=True)
        if not any(wanted):
            continue
        found = [grades[query["_id"]].get(key, 0) for key in keys(index.search(query["text"], 10))]
        discounted = [sum(gain / np.log2(at + 2) for at, gain in enumerate(each[:10])) for each in (found, wanted)]
        gains.append(discounted[0] / discounted[1])
    assert np.mean(gains) >= at_least


def test_repeated_words_of_a_query_count_and_cost_little():
    """A word twice weighs twice. Thousands of repetitions are one clause, where each used to take memory of its own."""
    index = podium.EmbeddedIndex.create(None)
    index.add(["a red apple", "the sea", "a red red sea"])
    once = {hit["source_rank"]: hit["source_score"] for hit in index.search("red", 3)}
    twice = {hit["source_rank"]: hit["source_score"] for hit in index.search("red red", 3)}
    assert twice == {rank: pytest.approx(2 * score) for rank, score in once.items()}
    many = index.search("red " * 100_000 + "apple", 3)
    assert many[0]["source_score"] == pytest.approx(100_000 * once[1], rel=1e-3)
