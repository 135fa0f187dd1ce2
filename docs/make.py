"""Run the notebook, and write the generated parts of the README and the pages: outputs of commands, and tables.

    make docs
    python docs/make.py README.md docs/compose     # only these pages, and those in these folders

Generated are

- the text block after `<!-- output -->`: the output of the Python block above it;
- the output in the console block after `<!-- output -->`: that of its podium command;
- the lines between `<!-- name -->` and `<!-- end -->`, for the names in `PARTS`.

All Python blocks and podium commands of a page run, from its top to its bottom, in a folder that `workspace` creates. Those
after `<!-- not run: REASON -->` are only compiled, or their arguments checked. Tests compare the pages with what would be
written now.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import yaml

from podium.cli import podium
from podium.compose.table import COMPONENTS
from podium.hosted.providers import PROVIDERS
from podium.local.families import FAMILIES
from podium.local.known_models import KNOWN_MODELS

toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "docs"), str(ROOT / "tests" / "support")]
from reference import FENCE, commands, http_paths, leaves, table, variables  # noqa: E402  in the folders above

from resp import Replay  # noqa: E402

README = ROOT / "README.md"
DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "guide.ipynb"
BENCHMARK_RESULTS = DOCS / "benchmark.json"
SERVING_RESULTS = DOCS / "serve.json"
SIZES = DOCS / "sizes.json"
EXTRAS = {
    "onnx": 'models that contain only `onnx/model.onnx`, `runtime="onnx"`, and all models if there was no C++ compiler',
    "index": "`EmbeddedIndex`: full-text and vector search in your process, [Search, then rerank](search.md)",
    "redis": "`RedisSource`: search on Redis, and caches that processes share",
    "serve": "`podium serve`, [Serve](serving.md)",
    "eval": "`podium eval`, `compare`, `calibrate` and `tune`, [Evaluate](evaluation.md)",
    "batch": "`podium batch`: Parquet, Arrow and files on object stores, [Batch jobs](batch.md)",
    "ray": "`podium batch --engine ray`",
    "parquet": "documents from Parquet files",
    "decoders": "language models whose prompt is a chat template, [When to use a language model](decoders.md)",
    "multilingual": "`podium-multi`, a model for a hundred languages; until it is on PyPI, `pip install ./models/podium-multi`",
    "all": "all of them, except `multilingual`",
}
"""The name of an extra → what it is for, with links from docs/install.md."""
SCREENSHOT = DOCS / "playground.png"
CARD = ROOT / "src" / "podium" / "bundled" / "podium-mini" / "README.md"


def pages() -> list[Path]:
    """Return every page with generated parts or examples: the README, the model card, and the pages of the site."""
    return [README, CARD, *sorted(DOCS.rglob("*.md"))]


# The parts: each function returns the lines of one. `code` is the Python block above it.


def demo(_: str) -> str:
    """Return the output of `make demo`."""
    return f"{FENCE}console\n$ make demo\n{run([sys.executable, '-m', 'podium', 'demo'])}{FENCE}"


def families(_: str) -> str:
    """Return the table of model families."""
    return table(("family", "for example"), [(family.name, family.examples) for family in FAMILIES])


def known(_: str) -> str:
    """Return the table of recommended models."""
    rows = [(f"`{row.name}`", row.licence, row.parameters, row.good_for) for row in KNOWN_MODELS]
    return table(("model", "licence", "parameters", "good for"), rows)


def providers(_: str) -> str:
    """Return the table of hosted APIs."""
    rows = [
        (f"`{row.name}:<model>`", row.title, f"`{row.key_variable}`" if row.key_variable else "–", row.score_kind)
        for row in PROVIDERS
    ]
    return table(("name", "API", "key", "scores are"), rows)


def components(_: str) -> str:
    """Return the table of the compositions that a configuration file can have."""
    rows = []
    for component in COMPONENTS:
        scorers = ", ".join([f"`{key}`" for key in component.scorers] + [f"`{key}` (a list)" for key in component.scorer_lists])
        options = ", ".join(f"`{option.attribute}`" for option in component.options)
        rows.append((f"[`{component.name}`]({component.name.lower()}.md)", scorers, options))
    return table(("`use`", "scorers", "options"), rows)


def benchmark(_: str) -> str:
    """Return the table that `make bench` wrote last."""
    return str(json.loads(BENCHMARK_RESULTS.read_text(encoding="utf-8"))["table"])


def speed(_: str) -> str:
    """Return the columns and rows of the benchmark's table that most readers need."""
    names = ("", "podium float32", "podium int8", "sentence-transformers", "FlashRank int8", "fastembed", "OpenVINO")
    rows = [cells(line) for line in benchmark("").splitlines()]
    rows = [row[:-1] for row in rows if row[0].strip("*") in names]
    return table(rows[0], rows[1:])


def measured(_: str) -> str:
    """Return the table that training/measure.py wrote last. The script takes too long to run it here."""
    return (DOCS / "measured.txt").read_text(encoding="utf-8").strip()


