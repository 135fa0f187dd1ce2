"""The command line, with one module for each command. Results go to stdout. Notes and errors go to stderr, without tracebacks.

Exit codes: 0 success, 1 failure (a model, a provider, the network), 2 wrong usage (arguments, files, names), 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterator, MutableMapping, Sequence

import click

from podium.cli.options import as_option, with_remedy
from podium.errors import InvalidInput, MissingKey, ModelNotFound, PodiumError
from podium.truncation import TruncationWarning

__all__ = ["main", "podium"]


COMMANDS = {
    "rank": "podium.cli.rank:rank",
    "index": "podium.cli.index:index",
    "search": "podium.cli.search:search",
    "serve": "podium.cli.serve:serve",
    "health": "podium.cli.health:health",
    "key": "podium.cli.key:key",
    "batch": "podium.cli.batch:batch",
    "eval": "podium.cli.eval:evaluate",
    "tune": "podium.cli.tune:tune",
    "compare": "podium.cli.compare:compare",
    "calibrate": "podium.cli.calibrate:calibrate",
    "demo": "podium.cli.demo:demo",
    "models": "podium.cli.models:models",
    "check": "podium.cli.check:check",
}
"""Name of a command → its module and function."""


class _Commands(MutableMapping[str, click.Command]):
    """Commands by name. A command's module is imported when the command is used, so that no command waits for the others."""

    def __init__(self) -> None:
        self._commands: dict[str, click.Command | None] = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if command is None:
            command = self._commands[name] = pkgutil.resolve_name(COMMANDS[name])
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


@click.group(commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="podium")
def podium() -> None:
    """Order search results by relevance."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(_exit_code(list(sys.argv[1:] if arguments is None else arguments)))


def _exit_code(arguments: list[str]) -> int:
    """Run a command and return its exit code. An error is printed on stderr."""
    _open_closed_streams()
    # The library's warnings, such as one about a missing native core, are not shown. `podium check` shows their reasons.
    logging.getLogger("podium").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=TruncationWarning)  # a ranking's notes say the same
    for stream in (sys.stdout, sys.stderr):  # so that printing ▲ does not fail in a terminal with ASCII only
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        exit_code = int(podium.main(arguments, prog_name="podium", standalone_mode=False, obj=arguments) or 0)
        sys.stdout.flush()
        return exit_code
    except click.ClickException as error:
        with_remedy(error).show()
        return error.exit_code
    except click.Abort:  # how click reports an interrupt; podium.__main__ handles it
        raise KeyboardInterrupt from None
    except BrokenPipeError:  # the program that reads stdout has ended, as in podium rank … | head
        _discard_stdout()
        return 0
    except MemoryError:
        _print_error("there is not enough memory; use a smaller file, or fewer or shorter documents")
        return 1
    except OSError as error:
        _discard_stdout()
        _print_error(
            f"cannot write: {error.strerror or type(error).__name__}; check that stdout is open, the disk's free space and the "
            "file's permissions"
        )
        return 1
    except PodiumError as error:
        _print_error(error.message(as_option))
        _flush_stdout()
        return 2 if isinstance(error, InvalidInput | MissingKey | ModelNotFound) else 1


def _open_closed_streams() -> None:
    """Open the streams that the shell closed, as in podium demo >&-. Writing to stdout fails, and stderr is discarded.

    Without this, the next file that is opened would become stdout or stderr. stdin stays None, but its number is taken, too.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def _print_error(message: str) -> None:
    print(f"podium: {' '.join(message.split())}", file=sys.stderr)


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()


def _discard_stdout() -> None:
    """Redirect stdout to the null device. Otherwise the interpreter would fail at exit, when it writes its buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
