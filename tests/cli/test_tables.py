"""Rankings in a terminal: its width, its encoding, and documents with control characters."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest

from commands import run_in_process, run_in_subprocess
from environment import PARITY_MODELS
from podium.local.known_models import KNOWN_MODELS


def test_document_cannot_control_the_terminal(tmp_path):
    (tmp_path / "d.txt").write_bytes("\x1b[31mred\x07 [bold]x[/bold]\u202e apple\n".encode())
    code, out, _ = run_in_process("rank", "red", tmp_path / "d.txt")
    assert code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert "[bold]x[/bold]" in out


@pytest.fixture
def long_document(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"id": "some-long-identifier", "text": "a red apple " * 200}) + "\n")
    return path


@pytest.mark.parametrize("width", ["", "0", "nonsense"])
def test_output_is_not_cut_if_the_width_is_unknown(long_document, width):
    _, out, _ = run_in_process("rank", "apple", long_document, COLUMNS=width)
    rank, _score, moved, document_id, *_ = out.splitlines()[1].split()
    assert (rank, moved, document_id) == ("1", "=", "some-long-identifier")
    assert out.splitlines()[1].endswith(("a red apple " * 200).strip())


def test_piped_output_of_a_process_is_not_cut(long_document):
    _, out, _ = run_in_subprocess("rank", "apple", long_document, COLUMNS="")
    assert out.splitlines()[1].endswith(("a red apple " * 200).strip())


def test_ids_and_documents_are_cut_at_the_terminals_width(long_document):
    _, out, _ = run_in_process("rank", "apple", long_document, COLUMNS="80")
    assert re.fullmatch(r" +1 +0\.\d{4} +=  some-long-i…  (a red apple )+a.*…", out.splitlines()[1])
    assert len(out.splitlines()[1]) == 80


@pytest.mark.parametrize("width", ["1", "12", "39"])
def test_very_narrow_terminal_shows_every_column(text_file, width):
    _, out, err = run_in_process("rank", "a red fruit", text_file, COLUMNS=width)
    assert (out.splitlines()[0].split(), err) == (["rank", "score", "moved", "document"], "")
    assert "▲1" in out.splitlines()[1]


def width_of(line):
    """Return how many columns of a terminal a line takes: Chinese and Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


@pytest.mark.parametrize("model", ["podium-mini", PARITY_MODELS / "bert"], ids=["sigmoid", "logit"])
def test_lines_fit_the_terminal(tmp_path, model):
    (tmp_path / "d.txt").write_text("word 東京 " * 100 + "\nshort\n", encoding="utf-8")
    _, out, _ = run_in_process("rank", "q", tmp_path / "d.txt", "--model", model, COLUMNS="60")
    assert out
    assert all(width_of(line) <= 60 for line in out.splitlines())


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "", "LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=["PYTHONIOENCODING", "locale"],
)
def test_ascii_terminal_shows_plus_and_minus_for_arrows(text_file, variables):
    code, out, err = run_in_subprocess("rank", "a red fruit", text_file, **variables)
    assert (code, err) == (0, "")
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["+1", "-1", "="]
    assert "a ripe red apple" in out


def test_unpaired_surrogate_is_replaced_in_json():
    code, out, err = run_in_subprocess("rank", "q", "-", "--json", stdin=b'{"text": "a \\ud800 b"}')
    assert (code, err) == (0, "")
    assert json.loads(out)["results"][0]["document"] == {"text": "a \ufffd b"}


def test_reranked_and_original_order_are_side_by_side_in_a_wide_terminal(tmp_path):
    (tmp_path / "d.txt").write_text("the sea at night\nthe night, the sea and a red apple\n")
    arguments = ["search", "the sea and red fruit", "--in", tmp_path / "d.txt"]
    wide, narrow = (run_in_process(*arguments, COLUMNS=width)[1].splitlines() for width in ("120", "80"))
    assert wide[0].split() == ["rank", "reranked", "score", "moved", "as", "found", "score"]
    assert [line for line in narrow if line in ("reranked", "as found")] == ["reranked", "as found"]
    assert sum("apple" in line for line in narrow) == 2


@pytest.mark.parametrize("width", ["20", "50", "80", "100"])
def test_no_word_of_a_table_is_broken(width):
    wide, narrow = (run_in_process("models", COLUMNS=columns)[1] for columns in ("300", width))
    assert sorted(wide.split()) == sorted(narrow.split())
    names = [row.name for row in KNOWN_MODELS]
    assert [line.split()[0] for line in narrow.splitlines() if line.startswith(tuple(names))] == names


def test_cells_are_wrapped_in_a_narrow_terminal():
    """A row has more lines, but its columns are still beside each other, if the longest words fit."""
    out = run_in_process("check", "podium-mini", COLUMNS="40")[1]
    assert max(map(len, out.splitlines())) <= 40
    assert re.search(r"^family +late interaction\n {18}\(podium-late\)$", out, re.MULTILINE)
