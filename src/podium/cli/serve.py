"""podium serve: rerankers over HTTP, for the clients that teams already have."""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import math
import re
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from podium.cli.options import model_options, options_for
from podium.cli.source_options import source_options
from podium.errors import InvalidInput
from podium.extras import needed
from podium.load import check_name, load
from podium.places import SourceOptions

__all__ = ["serve"]

NOT_IN_A_FILE = {"client", "async_client", "api_key", "token", "return_score", "limit"}  # objects, secrets, what calls say

LISTS = ("allowed-host", "cors-origin", "model")  # options that can be given several times


def _configured(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Let a TOML file say what options can, in the options' own names; `[models.NAME]` takes what podium.load does."""
    if path is None:
        return None
    said = _toml(path)
    context.meta["models"] = said.pop("models", {})
    names = {
        option.opts[0].removeprefix("--"): str(option.name) for option in context.command.params if option.name != "config"
    }
    asked = {name.replace("_", "-"): value for name, value in said.items()}
    if unknown := sorted(set(asked) - set(names)):
        near = [each for name in unknown for each in difflib.get_close_matches(name, [*names, "models"], n=1)]
        there = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(sorted(names))}, models"
        raise InvalidInput(f"{path} says {', '.join(unknown)}, which is no option; {there}")
    if odd := sorted(name for name, value in asked.items() if not _is_plain(value, name in LISTS)):
        raise InvalidInput(f"{path}: {', '.join(odd)} must be a string or a number; {', '.join(LISTS)} are lists of strings")
    flags = {option.name for option in context.command.params if isinstance(option, click.Option) and option.is_flag}
    # As words, so that they are checked just as the command line's are.
    said_as = {names[name]: value if isinstance(value, list) else str(value) for name, value in asked.items()}
    context.default_map = {name: value if name not in flags else value == "True" for name, value in said_as.items()}
    return path


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[AS=]NAME",
    help="As for podium.load; again for more. AS: its name here, * for any other.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen. Beyond this machine, keys are needed.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, callback=_configured, metavar="FILE.toml",
              help="All of these, and [models.NAME] tables with what podium.load takes.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Computed on at once, per model.  [default: as many as there are]")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; they share a model's memory."
)
@click.option(
    "--index", metavar="PLACE", help="What the page can search: redis://host:port/name, an index's folder, or a file."
)
@source_options(prefixed=("timeout",))
@click.option("--cache", metavar="URL", help="A Redis that remembers scores, for all servers that name it.")
@click.option("--api-keys-file", "keys_file", type=click.Path(path_type=Path), help="Who may ask; podium key writes it.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without keys.")
@click.option("--cors-origin", "cors_origins", multiple=True, metavar="URL", help="Let pages from there ask.  [default: none]")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="Without keys: a name of this server, beside addresses and names without a dot.")  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="Seconds per request."
)
@click.option("--max-documents", type=click.IntRange(min=1), default=10_000, show_default=True, help="… in a request.")
@click.option("--max-characters", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="… in a document.")
@click.option("--max-memory", type=click.IntRange(min=1), default=512_000_000, show_default=True,
              help="Bytes that all requests and replies may take together.")  # fmt: skip
