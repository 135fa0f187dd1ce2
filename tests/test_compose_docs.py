"""The pages on compositions: every example runs, prints what the page shows, and links lead to files."""

from __future__ import annotations

import re
import sys

import pytest

from environment import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import make

PAGES = sorted((ROOT / "docs" / "compose").glob("*.md"))


def without_speeds(text):
    """Return the text without times, which differ in every run, and without the widths of their columns."""
    return re.sub(r" +", " ", re.sub(r"[0-9.]+ ms", "…", text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_examples_print_what_the_page_shows(path):
    page = path.read_text(encoding="utf-8")
    assert without_speeds(make.with_outputs(page)) == without_speeds(page), (
        f"run python docs/make.py compose, and check the change of {path.name}"
    )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_files(path):
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_every_component_has_a_page_with_an_example_and_is_in_the_index():
    index = (ROOT / "docs" / "compose" / "index.md").read_text(encoding="utf-8")
    for path in PAGES:
        if path.stem != "index":
            assert "<!-- output -->" in path.read_text(encoding="utf-8"), path
            assert f"({path.name})" in index, path


def test_table_of_components_is_current():
    page = make.FILES.read_text(encoding="utf-8")
    assert make.with_part(page, "components", make.components()) == page, "run python docs/make.py compose"
