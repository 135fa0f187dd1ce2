"""Run the podium command: in its own process, as users do, or in the process of the tests, which is faster."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from podium.cli import main


def run_in_subprocess(*arguments: object, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    """Run podium in its own process, with lines of 80 characters. Return the exit code, stdout and stderr."""
    process = subprocess.run(
        [sys.executable, "-m", "podium", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"} | environment,
    )
    return process.returncode, process.stdout.decode(), process.stderr.decode()


def run_in_process(*arguments: object, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    """Run podium in this process, with lines of 80 characters. Return the exit code, stdout and stderr.

    This is for tests of results and messages. It does not test the command's start, its exit or its real streams.
    """
    with _environment({"COLUMNS": "80"} | environment), _streams(stdin) as (stdout, stderr):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, _text(stdout), _text(stderr)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    level = logging.getLogger("podium").level  # the command changes it
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        logging.getLogger("podium").setLevel(level)


@contextlib.contextmanager
def _streams(stdin: bytes) -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            yield stdout, stderr
    finally:
        sys.stdin = before


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()
