"""Options that several commands share, and the names of options in error messages."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from podium.errors import Argument, InvalidInput
from podium.formats import FORMATS
from podium.inputs import without_none
from podium.load import provider_of

__all__ = [
    "as_option",
    "budget_options",
    "by_option",
    "candidates_option",
    "format_option",
    "limit_option",
    "model_option",
    "model_options",
    "options_for",
    "with_remedy",
]

Command = TypeVar("Command", bound=Callable[..., Any])
POSITIVE = click.IntRange(min=1)

OPTION_NAMES = {"rank_by": "--by", "tags": "--tag", "numbers": "--number", "format_name": "--format"}
"""Argument in Python → option, if their names differ."""

OTHER_NAMES = {
    "--file": ("FILE", "DATA", "--in"),
    "--input": ("FILE", "DATA", "--in"),
    "--query": ("QUERY",),
    "--reranker": ("--model", "MODEL"),
    "--model": ("--reranker", "MODEL"),
    "--index": ("--in", "--to"),
    "--top": ("--limit",),
    "--top-k": ("--limit",),
    "--top-n": ("--limit",),
    "--fields": ("--by", "--text"),
    "--rank-by": ("--by",),
    "--output": ("--out", "--to", "--json"),
}
"""Unknown option → options and arguments that its user may mean. If a command has several of them, the first is suggested."""

HOSTED_ONLY = {"base_url"}
"""Options that models on this machine do not have."""
LOCAL_ONLY = {"precision", "max_length", "encoding", "pooling", "score", "keep", "instruction"}
"""Options that hosted models do not have."""

model_option = click.option(
    "--model",
    default="podium-mini",
    show_default=True,
    help="Model, as for podium.load: org/model, ./folder, cohere:…, stack.toml",
)
candidates_option = click.option(
    "--candidates", type=POSITIVE, default=100, show_default=True, metavar="N", help="Candidates per query."
)
format_option = click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), help="Format of FILE.  [default: by its name]"
)

_BUDGET_OPTIONS = {
    "budget_ms": click.option(
        "--budget-ms", type=float, metavar="MS", help="Score documents in their order for so many milliseconds."
    ),
    "max_tokens": click.option(
        "--max-tokens",
        type=POSITIVE,
        metavar="N",
        help="Score documents in their order until the model has read so many tokens.",
    ),
    "max_cost": click.option(
        "--max-cost", type=float, metavar="USD", help="For hosted APIs: score documents until this estimated cost is reached."
    ),
    "price": click.option("--price", metavar="PRICE", help="Price of the model, such as 0.05/Mtokens or 2/ksearches."),
}

_MODEL_OPTIONS = {
    "precision": click.option(
        "--precision",
        type=click.Choice(["float32", "int8", "auto"]),
        help="For models on this machine: precision of computations.  [default: int8 for podium-mini, else float32]",
    ),
    "max_length": click.option(
        "--max-length",
        type=POSITIVE,
        metavar="N",
        help="For models on this machine: maximum tokens of query and text together, of a text for late interaction, or of a "
        "language model's prompt.",
    ),
    "encoding": click.option(
        "--encoding",
        type=click.Choice(["int8", "float16", "float32"]),
        help="For late interaction: precision of stored token vectors.  [default: int8]",
    ),
    "pooling": click.option(
        "--pooling",
        type=click.IntRange(1, 3),
        metavar="N",
        help="For late interaction: number of token vectors that are averaged and stored as one.  [default: 1]",
    ),
    "score": click.option(
        "--score",
        type=click.Choice(["sum", "mean"]),
        help="For ColBERT models: sum or mean of the similarities of the query's tokens.  [default: sum]",
    ),
    "keep": click.option(
        "--keep",
        metavar="STORE",
        help="For late interaction: storage of encodings: bytes of memory, a folder, or a URL redis://….  [default: 64000000]",
    ),
    "instruction": click.option(
        "--instruction",
        metavar="TEXT",
        help="For language models: description of relevant documents.  [default: the model's own]",
    ),
    "base_url": click.option("--base-url", metavar="URL", help="For hosted APIs: URL of another server with the same API."),
    "calibration": click.option(
        "--calibration", metavar="FILE.json", help="File written by podium calibrate, which turns scores into probabilities."
    ),
}


def by_option(default: str) -> Callable[[Command], Command]:
    """Return the decorator that adds --by. `default` describes the fields that are read without this option."""
    help_text = f"Fields that the model reads, in this order. body.text is text in the object body.  [default: {default}]"
    return click.option("--by", metavar="FIELD,FIELD", help=help_text)


def limit_option(default: int | None) -> Callable[[Command], Command]:
    """Return the decorator that adds --limit. If `default` is None, all results are shown by default."""
    help_text = "Number of results." + ("  [default: all]" if default is None else "")
    return click.option("--limit", type=POSITIVE, default=default, show_default=True, metavar="N", help=help_text)


def model_options(command: Command) -> Command:
    """Add the options for loading a model. The command gets the used options as `load_options`, arguments of podium.load."""
    return _with_group(command, "load_options", _MODEL_OPTIONS)


def budget_options(command: Command) -> Command:
    """Add the options for a budget. The command gets the used options as `budget`, arguments of Reranker.rerank."""
    return _with_group(command, "budget", _BUDGET_OPTIONS)


def _with_group(command: Command, argument: str, options: Mapping[str, Callable[[Any], Any]]) -> Command:
    """Add options to a command, which gets the used ones as a dict in one argument."""

    @functools.wraps(command)
    def with_options(*arguments: Any, **keywords: Any) -> Any:
        used = without_none({name: keywords.pop(name) for name in options})
        return command(*arguments, **{argument: used}, **keywords)

    for option in reversed(list(options.values())):
        with_options = option(with_options)
    return with_options  # type: ignore[return-value]  # click reads the options from it


def options_for(options: dict[str, Any], name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the entries of `options` that apply to the model `name`. `names` are all models of the command.

    Raises InvalidInput if an option applies to no model of the command, or if there is a calibration and several models.
    """
    if "calibration" in options and len(names) > 1:
        raise InvalidInput("a calibration belongs to one model; name a single model with ", Argument("calibration"))
    is_hosted = {model: provider_of(model) is not None for model in names}
    unusable = [option for option in options if option in HOSTED_ONLY and not any(is_hosted.values())]
    unusable += [option for option in options if option in LOCAL_ONLY and all(is_hosted.values())]
    if unusable:
        kind = "hosted APIs" if unusable[0] in HOSTED_ONLY else "models on this machine"
        raise InvalidInput(Argument(unusable[0]), f" is for {kind}; leave it out for {', '.join(names)}")
    inapplicable = LOCAL_ONLY if is_hosted[name] else HOSTED_ONLY
    return {option: value for option, value in options.items() if option not in inapplicable}


