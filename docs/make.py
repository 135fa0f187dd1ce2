"""Run the notebook, and write the generated parts of the README and other pages: outputs of commands, and tables.

    make docs
    python docs/make.py providers families     # only these parts of the README
    python docs/make.py compose                # only the pages in docs/compose

A generated part of the README is between `<!-- name -->` and `<!-- end -->`. `PARTS` has, by name, the functions that return
the contents.
In docs/compose, `<!-- output -->` is before the output of the Python block above it, or before a command of podium with its
output. Tests compare the pages with the content that would be written now.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from podium.compose.table import COMPONENTS
from podium.hosted.providers import PROVIDERS
from podium.local.families import FAMILIES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from resp import Replay  # noqa: E402  in the folder above

README = ROOT / "README.md"
NOTEBOOK = ROOT / "docs" / "guide.ipynb"
BENCHMARK_RESULTS = ROOT / "docs" / "benchmark.json"
SERVING = ROOT / "docs" / "serving.md"
SERVING_RESULTS = ROOT / "docs" / "serve.json"
SCREENSHOT = ROOT / "docs" / "playground.png"
COMPOSE = ROOT / "docs" / "compose"
FILES = COMPOSE / "files.md"
CARD = ROOT / "src" / "podium" / "bundled" / "podium-mini" / "README.md"


def example() -> str:
    """Return the output of the README's first block."""
    return _printed(code_before("example"))


def searched() -> str:
    """Return the output of the README's block on EmbeddedIndex."""
    return _printed(code_before("searched"))


def redis() -> str:
    """Return the output of the README's block on Redis, run against recorded replies of a real server."""
    with Replay(ROOT / "tests" / "sources" / "redis" / "recordings" / "readme.json") as replay:
        return _printed(code_before("redis").replace("redis://localhost:6379", replay.url))


def side() -> str:
    """Return the output of `podium search`, which shows the order before and after reranking."""
    return _console("search 'capital of the United States' --in docs/documents.jsonl --text title,content --limit 3")


def evaluated() -> str:
    """Return the output of `podium eval`."""
    return _console("eval docs/judged.csv --reranker podium-mini --metrics nDCG@10,RR@10,Success@1")


def demo() -> str:
    """Return the output of `make demo`."""
    output = _output([sys.executable, "-m", "podium", "demo"])
    return f"```console\n$ make demo\n{output}```"


def families() -> str:
    """Return the table of model families."""
    rows = [f"| {family.name} | {family.examples} |" for family in FAMILIES]
    return "\n".join(["| family | for example |", "|---|---|", *rows])


def providers() -> str:
    """Return the table of hosted APIs."""
    rows = [
        f"| `{row.name}:<model>` | {row.title} | {f'`{row.key_variable}`' if row.key_variable else '–'} | {row.score_kind} |"
        for row in PROVIDERS
    ]
    return "\n".join(["| name | API | key | scores are |", "|---|---|---|---|", *rows])


def benchmark() -> str:
    """Return the table that `make bench` wrote last."""
    return str(json.loads(BENCHMARK_RESULTS.read_text(encoding="utf-8"))["table"])


def measured() -> str:
    """Return the table that training/measure.py wrote last. The script takes too long to run it here."""
    return (ROOT / "docs" / "measured.md").read_text(encoding="utf-8").strip()


def sdk() -> str:
    """Return the output of the README's block with Cohere's SDK, run against a server on a free port."""
    with serving() as url:
        return _printed(code_before("sdk").replace("http://127.0.0.1:8080", url))


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run podium serve on a free port, and yield its URL when its model is loaded."""
    command = [sys.executable, "-m", "podium", "serve", "--port", "0"]
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


def served() -> str:
    """Return the table that `make bench-serve` wrote last."""
    return str(json.loads(SERVING_RESULTS.read_text(encoding="utf-8"))["table"])


PARTS: dict[str, Callable[[], str]] = {
    "example": example,
    "searched": searched,
    "redis": redis,
    "side": side,
    "eval": evaluated,
    "sdk": sdk,
    "measured": measured,
    "demo": demo,
    "families": families,
    "providers": providers,
    "benchmark": benchmark,
}


def with_parts(readme: str, names: Iterable[str] = PARTS) -> str:
    """Return the README's text with the parts of these names generated again."""
    for name in names:
        readme = with_part(readme, name, PARTS[name]())
    return readme


