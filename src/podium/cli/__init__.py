"""The command line: one module per command. Results on stdout, everything else on stderr, no tracebacks.

Exit codes: 0 done, 1 failed (a model, a provider, the network), 2 bad use (arguments, files, names), 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence

import click

from podium.cli.calibrate import calibrate
from podium.cli.check import check
from podium.cli.compare import compare
from podium.cli.demo import demo
from podium.cli.eval import evaluate
from podium.cli.index import index
from podium.cli.key import key
from podium.cli.models import models
from podium.cli.options import as_option
from podium.cli.rank import rank
from podium.cli.search import search
from podium.cli.serve import serve
from podium.errors import InvalidInput, MissingKey, ModelNotFound, PodiumError

__all__ = ["main", "podium"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="podium")
def podium() -> None:
    """Put search results in order of relevance."""


for command in (rank, index, search, serve, key, evaluate, compare, calibrate, demo, models, check):
    podium.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    if sys.stdout is None:  # `>&-`: there is nowhere to print to
        return 1
    # What a library would log, such as a missing native core, is said by `podium check`; here stderr is for errors.
    logging.getLogger("podium").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):  # ▲ in a terminal that knows ASCII only is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = int(podium.main(words, prog_name="podium", standalone_mode=False, obj=words) or 0)
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # click's own form of an interrupt, which podium.__main__ reports
        raise KeyboardInterrupt from None
    except BrokenPipeError:  # `podium rank … | head`
        _leave_stdout()
        return 0
    except OSError as error:
        _leave_stdout()
        return _failed(f"cannot write: {error.strerror or type(error).__name__}", 1)
    except PodiumError as error:
        return _failed(error.message(as_option), 2 if isinstance(error, InvalidInput | MissingKey | ModelNotFound) else 1)


def _failed(says: str, code: int) -> int:
    print(f"podium: {' '.join(says.split())}", file=sys.stderr)
    return code


def _leave_stdout() -> None:
    """Let the interpreter flush what is left into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
