"""The README and the pages: all examples run, generated parts are current, and links lead to files and headings."""

from __future__ import annotations

import re
import sys

import pytest

from environment import ROOT
from podium.cli.serve import serve

sys.path.insert(0, str(ROOT / "docs"))
import make

PAGES = make.pages()
COMPOSITIONS = sorted((ROOT / "docs" / "compose").glob("*.md"))
SERVING = ROOT / "docs" / "serving.md"


def page_id(path):
    return str(path.relative_to(ROOT))


def without_speeds(text):
    """Return the text without values that differ in every run, and without the widths of the columns that have them."""
    text = re.sub(r"[0-9.]+ (ms|seconds|s|MB|hours|pairs/s)\b|(?<=podium-mini ) +[0-9]+ +0\.[0-9]+ +0\.[0-9]+", "…", text)
    return re.sub(r" +", " ", text)


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(text):
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_examples_run_and_print_what_the_page_shows(path):
    page = path.read_text(encoding="utf-8")
    assert without_speeds(make.with_generated(page)) == without_speeds(page), f"run python docs/make.py {page_id(path)}"


def test_failing_example_is_an_error():
    with pytest.raises(AssertionError, match="failed"):
        make.with_generated("```python\nraise SystemExit(3)\n```")


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("```python\nprint(3)\n```\n\n<!-- output -->\n```text\n4\n```", id="python"),
        pytest.param("<!-- output -->\n```console\n$ podium --version\n0\n```", id="console"),
    ],
)
def test_other_output_is_a_difference(example):
    assert make.with_generated(example) != example


def test_option_that_does_not_exist_is_an_error():
    with pytest.raises(Exception, match="No such option"):
        make.with_generated("```console\n$ podium serve --ports 3\n```")


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_code_block_is_checked(path):
    """An indented block would not be run, and neither would one in a language that no parser reads."""
    page = path.read_text(encoding="utf-8")
    assert set(re.findall(r"^```(\w+)", page, re.MULTILINE)) <= {"python", "console", *make.PARSERS}
    assert len(re.findall(r"^```$", page, re.MULTILINE)) == len(re.findall(r"^```\w+", page, re.MULTILINE))
    assert re.findall(r"\n\n    \S.*", re.sub(r"```.*?```", "", page, flags=re.DOTALL)) == []


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("*.md")], ids=page_id)
def test_links_lead_to_files_and_headings(path):
    page = path.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", without_code(page)):
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize("path", COMPOSITIONS, ids=lambda path: path.stem)
def test_every_composition_has_an_example_and_is_in_the_index(path):
    if path.stem != "index":
        assert "<!-- output -->" in path.read_text(encoding="utf-8")
        assert f"({path.name})" in (path.parent / "index.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    assert [page for page in docs.rglob("*.md") if f" {page.relative_to(docs)}\n" not in navigation] == []


@pytest.mark.parametrize(
    ("question", "page", "answer"),
    [
        ("How do I rerank long PDFs?", "long-documents.md", "pdftotext"),
        ("What does 0.73 mean?", "scores.md", "probability of 73 %"),
        ("It is slow, what can I do?", "faster.md", "precision="),
    ],
)
def test_frequent_question_is_answered_one_click_from_the_first_page(question, page, answer):
    first_page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert re.search(rf"\| {re.escape(question)} \| \[[^\]]+\]\({page}", first_page)
    assert answer in (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_podium_is_not_installed_from_an_index():
    """podium is not published there, so such a command would install another package."""
    for file in (*PAGES, *(ROOT / "src").rglob("*.py")):
        assert not re.search(r"pip install ['\"]?podium", file.read_text(encoding="utf-8")), file


def test_options_on_the_serving_page_exist():
    page = SERVING.read_text(encoding="utf-8")
    options = {name for option in serve.params for name in option.opts}
    assert set(re.findall(r"(?<![\w`-])`?(--[a-z][a-z-]*)", page)) <= options | {"--file", "--soak", "--beside"}


def test_files_have_no_path_of_a_machine():
    patterns = ("*.md", "src/**/*.py", "tests/**/*.py", "bench/*.py", "training/*", "docs/**/*")
    paths = [
        path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file() and path.suffix not in (".png", ".pyc")
    ]
    assert len(paths) > 40
    for path in paths:
        assert not re.search(r"/(home|Users|work|root)/\w", path.read_text(encoding="utf-8")), path
