"""The README and the other pages: generated parts are current, examples run, links and options exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

import podium
from environment import ROOT
from podium.cli.serve import serve

sys.path.insert(0, str(ROOT / "docs"))
import make

README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
EXAMPLES = ("example", "searched")
"""Generated parts whose code is also run in an empty folder."""


def without_speeds(text):
    """Return the text without times and speeds, which differ in every run, and without the widths of their columns."""
    replaced = re.sub(r"[0-9]+ ms|(?<=podium-mini ) +[0-9]+ +0\.[0-9]+ +0\.[0-9]+", "…", text)
    return re.sub(r" +", " ", replaced)


@pytest.mark.parametrize("name", [name for name in make.PARTS if name not in EXAMPLES])
def test_generated_part_of_the_readme_is_current(name):
    current = make.with_part(README, name, make.PARTS[name]())
    assert without_speeds(current) == without_speeds(README), "run make docs"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_prints_the_same_in_an_empty_folder(tmp_path, name):
    code = make.code_before(name)
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert f"<!-- {name} -->\n```text\n{process.stdout}```" in README


def test_podium_is_not_installed_from_an_index():
    """podium is not published there, so such a command would install another package."""
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")):
        assert not re.search(r"pip install ['\"]?podium", file.read_text(encoding="utf-8")), file


def test_card_of_the_bundled_model_has_the_measured_table():
    card = make.CARD.read_text(encoding="utf-8")
    assert make.with_part(card, "measured", make.measured()) == card, "run make docs"


def test_serving_page_has_the_measured_table():
    page = make.SERVING.read_text(encoding="utf-8")
    assert make.with_part(page, "served", make.served()) == page, "run make docs"


def test_manifests_of_the_serving_page_are_yaml():
    page = make.SERVING.read_text(encoding="utf-8")
    manifests = yaml.safe_load_all(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    assert [manifest["kind"] for manifest in manifests] == ["Deployment", "Service"]


def test_options_on_the_serving_page_exist():
    page = make.SERVING.read_text(encoding="utf-8")
    options = {name for option in serve.params for name in option.opts}
    assert set(re.findall(r"(?<![\w`-])`?(--[a-z][a-z-]*)", page)) <= options | {"--file", "--soak", "--beside"}


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_readme_has_every_error():
    public = {name: getattr(podium, name) for name in podium.__all__}
    errors = [name for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)]
    assert [name for name in errors if name not in README and name != "ProviderError"] == []


def test_files_have_no_path_of_a_machine():
    patterns = ("*.md", "src/**/*.py", "tests/**/*.py", "bench/*.py", "training/*", "docs/*")
    paths = [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file() and path.suffix != ".png"]
    assert len(paths) > 40
    for path in paths:
        assert not re.search(r"/(home|Users|work|root)/\w", path.read_text(encoding="utf-8")), path
