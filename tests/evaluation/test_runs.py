"""TREC run files: every tool reads the same order from them, and damaged ones are refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import InvalidInput
from podium.evaluation.runs import read_run, write_run

scores = st.floats(-1e6, 1e6, width=32)
random_runs = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(st.sampled_from("abcdefgh"), scores, min_size=1), min_size=1
)


@settings(deadline=None)
@given(random_runs)
def test_run_with_equal_scores_is_read_in_the_order_in_which_it_was_written(tmp_path_factory, run):
    file = tmp_path_factory.mktemp("runs") / "a.run"
    ordered = {query: dict(sorted(ranked.items(), key=lambda item: -item[1])) for query, ranked in run.items()}
    write_run(file, ordered, "a name")
    reread = read_run(file)
    assert {query: list(ranked) for query, ranked in reread.items()} == {query: [*ranked] for query, ranked in ordered.items()}
    for ranked in reread.values():
        assert len({np.float32(score) for score in ranked.values()}) == len(ranked)


def test_byte_order_mark_is_not_part_of_a_query_id(tmp_path):
    (tmp_path / "run.txt").write_text("\ufeffq 0 d 1 2.5 name\n", encoding="utf-8")
    assert read_run(tmp_path / "run.txt") == {"q": {"d": 2.5}}


def test_folder_is_read_as_one_run(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b.run").write_text("q2 Q0 d1 1 2 x\n")
    (tmp_path / "parts" / "a.run").write_text("q1 Q0 d1 1 2 x\nq1 Q0 d2 2 1 x\n")
    expected = {"q1": {"d1": 2.0, "d2": 1.0}, "q2": {"d1": 2.0}}
    assert read_run(tmp_path) == read_run(tmp_path / "parts") == expected


@pytest.mark.parametrize(("name", "message"), [("empty.run", "has no lines"), ("folder", "has no .run file")])
def test_run_without_lines_is_refused(tmp_path, name, message):
    (tmp_path / "empty.run").write_text("\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match=message):
        read_run(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    ["q1 Q0 d1", "q1 Q0 d1 first 2.0 x", "q1 Q0 d1 1 nan x", "q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x"],
    ids=["too few cells", "rank", "score", "document twice"],
)
def test_damaged_run_is_refused(tmp_path, content):
    (tmp_path / "a.run").write_text(content)
    with pytest.raises(InvalidInput, match=r"line 1|the document 'd1' twice; remove one"):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize(
    "run",
    [{"q 1": {"a": 1.0}}, {"q": {"a b": 1.0}}, {"q": {"": 1.0}}, {"q": {"a\u2003b": 1.0}}],
    ids=["query", "document", "empty", "em space"],
)
def test_id_with_white_space_is_not_written(tmp_path, run):
    with pytest.raises(InvalidInput, match=r"white space|is empty"):
        write_run(tmp_path / "x.run", run, "x")
    assert list(tmp_path.iterdir()) == []


def test_run_that_cannot_be_written_leaves_no_file(tmp_path):
    """The script runs in another process, because a limit on the size of files applies to all threads of a process."""
    script = (
        "import resource, sys, podium\nfrom podium.evaluation.runs import write_run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "try:\n    write_run(sys.argv[1], {'q': {str(number): 1.0 for number in range(1000)}}, 'x')\n"
        "except podium.PodiumError as error:\n    print(error)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, tmp_path / "x.run"], capture_output=True, text=True, timeout=120)
    assert "cannot write" in process.stdout, process.stderr
    assert list(tmp_path.iterdir()) == []


def test_documents_without_text_are_written_with_finite_scores(tmp_path):
    write_run(tmp_path / "a.run", {"q": {"a": 2.0, "b": -np.inf, "c": -np.inf}}, "name")
    scores = read_run(tmp_path / "a.run")["q"]
    assert list(scores) == ["a", "b", "c"]
    assert len({np.float32(score) for score in scores.values()}) == 3
