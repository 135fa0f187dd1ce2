"""Rules of the code base that a program can check: imports, names, repeated lines, optional packages."""

from __future__ import annotations

import ast
import collections
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import podium
from environment import HAS_ONNX, ROOT
from podium.errors import MissingPackage
from podium.extras import import_optional, requirements
from podium.local.files.distributions import EXTRAS, GROUP

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = ROOT / "src" / "podium"
LEVELS = (
    {
        *("types", "errors", "documents", "inputs", "extras", "scorers", "formats", "parquet", "expansion", "notebook"),
        *("_native", "atomic", "checksums", "daemon_threads", "encodings", "forks", "json_values", "logistic", "notes"),
        *("deadlines", "options", "prices", "redis_values", "regular_files", "schedule", "steps", "texts", "threads"),
        *("embedding", "field_values", "sentences", "token_counts", "toml_files", "truncation"),
    },
    {"ordering", "preparation", "progress", "bundled"},
    {"local", "hosted", "compose"},
    {"explanations", "ranking"},
    {"sources", "evaluation"},
    {"load", "guide", "search", "places", "integrations", "stacks"},
    {"batch", "server", "tuning", "cli", "__main__"},
)
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}
"""A package or module of podium → its level. A module imports only from lower levels and from its own level."""
INDEPENDENT = {"local", "hosted", "compose", "sources", "evaluation"}
"""Packages that do not import each other."""

BANNED_NAMES = frozenset(
    {"ask", "asked", "at", "chosen", "do", "each", "found", "given", "has", "info2", "it", "kept", "made", "place", "places"}
    | {"said", "says", "stuff", "there", "thing", "told", "wanted", "whole"}
)
"""Names that do not tell what a value is."""
ALLOWED_NAMES = {
    "place": r"(src/podium/(places|stacks|sources/.+|cli/(index|search|eval|first_stages|serve))"
    r"|tests/(sources/.+|test_recipes))\.py"
}
"""Banned name → files in which it is allowed: users call the URL, folder or file of an index a place."""
ALLOWED_DUPLICATES = {"steps.py"}
"""Files of src/podium that may repeat lines, because a synchronous and an asynchronous function have the same lines."""
DUPLICATE_LINES = 6  # the number of equal lines that make a block a duplicate

CHECKED = ("src", "tests", "bench", "docs", "training")
"""Folders in which names are checked."""


def checked_files() -> list[Path]:
    return sorted(file for folder in CHECKED for file in (ROOT / folder).rglob("*.py"))


