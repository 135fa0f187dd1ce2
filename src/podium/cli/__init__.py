"""The command line: one module per command. Results on stdout, everything else on stderr, no tracebacks.

Exit codes: 0 done, 1 failed (a model, a provider, the network), 2 bad use (arguments, files, names), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from podium.cli.check import check
from podium.cli.demo import demo
from podium.cli.models import models
from podium.cli.rank import rank
from podium.errors import InvalidInput, MissingKey, ModelNotFound, PodiumError

__all__ = ["main", "podium"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="podium")
def podium() -> None:
    """Put search results in order of relevance."""


for command in (rank, demo, models, check):
    podium.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return int(podium.main(arguments, prog_name="podium", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("podium: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `podium rank … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PodiumError as error:
        print(f"podium: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput | MissingKey | ModelNotFound) else 1
