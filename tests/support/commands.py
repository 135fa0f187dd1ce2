"""The podium command as users run it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def command(*arguments: object, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    """Run podium in a terminal of 80 columns; return exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "podium", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"} | environment,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()