@click.option("--max-body", type=click.IntRange(min=1), default=32_000_000, show_default=True, help="Bytes of a request.")
@click.option(
    "--max-requests", type=click.IntRange(min=1), default=256, show_default=True, help="… in progress; others get 429."
)
@click.option("--drain-timeout", type=click.FloatRange(min=0), default=60.0, show_default=True,
              help="Seconds that accepted requests have to end after SIGTERM.")  # fmt: skip
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@model_options
@click.pass_context
def serve(
    context: click.Context,
    /,
    models: tuple[str, ...],
    host: str,
    config: Path | None,
    threads: int | None,
    insecure: bool,
    keys_file: Path | None,
    cors_origins: tuple[str, ...],
    allowed_hosts: tuple[str, ...],
    source_options: SourceOptions,
    options: dict[str, Any],
    **others: Any,
) -> int:
    """Serve rerankers to clients of Cohere, Voyage, Jina, TEI, vLLM and other APIs, and a page to try them on.

    \b
    podium serve                                     podium-mini at http://127.0.0.1:8080
    podium serve --model fast=podium-mini --model best=cohere:rerank-v3.5
    """
    needed("uvicorn", "serve")
    from podium.local.cpu import cores
    from podium.server.http.keys import Keys
    from podium.server.process import serve as run
    from podium.server.settings import Settings

    if not math.isfinite(others["timeout"] + others["drain_timeout"]):
        raise InvalidInput("--timeout and --drain-timeout must be numbers of seconds")
    if (needed_memory := 3 * others["max_body"]) > others["max_memory"]:
        raise InvalidInput(
            f"--max-body {others['max_body']} needs at least --max-memory {needed_memory}: "
            "a body, its text and what is decoded of it are in memory at once"
        )
    if not host or not host.isprintable():
        raise InvalidInput("--host must be an address or a name, such as 127.0.0.1")
    if keys_file is None and not insecure and not _is_loopback(host):
        raise InvalidInput(
            f"{host} can be reached from other machines: give --api-keys-file (podium key makes keys), or say --insecure"
        )
    if odd := [origin for origin in cors_origins if not re.fullmatch(r"https?://[^/\s]+|\*", origin)]:
        raise InvalidInput(f"--cors-origin {odd[0]} is no origin; write https://host or https://host:port, without a path")
    if keys_file is not None:
        Keys(keys_file)  # what is wrong with it shows now
    if threads is None and others["workers"] > 1:
        threads = max(1, cores() // others["workers"])
    given = context.get_parameter_source("models") is ParameterSource.COMMANDLINE
    tables = {} if given else context.meta.get("models", {})  # what is said on the command line goes before the file
    wanted = _wanted(models, tables, options, threads)
    for arguments in wanted.values():
        check_name(arguments["name"])  # before the server listens
    names: dict[str, Any] = {"cors_origins": tuple(cors_origins), "allowed_hosts": tuple(allowed_hosts)}
    return run(Settings(models=wanted, host=host, keys_file=keys_file, source=source_options, **names, **others))


def _wanted(models: tuple[str, ...], tables: Any, options: dict[str, Any], threads: int | None) -> dict[str, dict[str, Any]]:
    """Return name → arguments of podium.load: from the tables of a file, then from the command line."""
    wanted = _tables(tables)
    named = models if models or wanted else ("podium-mini",)
    names = [said.partition("=")[2] or said for said in named]
    for said in named:
        name, equals, loaded = said.partition("=")
        loaded = loaded if equals else name
        if name in wanted or not name or not loaded or not name.isprintable():
            raise InvalidInput(f"--model {said}: a name must be there, and once; write AS=NAME to give it another")
        limits = {} if threads is None or _is_hosted(loaded) else {"threads": threads}
        wanted[name] = {"name": loaded} | limits | options_for(options, loaded, names)
    return wanted


def _is_plain(value: Any, several: bool) -> bool:
    if several:
        return isinstance(value, list) and all(isinstance(each, str) and each.isprintable() for each in value)
    return isinstance(value, str | int | float) and str(value).isprintable()


def _tables(tables: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidInput('models must be tables: [models.best] and under it load = "cohere:rerank-v3.5"')
    takes = {*inspect.signature(load).parameters, "load"} - NOT_IN_A_FILE - {"name"}
    for name, table in tables.items():
        if not name.isprintable():
            raise InvalidInput(f"{name!r} cannot be a model's name: it has letters that no one can see")
        if unknown := sorted(set(table) - takes):
            raise InvalidInput(f"[models.{name}] says {', '.join(unknown)}; it can say {', '.join(sorted(takes))}")
    return {
        name: {"name": table.get("load", name), **{key: table[key] for key in table if key != "load"}}
        for name, table in tables.items()
    }


def _is_hosted(name: str) -> bool:
    from podium.load import provider_of

    return provider_of(name) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _toml(path: Path) -> dict[str, Any]:
    toml = needed("tomllib" if sys.version_info >= (3, 11) else "tomli", "serve")
    try:
        found: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from error
    return found