def syntax_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports() -> Iterator[tuple[Path, str, str]]:
    """For every import of a module of podium, also inside functions, yield the file, the file's package, and the package
    of the imported module.
    """
    for path in SOURCE.rglob("*.py"):
        if path == SOURCE / "__init__.py":
            continue
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(syntax_tree(path)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert module != "podium", f"{path} imports the package root"
                if module.startswith("podium."):
                    yield path, package, module.split(".")[1]


def test_modules_import_only_from_lower_levels():
    all_imports = list(imports())
    assert len(all_imports) > 50
    for path, package, imported in all_imports:
        if package == imported:
            continue
        is_allowed = LEVEL[imported] <= LEVEL[package] and not {package, imported} <= INDEPENDENT
        assert is_allowed, f"{path}: {package} must not import {imported}"


def loaded_modules(statement: str) -> set[str]:
    """Return the modules that a new process has loaded after a statement and had not loaded before."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return {module.partition(".")[0] for module in process.stdout.split()}


def test_importing_podium_loads_no_third_party_package():
    assert loaded_modules("import podium") - set(sys.stdlib_module_names) == {"podium"}


COMMAND_MODULES = """
import sys
from podium.cli import COMMANDS, podium
podium.commands["models"]
print(*[name for name in COMMANDS if f"podium.cli.{name}" in sys.modules])
"""


def test_command_imports_the_module_of_no_other_command():
    """Importing the modules of all commands takes longer than most commands."""
    process = subprocess.run([sys.executable, "-c", COMMAND_MODULES], capture_output=True, check=True, text=True)
    assert process.stdout == "models\n"


def test_hosted_reranker_loads_no_local_runtime():
    modules = loaded_modules("import podium; podium.load('cohere:m', api_key='k')")
    assert not {"onnxruntime", "onnx", "tokenizers", "numpy"} & modules


def test_source_does_not_import_torch():
    for module in ("torch", "transformers", "sentence_transformers"):
        for path in SOURCE.rglob("*.py"):
            assert f"import {module}" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("folder", ["bench", "docs", "training", "tests/parity"])
def test_scripts_import_names_that_exist(folder):
    """No other test would notice a name that was renamed, because the tests do not run these scripts."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(syntax_tree(path)):
            is_import_of_podium = isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "podium"
            if is_import_of_podium and "runtimes.onnx" in node.module and not HAS_ONNX:
                continue
            if is_import_of_podium and "_native" not in {alias.name for alias in node.names}:  # the core may not be built
                exec(compile(ast.Module([node], []), str(path), "exec"), {})


def test_tests_do_not_patch_podium():
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name == Path(__file__).name:
            continue
        text = path.read_text(encoding="utf-8")
        assert "mock" not in text, path
        assert "monkeypatch.setattr" not in text, path


def test_module_names_tell_what_the_module_has():
    assert not [path for path in SOURCE.rglob("*") if path.stem in {"utils", "helpers", "common", "base", "manager"}]


def bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of every variable, parameter, attribute of self, function and class.

    An imported name counts only if it is renamed with `as`.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno


def test_banned_names_are_found_in_every_kind_of_binding():
    code = """
        import os as said
        class Found:
            each = 1
            def _ask(self, given, *at, kept=1, **told): self._made = (says := 2)
        with open(f) as it: pass
        for there in [x for thing in y]: pass
        lambda chosen: chosen
        try: pass
        except E as stuff: pass
        match x:
            case [whole, *places]: pass
    """
    names = {name.strip("_").lower() for name, _ in bound_names(ast.parse(textwrap.dedent(code)))}
    assert names >= BANNED_NAMES - {"asked", "do", "has", "info2", "place", "wanted"}


def test_names_tell_what_a_value_is():
    violations = []
    for path in checked_files():
        file = path.relative_to(ROOT).as_posix()
        names = sorted(bound_names(syntax_tree(path)), key=lambda name_and_line: name_and_line[1])
        allowed = {name for name, files in ALLOWED_NAMES.items() if re.fullmatch(files, file)}
        violations += [f"{file}:{line}: {name}" for name, line in names if name.strip("_").lower() in BANNED_NAMES - allowed]
    assert not violations, "names that do not tell what a value is:\n" + "\n".join(violations)


def code_lines(path: Path) -> list[tuple[int, str]]:
    """Return (number, line) of a file's code, without imports, `__all__`, signatures, comments and lines of punctuation."""
    excluded: set[int] = set()
    for node in ast.walk(syntax_tree(path)):
        is_list_of_names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if isinstance(node, ast.Import | ast.ImportFrom) or is_list_of_names:
            excluded.update(range(node.lineno, node.end_lineno + 1))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            excluded.update(range(node.lineno, node.body[0].lineno))
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    code = ((number, " ".join(line.split())) for number, line in lines if number not in excluded)
    return [(number, line) for number, line in code if re.search(r"\w", line) and not line.startswith("#")]


def test_no_block_of_lines_is_repeated():
    locations: dict[tuple[str, ...], list[str]] = collections.defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        lines = code_lines(path)
        for start in range(len(lines) - DUPLICATE_LINES + 1):
            block = lines[start : start + DUPLICATE_LINES]
            locations[tuple(line for _, line in block)].append(f"{path.relative_to(SOURCE).as_posix()}:{block[0][0]}")
    repeated = [
        " ~ ".join(sorted(names))
        for names in locations.values()
        if len(names) > 1 and not all(name.partition(":")[0] in ALLOWED_DUPLICATES for name in names)
    ]
    assert not repeated, f"the same {DUPLICATE_LINES} lines begin at:\n" + "\n".join(repeated)


def test_public_names_are_sorted_and_documented():
    names = [name for name in podium.__all__ if not name.startswith("__")]
    assert names == sorted(names, key=lambda name: (name.islower(), name.lower()))
    assert all((getattr(podium, name).__doc__ or "").strip() for name in names if name != "ScoreKind")
    assert all(name in dir(podium) for name in podium.__all__)


def test_every_module_has_a_docstring():
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(syntax_tree(path)), path


def test_missing_package_is_an_error_with_the_command_that_installs_it():
    """The command names the packages themselves, so it works wherever podium was installed from."""
    command = "pip install 'tantivy>=0.24' 'usearch>=2.16' (podium's extra 'index')"
    with pytest.raises(MissingPackage, match=re.escape(f"needs no_such_package, which is not installed: {command}")):
        import_optional("no_such_package.part", "index")
    assert issubclass(MissingPackage, ImportError)


def test_package_that_is_installed_is_returned():
    assert import_optional("json", "index") is json


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_extra_named_all_has_every_extra_but_models(project):
    extras = project["optional-dependencies"].keys() - EXTRAS.values() - {"all"}
    (names,) = re.fullmatch(r"podium\[(.*)\]", *project["optional-dependencies"]["all"]).groups()
    assert sorted(names.split(",")) == sorted(extras)
    assert {package for name in extras for package in requirements(name)} == set(requirements("all"))


@pytest.mark.parametrize(("model", "extra"), EXTRAS.items())
def test_extra_of_a_model_has_its_package(project, model, extra):
    """The package's folder, name and entry point are named after the model."""
    package = tomllib.loads((ROOT / "models" / model / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["name"] == model
    assert package["entry-points"][GROUP] == {model: f"{model.replace('-', '_')}:FOLDER"}
    assert project["optional-dependencies"][extra] == [f"{model}>={package['version']}"]


def test_requirements_of_an_extra_include_those_of_the_extras_in_it(project):
    assert "ir-measures>=0.3.7" in requirements("eval")
    assert "tantivy>=0.24" in requirements("eval")  # a requirement of the extra index
    for name in project["optional-dependencies"]:
        assert not any(requirement.startswith("podium[") for requirement in requirements(name))


def test_metadata_has_no_address_that_does_not_exist(project):
    assert "urls" not in project