def quality(_: str) -> str:
    """Return the means of the collections in that table, separated by whether they were used to choose settings."""
    _, _, *rows, _ = [cells(line) for line in measured("").splitlines()]
    groups = {"not used to choose settings": False, "used to choose settings": True}
    lines = []
    for title, used in groups.items():
        numbers = [[float(cell.strip("*")) for cell in row[2:6]] for row in rows if row[0].endswith("*") == used]
        means = [sum(column) / len(column) for column in zip(*numbers, strict=True)]
        lines.append(
            (f"{len(numbers)} {title}", *(f"**{mean:.3f}**" if mean == max(means) else f"{mean:.3f}" for mean in means))
        )
    return table(("collections", "BM25", "cosine", "fused", "podium-mini"), lines)


def served(_: str) -> str:
    """Return the table that `make bench-serve` wrote last."""
    return str(json.loads(SERVING_RESULTS.read_text(encoding="utf-8"))["table"])


def extras(_: str) -> str:
    """Return the table of extras, with the sizes that bench/sizes.py measured."""
    sizes = json.loads(SIZES.read_text(encoding="utf-8"))
    rows = [("none", f"{sizes['total_mb']:.0f} MB", "models on this machine, hosted APIs, compositions, and the command line")]
    for name, purpose in EXTRAS.items():
        size = sizes["extras_mb"].get(name)
        rows.append((f"`{name}`", "–" if size is None else f"+ {size:.0f} MB", purpose))
    return table(("extra", "installed size", "what it is for"), rows)


def extra_sizes(_: str) -> str:
    """Return the sizes in that table as a sentence."""
    sizes = json.loads(SIZES.read_text(encoding="utf-8"))
    extras = ", ".join(f"`{name}` {size:.0f}" for name, size in sizes["extras_mb"].items())
    return f"Without extras it takes {sizes['total_mb']:.0f} MB; these are added, in MB: {extras}."


def contents(_: str) -> str:
    """Return what an installation without extras contains."""
    sizes = json.loads(SIZES.read_text(encoding="utf-8"))
    return table(("package", "MB"), [(f"`{name}`", f"{size:.1f}") for name, size in sizes["packages_mb"].items()])


def deployment(name: str) -> str:
    """Return a file in the folder deploy as a YAML block."""
    return f"{FENCE}yaml\n{(ROOT / 'deploy' / name).read_text(encoding='utf-8')}{FENCE}"


def redis(code: str) -> str:
    """Return the output of an example with Redis, run against recorded replies of a real server."""
    with Replay(ROOT / "tests" / "sources" / "redis" / "recordings" / "readme.json") as replay:
        return printed(code.replace("redis://localhost:6379", replay.url))


def sdk(code: str) -> str:
    """Return the output of an example with a client of podium serve, run against a server on a free port."""
    with serving() as url:
        return printed(code.replace("http://127.0.0.1:8080", url))


def printed(code: str) -> str:
    """Return the output of Python code as a text block."""
    return f"{FENCE}text\n{run([sys.executable, '-c', code])}{FENCE}"


PARTS: dict[str, Callable[[str], str]] = {
    "demo": demo,
    "families": families,
    "known": known,
    "providers": providers,
    "components": components,
    "benchmark": benchmark,
    "speed": speed,
    "measured": measured,
    "quality": quality,
    "served": served,
    "extras": extras,
    "extra-sizes": extra_sizes,
    "contents": contents,
    "commands": lambda _: commands(),
    "http": lambda _: http_paths(),
    "variables": lambda _: variables(),
    "compose": lambda _: deployment("compose.yaml"),
    "kubernetes": lambda _: deployment("kubernetes.yaml"),
    "redis": redis,
    "sdk": sdk,
}


BLOCK = re.compile(
    rf"<!-- (?P<part>{'|'.join(PARTS)}) -->\n.*?<!-- end -->"
    rf"|(?:<!-- (?P<marker>output|not run: [^\n]*) -->\n)?{FENCE}(?P<language>\w+)\n(?P<content>.*?){FENCE}",
    re.DOTALL,
)
"""A generated part, or a code block with the comment before it."""
OWN_SERVER = ("redis", "sdk")  # parts that run the Python block above them themselves, against a server
PARSERS: dict[str, Callable[[str], object]] = {
    "toml": toml.loads,
    "yaml": lambda content: list(yaml.safe_load_all(content)),
    "json": json.loads,
    "js": str,  # tests/clients/javascript runs the same client
    "nginx": str,
    "text": str,
}
"""How blocks of other languages are checked."""


