"""The house rules that can be checked: imports point down, importing is light, nothing is patched, names stay out."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import podium
from environment import ROOT
from podium.errors import MissingPackage
from podium.extras import needed, requirements

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = ROOT / "src" / "podium"
LEVELS = (
    {
        *("types", "errors", "documents", "inputs", "extras", "scorers", "formats", "notebook", "_native"),
        *("atomic", "checksums", "forks", "json_values", "logistic", "steps"),
    },
    {"ranking", "progress", "bundled"},
    {"local", "hosted", "compose", "sources", "evaluation"},
    {"load", "guide", "search", "places", "integrations"},
    {"batch", "server", "cli", "__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def imports() -> Iterator[tuple[Path, str, str]]:
    """Yield (file, its room, a room it imports) for every import of podium's own modules, also inside functions."""
    for path in SOURCE.rglob("*.py"):
        if path == SOURCE / "__init__.py":
            continue
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert module != "podium", f"{path} imports the package root"
                if module.startswith("podium."):
                    yield path, room, module.split(".")[1]


def test_imports_point_down():
    found = list(imports())
    assert len(found) > 50
    for path, room, imported in found:
        if room == imported:
            continue
        beside = LEVEL[room] == LEVEL[imported] and LEVEL[room] != 2
        assert LEVEL[imported] < LEVEL[room] or beside, f"{path}: {room} must not import {imported}"


def test_importing_podium_loads_nothing_of_third_parties():
    script = (
        "import sys; before = set(sys.modules); import podium; print(*{m.partition('.')[0] for m in set(sys.modules) - before})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert set(loaded) - set(sys.stdlib_module_names) == {"podium"}


def test_a_hosted_reranker_loads_no_local_runtime():
    script = "import sys, podium; podium.load('cohere:m', api_key='k'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert not {"onnxruntime", "onnx", "tokenizers", "numpy"} & set(loaded)


def test_nothing_installed_needs_torch():
    for module in ("torch", "transformers", "sentence_transformers"):
        for path in SOURCE.rglob("*.py"):
            assert f"import {module}" not in path.read_text(encoding="utf-8"), path


def test_our_own_code_is_never_patched():
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name == Path(__file__).name:
            continue
        text = path.read_text(encoding="utf-8")
        assert "mock" not in text, path
        assert "monkeypatch.setattr" not in text, path


def test_no_room_is_called_after_nothing():
    poor = {"utils", "helpers", "common", "base", "manager"}
    assert not [path for path in SOURCE.rglob("*") if path.stem in poor]


def test_public_names_are_sorted_and_documented():
    names = [name for name in podium.__all__ if not name.startswith("__")]
    assert names == sorted(names, key=lambda name: (name.islower(), name.lower()))
    assert all((getattr(podium, name).__doc__ or "").strip() for name in names if name != "ScoreKind")
    assert all(name in dir(podium) for name in podium.__all__)


def test_every_module_says_what_it_is():
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_a_package_that_is_missing_is_named_with_its_remedy():
    """The command names the packages themselves, so it works wherever podium was installed from."""
    command = "pip install 'tantivy>=0.24' 'usearch>=2.16' (podium's extra 'index')"
    with pytest.raises(MissingPackage, match=re.escape(f"needs no_such_package, which is not installed: {command}")):
        needed("no_such_package.part", "index")
    assert issubclass(MissingPackage, ImportError)
    assert needed("json", "index") is json


def test_every_extra_lists_its_packages_and_all_has_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = set(extras) - {"all"}
    assert extras["all"] == [f"podium[{','.join(name for name in extras if name != 'all')}]"]
    assert "ir-measures>=0.3.7" in requirements("eval")
    assert "tantivy>=0.24" in requirements("eval")  # of the extra index, which eval includes
    for name in names:
        assert all(not requirement.startswith("podium") for requirement in requirements(name))
    assert {each for name in names for each in requirements(name)} == set(requirements("all"))


def test_metadata_names_no_address_that_does_not_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "urls" not in project
