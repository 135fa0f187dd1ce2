"""Options that several commands share, and how error messages name options."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from podium.errors import Argument, InvalidInput
from podium.inputs import without_none
from podium.load import provider_of

__all__ = ["as_option", "fitting", "model_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

NAMES = {"rank_by": "--by", "tags": "--tag", "numbers": "--number"}
"""Options whose name is not that of their argument in Python."""

HOSTED_ONLY = {"base_url"}
LOCAL_ONLY = {"precision", "max_length"}


def model_options(command: Command) -> Command:
    """Add the options that say how a model is loaded; the command gets those in use as `options`, for `podium.load`."""

    @click.option(
        "--precision", type=click.Choice(["float32", "int8", "auto"]), help="For models on this machine.  [default: float32]"
    )
    @click.option(
        "--max-length",
        type=click.IntRange(min=1),
        metavar="N",
        help="Tokens read of query and text, for models on this machine.",
    )
    @click.option("--base-url", metavar="URL", help="For hosted APIs: a server of your own.")
    @click.option(
        "--calibration", metavar="FILE.json", help="Turn scores into probabilities; podium calibrate writes the file."
    )
    @functools.wraps(command)
    def with_options(*arguments: Any, **named: Any) -> Any:
        options = without_none({name: named.pop(name) for name in ("precision", "max_length", "base_url", "calibration")})
        return command(*arguments, options=options, **named)

    return with_options  # type: ignore[return-value]  # click reads the options from it


def fitting(options: dict[str, Any], name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the options for one of several models: each option goes to the models that it can apply to.

    Raises InvalidInput for an option that applies to none of them, or for a calibration, which belongs to a single model.
    """
    if "calibration" in options and len(names) > 1:
        raise InvalidInput("a calibration belongs to one model; name a single model with ", Argument("calibration"))
    hosted = {each: provider_of(each) is not None for each in names}
    useless = [option for option in options if option in HOSTED_ONLY and not any(hosted.values())]
    useless += [option for option in options if option in LOCAL_ONLY and all(hosted.values())]
    if useless:
        kind = "hosted APIs" if useless[0] in HOSTED_ONLY else "models on this machine"
        raise InvalidInput(Argument(useless[0]), f" is for {kind}; leave it out for {', '.join(names)}")
    other = LOCAL_ONLY if hosted[name] else HOSTED_ONLY
    return {option: value for option, value in options.items() if option not in other}


def as_option(argument: Argument) -> str:
    """Write an argument as the command line does: `--by title,body`."""
    option = NAMES.get(argument.name, f"--{argument.name.replace('_', '-')}")
    value = ",".join(argument.value) if isinstance(argument.value, list) else argument.value
    return option if value is None or value is ... else f"{option} {shlex.quote(str(value))}"