def with_remedy(error: click.ClickException) -> click.ClickException:
    """Return the error. If it is about an unknown option or a query that is not quoted, its message gets a suggestion."""
    if not isinstance(error, click.UsageError):
        return error
    parameters = error.ctx.command.params if error.ctx else []
    if "unexpected extra argument" in error.message and any(parameter.name == "query" for parameter in parameters):
        return click.UsageError(f"{error.message}. Put quotation marks around a query of several words.", error.ctx)
    if not isinstance(error, click.NoSuchOption):
        return error
    known_names = {name for parameter in parameters for name in _written_names(parameter)}
    suggestions = [name for name in OTHER_NAMES.get(error.option_name, ()) if name in known_names]
    if not suggestions:
        return error
    name = suggestions[0]
    remedy = f"Did you mean '{name}'?" if name.startswith("--") else f"{name} is written without the name of an option."
    return click.UsageError(f"{error.message} {remedy}", error.ctx)


def _written_names(parameter: click.Parameter) -> list[str]:
    """Return the names of an option or an argument as help texts write them, such as --by or FILE."""
    return [name.upper() for name in parameter.opts] if isinstance(parameter, click.Argument) else parameter.opts


def as_option(argument: Argument) -> str:
    """Return an argument of Python as the command line writes it, such as `--by title,body`, or `--by` without a value."""
    option = OPTION_NAMES.get(argument.name, f"--{argument.name.replace('_', '-')}")
    value = argument.value
    if isinstance(value, dict):
        value = [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, list):
        value = ",".join(value)
    return option if value is None or value is ... else f"{option} {shlex.quote(str(value))}"