def with_part(text: str, name: str, content: str) -> str:
    """Return a page's text with the content of one generated part replaced."""
    new_text, count = re.subn(
        rf"<!-- {name} -->\n.*?<!-- end -->", lambda _: f"<!-- {name} -->\n{content}\n<!-- end -->", text, flags=re.DOTALL
    )
    assert count == 1, f"there are {count} parts named {name}"
    return new_text


def with_outputs(page: str) -> str:
    """Return a page's text with the outputs of its Python blocks and commands that follow `<!-- output -->`."""
    page = re.sub(
        r"```python\n(?P<code>[^`]*)```\n\n<!-- output -->\n```text\n[^`]*```",
        lambda match: f"```python\n{match['code']}```\n\n<!-- output -->\n{_printed(match['code'])}",
        page,
    )
    return re.sub(
        r"<!-- output -->\n```console\n\$ podium (?P<arguments>.*)\n[^`]*```",
        lambda match: f"<!-- output -->\n{_console(match['arguments'])}",
        page,
    )


def code_before(name: str) -> str:
    """Return the last Python block of the README before a generated part."""
    preceding = README.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[0]
    return re.findall(r"```python\n(.*?)```", preceding, re.DOTALL)[-1]


def _printed(code: str) -> str:
    """Return the output of Python code as a text block."""
    return f"```text\n{_output([sys.executable, '-c', code])}```"


def _console(arguments: str) -> str:
    """Return a podium command and its output as a console block."""
    output = _output([sys.executable, "-m", "podium", *shlex.split(arguments)])
    return f"```console\n$ podium {arguments}\n{output}```"


def _output(command: list[str]) -> str:
    """Return what a command writes to its standard output on a terminal of 80 columns."""
    environment = os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, check=True, env=environment, cwd=ROOT).stdout.decode()


def run_notebook() -> None:
    """Run the notebook, and write it with the new outputs but without times."""
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


def write_all() -> None:
    """Write all generated parts of all pages."""
    run_notebook()
    screenshot()
    README.write_text(with_parts(README.read_text(encoding="utf-8")), encoding="utf-8")
    SERVING.write_text(with_part(SERVING.read_text(encoding="utf-8"), "served", served()), encoding="utf-8")
    CARD.write_text(with_part(CARD.read_text(encoding="utf-8"), "measured", measured()), encoding="utf-8")
    write_compose()


def components() -> str:
    """Return the table of the compositions that a configuration file can have."""
    rows = []
    for component in COMPONENTS:
        scorers = ", ".join([f"`{key}`" for key in component.scorers] + [f"`{key}` (a list)" for key in component.scorer_lists])
        options = ", ".join(f"`{option.attribute}`" for option in component.options)
        rows.append(f"| [`{component.name}`]({component.name.lower()}.md) | {scorers} | {options} |")
    return "\n".join(["| `use` | scorers | options |", "|---|---|---|", *rows])


def write_compose() -> None:
    """Write the outputs of the examples in docs/compose, and the table of components."""
    for path in COMPOSE.glob("*.md"):
        path.write_text(with_outputs(path.read_text(encoding="utf-8")), encoding="utf-8")
    FILES.write_text(with_part(FILES.read_text(encoding="utf-8"), "components", components()), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["compose"]:
        write_compose()
    elif names := sys.argv[1:]:
        README.write_text(with_parts(README.read_text(encoding="utf-8"), names), encoding="utf-8")
    else:
        write_all()
