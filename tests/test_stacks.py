"""Configuration files: they are loaded, described, and refused with the file and the line of an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import podium
from commands import run_in_process
from environment import PARITY_MODELS, ROOT
from fakes import WordOverlap
from podium.compose.budget import Budget
from podium.compose.cached import CachedScorer
from podium.compose.calibrated import Calibration, write_calibration
from podium.compose.table import COMPONENTS
from podium.errors import InvalidInput, ModelNotFound, PodiumError
from podium.stacks import read_stack
from podium.toml_files import read_toml, toml_text
from serving import ServerThread

NESTED = """\
# a search in two stages
limit = 2
rank_by = ["title", "text"]

[reranker]
use = "Cascade"
keep = 3

[reranker.cheap]
use = "Cached"
store = "scores.sqlite"
scorer = { model = "podium-mini", precision = "int8" }

[reranker.strong]
use = "Fallback"
or_keep_order = false

[[reranker.strong.scorers]]
model = "cohere:rerank-v3.5"
base_url = "http://127.0.0.1:9"
retries = 0

[[reranker.strong.scorers]]
use = "Budget"
max_tokens = 10000
scorer = "podium-mini"
"""
SEARCH = """\
candidates = 3
reranker = "podium-mini"

[source]
place = "documents.jsonl"
text = ["title", "content"]
"""
DOCUMENTS = [{"title": "", "text": text} for text in ("the sea", "a ripe red apple", "red paint", "a boat")]


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("COHERE_API_KEY", "k")

    def write_stack(text: str) -> Path:
        path = tmp_path / "stack.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_stack


def test_nested_stack_is_loaded(write):
    with podium.load(write(NESTED)) as reranker:
        cascade = reranker.scorer
        assert isinstance(cascade, podium.Cascade)
        assert cascade.keep == 3
        assert isinstance(cascade.scorers[0], CachedScorer)
        assert isinstance(cascade.scorers[1], podium.Fallback)
        assert isinstance(cascade.scorers[1].scorers[1], Budget)
        assert cascade.scorers[1].or_keep_order is False
        ranking = reranker.rerank("a red fruit", DOCUMENTS)
        assert ranking[0].document["text"] == "a ripe red apple"
        assert len(ranking) == 2
        assert ranking.degraded  # nothing answers on port 9


def test_relative_paths_start_at_the_file(write, tmp_path):
    with podium.load(write(NESTED)) as reranker:
        reranker.rerank("a red fruit", DOCUMENTS)
    assert (tmp_path / "scores.sqlite").exists()


def test_relative_path_of_an_embedder_starts_at_the_file(write, tmp_path, monkeypatch):
    shutil.copytree(PARITY_MODELS / "embedders" / "bert-mean", tmp_path / "embedder")
    path = write('[reranker]\nuse = "Neighbours"\nembed = "./embedder"\nscorer = "podium-mini"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with podium.load(path) as reranker:
        assert len(reranker.rerank("a red fruit", DOCUMENTS)) == len(DOCUMENTS)


@pytest.mark.parametrize("name", ["./podium-mini", "./cohere:x", "./org/model"])
def test_relative_path_is_never_the_name_of_another_model(write, tmp_path, monkeypatch, name):
    """It also is one for a file in the current folder, whose own folder is ".", and in a folder next to it."""
    monkeypatch.chdir(tmp_path)
    write(f'[reranker]\nmodel = "{name}"\n')
    with pytest.raises(ModelNotFound, match="there is no folder"):
        podium.load("stack.toml")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(ModelNotFound, match="there is no folder"):
        podium.load(f"{tmp_path.name}/stack.toml")


def test_description_of_a_stack_is_a_stack_with_the_same_scores(write, tmp_path):
    with podium.load(write(NESTED)) as reranker:
        description = reranker.describe()
        path = tmp_path / "copy.toml"
        path.write_text(description, encoding="utf-8")
        with podium.load(path) as copied:
            assert copied.describe() == description
            assert copied.scorer.identity == reranker.scorer.identity
            assert (copied.limit, copied.rank_by) == (2, ["title", "text"])


def test_number_of_candidates_is_described_and_used_by_a_search(write, tmp_path):
    with podium.load(write('candidates = 7\nreranker = "podium-mini"\n')) as reranker:
        assert reranker.describe().startswith("candidates = 7\n")
        search = podium.Search(podium.EmbeddedIndex.create(None), reranker)
        assert search.candidates == 7
        assert podium.Search(search.source, reranker, candidates=3).candidates == 3
    assert podium.Search(search.source, podium.Reranker(WordOverlap())).candidates == 100


def test_description_of_a_scorer_in_python_names_its_class():
    description = podium.Reranker(podium.Budget(WordOverlap(), max_tokens=5)).describe()
    assert 'python_object = "WordOverlap"' in description
    assert "max_tokens = 5" in description


def test_options_of_a_call_replace_those_of_the_file(write):
    with podium.load(write('limit = 5\nreranker = "podium-mini"\n'), limit=1, threads=1) as reranker:
        assert reranker.limit == 1
        assert reranker.scorer.threads == 1


def test_calibrated_model(write, tmp_path, mini):
    calibration = Calibration("podium-mini", mini.scorer.revision, "platt", slope=2.0)
    write_calibration(tmp_path / "calibration.json", calibration)
    text = '[reranker]\nuse = "Calibrated"\ncalibration = "calibration.json"\nscorer = "podium-mini"\n'
    with podium.load(write(text)) as reranker:
        assert reranker.rerank("a red fruit", DOCUMENTS).score_kind == "probability"


ERRORS = {
    "unknown key": ('reranker = "podium-mini"\nlimt = 3\n', 2, "there is no key limt here; did you mean limit?"),
    "wrong type": ('\n\nlimit = "three"\nreranker = "podium-mini"\n', 3, "limit must be a whole number from 1, not 'three'"),
    "unknown composition": ('[reranker]\nuse = "Casade"\n', 2, "there is no composition 'Casade'; did you mean Cascade?"),
    "missing scorer": (
        '[reranker]\nuse = "Cascade"\ncheap = "podium-mini"\n',
        1,
        'strong is missing; add strong = "podium-mini"',
    ),
    "unknown option": (
        '[reranker]\nuse = "Cascade"\nkep = 3\ncheap = "podium-mini"\nstrong = "podium-mini"\n',
        3,
        "there is no key kep here; did you mean keep?",
    ),
    "value out of range": (
        '[reranker]\nuse = "Cascade"\ncheap = "podium-mini"\nstrong = "podium-mini"\nkeep = 0\n',
        5,
        "keep must be a whole number from 1 or auto, not '0'",
    ),
    "unknown model": ('[reranker]\nmodel = "podium-mimi"\n', 2, "there is no model 'podium-mimi'; did you mean podium-mini?"),
    "in an inline table": (
        '[reranker]\nuse = "Budget"\nscorer = { model = "podium-mini", precison = "int8" }\n',
        3,
        "precison",
    ),
    "in an array of tables": (
        '[reranker]\nuse = "Fallback"\n[[reranker.scorers]]\nmodel = "podium-mini"\n[[reranker.scorers]]\nmodle = "a"\n',
        5,
        "this has neither; add one of them",
    ),
    "two kinds of scorer": ('[reranker]\nuse = "Budget"\nmodel = "podium-mini"\n', 1, "this has both; remove one of them"),
    "not a table": (
        '[reranker]\nuse = "Budget"\nscorer = 3\n',
        3,
        "scorer must be the name of a model, or a table, not a number",
    ),
    "empty list of scorers": (
        '[reranker]\nuse = "Fallback"\nscorers = []\n',
        3,
        "scorers must be a list with at least one scorer, not an empty list",
    ),
    "no list of scorers": ('[reranker]\nuse = "Fallback"\nscorers = "a"\n', 3, "at least one scorer, not a string"),
    "wrong scorer in a list": (
        '[reranker]\nuse = "Fallback"\nscorers = ["podium-mini", 3]\n',
        3,
        "scorer 2 of the list must be",
    ),
    "missing embedder": (
        '[reranker]\nuse = "Neighbours"\nscorer = "podium-mini"\n',
        1,
        'embed is missing; add embed = "./folder"',
    ),
    "missing price": (
        '[reranker]\nuse = "Budget"\nmax_cost = 1\nscorer = "podium-mini"\n',
        1,
        'name it with price = "0.05/Mtokens"',
    ),
    "no fields": ('reranker = "podium-mini"\nrank_by = []\n', 2, "rank_by must name at least one field"),
    "option of hosted models": ('[reranker]\nmodel = "podium-mini"\ntimeout = 3\n', 3, "timeout is only for hosted models"),
    "option of local models": (
        '[reranker]\nmodel = "cohere:m"\nprecision = "int8"\n',
        3,
        "precision is only for models on this",
    ),
    "option of a model": ('[reranker]\nmodel = "podium-mini"\npooling = 9\n', 3, "pooling must be a whole number from 1 to 3"),
    "source without a place": ('reranker = "podium-mini"\n[source]\nmode = "text"\n', 2, "place is missing; add place ="),
    "wrong composition": (
        '[reranker]\nuse = "Cached"\nstore = "s"\n[reranker.scorer]\nuse = "Cascade"\ncheap = "podium-mini"\n'
        'strong = "podium-mini"\n',
        1,
        "cannot be cached",
    ),
    "no TOML": ('reranker = "podium-mini"\nlimit =\n', 2, "is not TOML"),
}


@pytest.mark.parametrize(("text", "line", "message"), ERRORS.values(), ids=ERRORS)
def test_error_names_the_file_and_the_line(write, text, line, message):
    path = write(text)
    with pytest.raises((InvalidInput, ModelNotFound)) as error:
        podium.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert f"line {line}" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "reranker = { use = [] }",
        "reranker = { use = { a = 1 } }",
        f"limit = 1{'0' * 400}\nreranker = 'podium-mini'",
        f"reranker = {{ use = 'Budget', budget_ms = 1{'0' * 400}, scorer = 'podium-mini' }}",
        f"reranker = {'{ use = 1, scorer = ' * 600}1{'}' * 600}",
        f"a = {'[' * 5000}",
        "reranker = { model = 'podium-mini', threads = 99999999999 }",
    ],
    ids=["list", "table", "large limit", "large budget", "nested tables", "nested lists", "threads"],
)
def test_odd_value_is_invalid_input(write, text):
    with pytest.raises(InvalidInput, match=r"stack\.toml"):
        read_stack(write(text))


def test_file_without_a_reranker_or_that_does_not_exist_is_an_error(write, tmp_path):
    with pytest.raises(InvalidInput, match="has no reranker"):
        podium.load(write("limit = 3\n"))
    with pytest.raises(InvalidInput, match="there is no file"):
        podium.load(tmp_path / "missing.toml")


def test_options_of_models_are_refused_for_a_stack(write):
    with pytest.raises(
        InvalidInput, match=r"stack\.toml has the options of its models in it, so a call does not take precision"
    ):
        podium.load(write('reranker = "podium-mini"\n'), precision="int8")


def test_search_has_the_source_of_the_file(write, tmp_path):
    shutil.copy(ROOT / "docs" / "documents.jsonl", tmp_path / "documents.jsonl")
    text = f"limit = 2\n{SEARCH}"
    search = podium.Search.load(write(text))
    assert (search.candidates, search.limit) == (3, 2)
    assert len(search.search("capital of the United States")) == 2
    with pytest.raises(InvalidInput, match="has no source"):
        podium.Search.load(write('reranker = "podium-mini"\n'))


def test_commands_accept_a_stack(write, tmp_path):
    shutil.copy(ROOT / "docs" / "documents.jsonl", tmp_path / "documents.jsonl")
    path = write(SEARCH)
    code, out, err = run_in_process("search", "capital of the United States", "--model", path, "--json")
    assert code == 0, err
    assert len(json.loads(out)["results"]) == 3
    code, out, err = run_in_process("search", "capital", "--model", path, "--in", ROOT / "docs" / "documents.jsonl", "--json")
    assert (code, len(json.loads(out)["results"])) == (0, 3), err  # the file's number of candidates, from another source
    limited = path.with_name("limited.toml")
    limited.write_text("limit = 2\n" + SEARCH, encoding="utf-8")
    for options, count in (((), 2), (("--limit", 3), 3)):
        code, out, err = run_in_process("search", "capital of the United States", "--model", limited, "--json", *options)
        assert (code, len(json.loads(out)["results"])) == (0, count), err
    code, out, err = run_in_process("rank", "a red fruit", "-", "--model", path, stdin=b"the sea\na ripe red apple\n")
    assert code == 0, err
    assert "a ripe red apple" in out.splitlines()[1]
    code, out, err = run_in_process("eval", ROOT / "docs" / "judged.csv", "--reranker", path, "--scores", tmp_path / "scores")
    assert code == 0, err
    assert str(path) in out
    code, out, err = run_in_process("search", "a", "--model", "podium-mini")
    assert (code, "--in is missing" in err) == (2, True)


def test_server_serves_a_stack(write):
    from podium.server.settings import Settings

    path = write('[reranker]\nuse = "Budget"\nmax_tokens = 1000\nscorer = "podium-mini"\n')
    settings = Settings(models={"stack": {"name": str(path)}}).checked()
    with ServerThread(settings) as server:
        body = server.post("/rank", {"query": "a red fruit", "documents": ["the sea", "a ripe red apple"]}).json()
    assert body["results"][0]["index"] == 1
    path = write('rank_by = ["title"]\nreranker = "podium-mini"\n')
    with ServerThread(Settings(models={"stack": {"name": str(path)}}).checked()) as server:
        for documents in (["a ripe red apple"], [{"title": "a ripe red apple", "text": "the sea"}]):
            assert (
                server.post("/rank", {"query": "q", "documents": documents}).json()["results"][0]["text"] == "a ripe red apple"
            )
    with pytest.raises(PodiumError, match="line 1"):
        Settings(models={"stack": {"name": str(write("limt = 3\n"))}}).checked()


def test_every_component_is_in_the_table_and_has_a_page():
    for component in COMPONENTS:
        assert (ROOT / "docs" / "compose" / f"{component.name.lower()}.md").exists(), component.name
        assert set(component.files) | set(component.required) | set(component.embedders) <= set(component.keys)


def test_table_is_written_as_toml(tmp_path):
    table = {"a": 1, "b": [1.5, 2.0], "t": {"x.y": 'quoted "text"\n', "flag": True, "list": [{"n": 1}, {"n": {"deep": "é"}}]}}
    (tmp_path / "t.toml").write_text(toml_text(table), encoding="utf-8")
    assert read_toml(tmp_path / "t.toml").table == table


def test_byte_order_mark_is_ignored(tmp_path):
    """Some editors on Windows write one."""
    path = tmp_path / "stack.toml"
    path.write_text('[reranker]\nuse = "Passages"\nscorer = "podium-mini"\n', encoding="utf-8-sig")
    with podium.load(path) as reranker:
        assert reranker.model == "podium-mini"