@dataclass
class Examples:
    """The examples of one page, which run one after the other in `folder`. `code` and `output` are those of the last one."""

    folder: Path
    variables: Mapping[str, str]
    code: str = ""
    output: str = ""

    def replacement(self, match: re.Match[str]) -> str:
        """Run or check a block, and return the text that replaces it. Raises an error if an example fails."""
        if name := match["part"]:
            return f"<!-- {name} -->\n{PARTS[name](self.code)}\n<!-- end -->"
        marker, language, content = match["marker"] or "", match["language"], match["content"]
        following = match.string[match.end() :].lstrip()
        is_run = not marker.startswith("not run") and not following.startswith(tuple(f"<!-- {name} -->" for name in OWN_SERVER))
        if language == "python":
            self.code = content
            self.output = self.run([sys.executable, "-c", content]) if is_run else str(compile(content, "example", "exec"))
        elif language == "console":
            outputs = [self.command_output(line[2:], is_run=is_run) for line in content.splitlines() if line.startswith("$ ")]
            content = f"{content.splitlines()[0]}\n{outputs[0]}" if marker == "output" else content
        elif marker == "output":
            content = self.output
        else:
            PARSERS[language](content)
        return f"{f'<!-- {marker} -->' if marker else ''}\n{FENCE}{language}\n{content}{FENCE}".lstrip("\n")

    def command_output(self, line: str, *, is_run: bool) -> str:
        """Return the output of a command, "" if it is not a command of podium or only its arguments are checked."""
        program, *arguments = shlex.split(line, comments=True)
        if program != "podium":
            assert program in ("make", "pip", "pdftotext", "docker", "kubectl", "git", "cd"), line
            return ""
        if is_run and arguments[0] != "serve":
            return self.run([sys.executable, "-m", "podium", *arguments])
        check_arguments(arguments)
        return ""

    def run(self, command: list[str]) -> str:
        """Return what a command writes to its standard output on a terminal of 80 columns."""
        return run(command, self.folder, self.variables)


def with_generated(page: str) -> str:
    """Return a page's text with its parts and outputs generated again. All examples of the page run."""
    with workspace() as folder, provider_variables(page) as variables:
        return BLOCK.sub(Examples(folder, variables).replacement, page)


def check_arguments(arguments: list[str]) -> None:
    """Raise an error of click if a command of podium does not have these arguments."""
    commands_by_name = dict(leaves(podium, ""))
    if arguments[0] == "batch" and arguments[1] not in ("run", "verify"):
        arguments = ["batch", "run", *arguments[1:]]
    count = 2 if " ".join(["", *arguments[:2]]) in commands_by_name else 1
    parent = click.Context(podium, info_name="podium", **podium.context_settings)
    commands_by_name[" ".join(["", *arguments[:count]])].make_context(arguments[0], arguments[count:], parent=parent)


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table in Markdown."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Create the folder in which examples run, with the sample files that they read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(DOCS / "samples", folder, dirs_exist_ok=True)
        (folder / "docs").symlink_to(DOCS)
        yield folder


@contextlib.contextmanager
def provider_variables(page: str) -> Iterator[dict[str, str]]:
    """Yield environment variables with which Cohere's and Voyage's API are a server of podium, if a page uses them."""
    if not re.search(r"(cohere|voyage):|CohereReranker", page):
        yield {}
        return
    with serving("--model", "*=podium-mini") as url:
        keys = {"COHERE_API_KEY": "none", "VOYAGE_API_KEY": "none"}
        yield keys | {"COHERE_BASE_URL": url, "VOYAGE_BASE_URL": f"{url}/v1"}


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """Run podium serve on a free port, and yield its URL when its model is loaded."""
    command = [sys.executable, "-m", "podium", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr
    try:
        log = ""
        while "ready" not in log:
            log += process.stderr.readline()
        yield re.search(r"url=(\S+)/ ", log)[1]  # type: ignore[index]
    finally:
        process.terminate()
        process.communicate()


def run(command: list[str], folder: Path = ROOT, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return what a command writes to its standard output on a terminal of 80 columns."""
    environment = os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"} | variables
    process = subprocess.run(command, stdout=subprocess.PIPE, env=environment, cwd=folder)
    assert process.returncode == 0, f"{shlex.join(command)} failed"
    return process.stdout.decode()


def run_notebook() -> None:
    """Run the notebook, and write it with the new outputs but without times."""
    import nbformat  # here, because the tests of the pages do not need these packages, and importing them is slow
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=120, coalesce_streams=True, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, NOTEBOOK)


def screenshot() -> None:
    """Take a screenshot of the playground, with this machine's Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with serving() as url, sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page(
            viewport={"width": 880, "height": 760}
        )
        page.goto(url)
        page.wait_for_selector("#models input")
        page.click("#rank")
        page.locator(".result .text").first.click()
        page.wait_for_selector("mark")
        page.locator('.result [data-grade="1"]').first.click()
        page.screenshot(path=SCREENSHOT, full_page=True)


def write(paths: Iterable[Path]) -> None:
    """Write the generated parts and outputs of these pages."""
    for path in paths:
        path.write_text(with_generated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    if arguments := [Path(argument).resolve() for argument in sys.argv[1:]]:
        write(page for page in pages() if any(page.is_relative_to(argument) for argument in arguments))
    else:
        run_notebook()
        screenshot()
        write(pages())
