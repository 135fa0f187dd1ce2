"""The reference: every command, public name, error and environment variable is documented."""

from __future__ import annotations

import importlib
import re
import sys

import pytest

import podium
from commands import run_in_process
from environment import ROOT
from podium.cli import podium as command_line
from podium.hosted.providers import PROVIDERS

sys.path.insert(0, str(ROOT / "docs"))
import reference

DOCS = ROOT / "docs"
SOURCES = [path for path in (ROOT / "src" / "podium").rglob("*.py") if "bundled" not in path.parts]
PUBLIC = {name: getattr(podium, name) for name in podium.__all__}
ERRORS = [name for name, value in PUBLIC.items() if isinstance(value, type) and issubclass(value, Warning | Exception)]
MENTIONED = re.compile(r"\b((?:HF|PODIUM|PROMETHEUS|SSL|XDG|COHERE|RAY)_[A-Z_]+[A-Z]|[A-Z]+_PROXY|NO_COLOR|COLUMNS)\b")
"""Names of environment variables in the code. Constants in the code with these prefixes are in NOT_VARIABLES."""
NOT_VARIABLES = {"HF_COLBERT"}


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["podium", *(name for name, _ in reference.leaves(command_line, "podium"))])
def test_page_has_the_help_that_the_command_prints(name):
    code, output, _ = run_in_process(*name.split()[1:], "--help")
    assert code == 0
    assert f"```text\n{output.rstrip()}\n```" in page("cli.md"), "run python docs/make.py docs/cli.md"


def test_every_public_name_is_on_the_page_of_the_python_api():
    documented = re.findall(r"^::: (podium\.[\w.]+)\.(\w+)$", page("api.md"), re.MULTILINE)
    assert sorted(name for _, name in documented) == sorted(set(PUBLIC) - {"__version__"})
    for module, name in documented:
        assert getattr(importlib.import_module(module), name) is PUBLIC[name]


@pytest.mark.parametrize("name", ERRORS)
def test_every_public_error_is_documented(name):
    assert f"`{name}`" in page("errors.md")


def test_every_environment_variable_is_documented():
    read = {name for path in SOURCES for name in re.findall(r"environ[^\n]{0,8}[\[(]\"([A-Z_]+)\"", path.read_text())}
    mentioned = {name for path in SOURCES for name in MENTIONED.findall(path.read_text(encoding="utf-8"))} - NOT_VARIABLES
    of_providers = {f"{row.name.upper()}_BASE_URL" for row in PROVIDERS} | {row.key_variable for row in PROVIDERS} - {None}
    variables = read | mentioned | of_providers
    assert {"PODIUM_CACHE", "COHERE_API_KEY", "HF_ENDPOINT", "HTTP_PROXY", "SSL_CERT_FILE"} <= variables
    assert sorted(name for name in variables if f"`{name}`" not in page("configuration.md")) == []


def test_every_extra_is_documented():
    table = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]\n")[2]
    extras = re.findall(r"^(\w+) = \[", table.partition("\n[")[0], re.MULTILINE)
    assert "all" in extras
    assert [name for name in extras if f"| `{name}` |" not in page("install.md")] == []
