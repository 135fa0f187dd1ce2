"""podium serve: rerankers over HTTP, for clients of well-known rerank APIs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from podium.cli.options import model_options, options_for
from podium.cli.source_options import source_options as add_source_options
from podium.errors import Argument, InvalidInput
from podium.extras import import_optional
from podium.inputs import without_none
from podium.load import provider_of
from podium.options import Option
from podium.places import SourceOptions
from podium.server.settings import OPTIONS, Settings

__all__ = ["serve"]

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(command: Command) -> Command:
    """Add the options in OPTIONS. The ranges of their values are checked later, together with the values in a file."""
    for row in reversed(OPTIONS):
        option = click.option(f"--{row.key}", row.attribute, help=row.help, metavar=row.metavar, **_click_arguments(row))
        command = option(command)
    return command


def _click_arguments(row: Option) -> dict[str, Any]:
    """Return the arguments of click.option that depend on the type of an option's value."""
    if row.kind is bool:
        return {"is_flag": True}
    if get_origin(row.kind) is tuple:
        return {"multiple": True}
    kind: Any = click.Path(path_type=Path) if row.kind is Path else row.kind
    if get_origin(row.kind) is Literal:
        kind = click.Choice(get_args(row.kind))
    return {"type": kind, "default": row.default, "show_default": row.default is not None}


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE.toml",
    help="File with these options, and with tables [models.NAME], whose keys are arguments of podium.load.",
)  # fmt: skip
@settings_options
@add_source_options(prefixed=("timeout",))
@model_options
@click.pass_context
def serve(
    context: click.Context,
    /,
    config: Path | None,
    source_options: SourceOptions,
    load_options: dict[str, Any],
    **settings: Any,
) -> int:
    """Serve rerankers to clients of Cohere, Voyage, Jina, TEI, vLLM and other APIs. A web page is served for trying them.

    \b
    podium serve                                     podium-mini at http://127.0.0.1:8080
    podium serve --model fast=podium-mini --model best=cohere:rerank-v3.5
    """
    import_optional("uvicorn", "serve")
    from podium.server.process import serve as run

    # An option on the command line replaces the option in the file. The default of an option does not.
    explicit = {
        name: value for name, value in settings.items() if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if "model" in explicit:
        explicit["models"] = {}  # the models of the command line replace those of the file
    base = Settings() if config is None else Settings.from_toml(config)
    if "model" not in explicit and not base.model and base.models == Settings().models:
        # The default model is treated like a model of --model, so that the options for loading models apply to it.
        explicit |= {"models": {}, "model": ("podium-mini",)}
    merged = replace(
        base,
        **explicit,
        model_options={**base.model_options, **load_options},
        source=replace(base.source, **without_none(asdict(source_options))),
    )
    return run(replace(merged, models=_all_models(merged)).checked())


def _all_models(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the arguments of `podium.load` for all models, by the name that clients use: first those of [models.NAME] tables.

    `settings.model_options` are for the models of --model only. The number of threads is also for tables that have none.
    """
    from podium.local.cpu import cores

    models = {name: dict(arguments) for name, arguments in settings.models.items()}
    named_models = [_name_and_model(argument) for argument in settings.model]
    for name, model in named_models:
        if name in models:
            raise InvalidInput(
                Argument("model"),
                f" {name}: there are two models of this name; write {name}-2={model} to serve the second one as {name}-2",
            )
        arguments = options_for(dict(settings.model_options), model, [other for _, other in named_models])
        models[name] = {"name": model, **arguments}
    threads = settings.threads
    if threads is None and settings.workers > 1:
        threads = max(1, cores() // settings.workers)
    for arguments in models.values():
        if threads is not None and provider_of(arguments["name"]) is None:
            arguments.setdefault("threads", threads)
    return models


def _name_and_model(argument: str) -> tuple[str, str]:
    """Return the name for clients and the model's own name in `AS=NAME`. In `NAME`, both names are the same."""
    name, equals, model = argument.partition("=")
    if not name or (equals and not model) or not argument.isprintable():
        raise InvalidInput(Argument("model"), f" {argument!r} must be NAME or AS=NAME")
    return (name, model) if equals else (name, name)
