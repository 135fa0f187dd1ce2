"""The README is true: its generated parts are what would be written now, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml

from environment import ROOT
from podium.cli.serve import serve

sys.path.insert(0, str(ROOT / "docs"))
import make

README = ROOT.joinpath("README.md").read_text(encoding="utf-8")


def texts():
    return make.filled(README), README


def test_the_generated_parts_are_what_would_be_written_now():
    """But for times and speeds, which are others every time, and the columns they stand in."""
    without_times = [re.sub(r"[0-9]+ ms|(?<=podium-mini ) +[0-9]+ +0\.[0-9]+ +0\.[0-9]+", "…", text) for text in texts()]
    without_widths = [re.sub(r" +", " ", text) for text in without_times]
    assert without_widths[0] == without_widths[1], "run make docs"


def test_the_examples_of_python_work_in_an_empty_folder(tmp_path):
    for name in ("example", "searched"):
        code = make._code_before(name)
        printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
        assert f"<!-- {name} -->\n```text\n{printed}```" in README


def test_no_package_is_installed_from_an_index_where_podium_is_not():
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")):
        assert not re.search(r"pip install ['\"]?podium", file.read_text(encoding="utf-8")), file


def test_the_models_card_has_the_table_that_was_measured():
    card = make.CARD.read_text(encoding="utf-8")
    assert make.with_part(card, "measured", make.measured()) == card, "run make docs"


def test_the_page_on_serving_is_true():
    """Its figures are those that were measured, its examples could be used, and all options are ones that there are."""
    page = make.SERVING.read_text(encoding="utf-8")
    assert make.with_part(page, "served", make.served()) == page, "run make docs"
    manifests = yaml.safe_load_all(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    assert [each["kind"] for each in manifests] == ["Deployment", "Service"]
    options = {name for option in serve.params for name in option.opts}
    assert set(re.findall(r"(?<![\w`-])`?(--[a-z][a-z-]*)", page)) <= options | {"--file", "--soak", "--beside"}


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_error_is_told():
    import podium

    tree = [
        name
        for name in vars(podium)
        if isinstance(getattr(podium, name), type) and issubclass(getattr(podium, name), Exception)
    ]
    assert [name for name in tree if name not in README and name not in ("ProviderError",)] == []


def test_no_path_of_a_machine_and_no_secret_is_in_the_repository():
    paths = [
        path
        for pattern in ("*.md", "src/**/*.py", "tests/**/*.py", "bench/*.py", "training/*", "docs/*")
        for path in ROOT.glob(pattern)
        if path.suffix != ".png"
    ]
    assert len(paths) > 40
    for path in paths:
        assert not re.search(r"/(home|Users|work|root)/\w", path.read_text(encoding="utf-8")), path
