"""The settings of a server: their defaults, limits and help texts. They can be read from a TOML file."""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from podium.errors import Argument, InvalidInput
from podium.inputs import comma_list
from podium.load import HOSTED_OPTIONS, LOCAL_OPTIONS, SCORE_OPTIONS, check_name, load
from podium.options import Option, option, options_of
from podium.places import EXAMPLES, SourceOptions, weights
from podium.server.http.keys import Keys
from podium.stacks import SOURCE_OPTIONS as STACK_SOURCE_OPTIONS
from podium.toml_files import read_toml

__all__ = ["OPTIONS", "Settings"]

NOT_IN_A_FILE = {"name", "client", "async_client", "api_key", "token", "return_score", "limit"}
"""Arguments of `podium.load` that a table [models.NAME] cannot have.

A table has the key `load` instead of `name`. The other arguments are objects, secrets, or options that belong to a request.
"""
MAX_WORKERS = 1024  # more than any machine has processors
MODEL_TABLE_OPTIONS = (Option("load", str), *LOCAL_OPTIONS, *HOSTED_OPTIONS, *SCORE_OPTIONS)
"""The keys of a table [models.NAME] whose values are checked when the file is read. `podium.load` checks the others."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server and its workers. A setting with a help text is an option of `podium serve`.

    - `models`: name for clients → arguments of `podium.load`. The first model answers requests that name no model.
    - `model`: the values of --model. `podium serve` adds these models to `models`.
    - `model_options`: further arguments of `podium.load` for the models in `model`.
    - `source`: how `index` is searched.
    - `read_timeout`: the seconds within which the body of a request must arrive.
    """

    models: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"podium-mini": {"name": "podium-mini"}})
    model_options: Mapping[str, Any] = field(default_factory=dict)
    source: SourceOptions = field(default_factory=SourceOptions)
    read_timeout: float = 15.0
    model: tuple[str, ...] = option(
        (),
        "Model to serve, as for podium.load. AS is its name for clients; a model named * answers requests for all other names. "
        "Can be repeated.",
        metavar="[AS=]NAME",
    )
    host: str = option("127.0.0.1", "Address to listen on. API keys are required if other machines can reach it.")
    port: int = option(8080, "Port to listen on; 0 for any free port.", minimum=0, maximum=65535)
    threads: int | None = option(None, "Threads of each model.  [default: one per core, divided among workers]", minimum=1)
    workers: int = option(
        1, "Number of processes that answer requests. They share the memory of a model's file.", minimum=1, maximum=MAX_WORKERS
    )
    index: str | None = option(None, f"Index that the page can search: {EXAMPLES}, or a file.", metavar="PLACE")
    cache: str | None = option(None, "URL of a Redis that caches scores. Several servers can share it.", metavar="URL")
    keys_file: Path | None = option(None, "File of API keys, written by podium key.", name="api_keys_file")  # noqa: RUF009
    insecure: bool = option(False, "Let other machines use the server without API keys.")
    cors_origins: tuple[str, ...] = option(
        (), "Origin of web pages that may use the server. Can be repeated.", name="cors_origin", metavar="URL"
    )
    allowed_hosts: tuple[str, ...] = option(
        (), "Additional host name of a server without API keys. Can be repeated.", name="allowed_host", metavar="NAME"
    )
    timeout: float = option(60.0, "Maximum seconds to answer a request.", above=0)
    max_documents: int = option(10_000, "Maximum documents in a request.", minimum=1)
    max_characters: int = option(1_000_000, "Maximum characters in a document.", minimum=1)
    max_memory: int = option(512_000_000, "Maximum bytes of memory for all requests and replies together.", minimum=1)
    max_body: int = option(32_000_000, "Maximum bytes in a request.", minimum=1)
    max_requests: int = option(256, "Maximum requests in progress. Further requests get status 429.", minimum=1)
    drain_timeout: float = option(60.0, "Maximum seconds for accepted requests to finish after SIGTERM.", minimum=0)
    log_format: Literal["text", "json"] = option("text", "Format of the log.")

    @classmethod
    def from_toml(cls, path: Path) -> Settings:
        """Return the settings in a TOML file, whose keys are named like the options. Raises InvalidInput if it has errors."""
        table = {name.replace("_", "-"): value for name, value in read_toml(path).table.items()}
        try:
            models = _load_arguments(table.pop("models", {}))
            _check_option_names(table)
            values = _checked_values(OPTIONS, table)
            model_options = _checked_values(MODEL_OPTIONS, table)
            source = _source_options(_checked_values(SOURCE_OPTIONS, table))
        except InvalidInput as error:
            message = error.message(lambda argument: argument.name.replace("_", "-"))
            raise InvalidInput(f"{path}: {message}") from None
        if models or values.get("model"):  # otherwise `models` keeps its default
            values["models"] = models
        return cls(**values, model_options=model_options, source=source)

    def checked(self) -> Settings:
        """Return these settings with checked values. Raises InvalidInput or ModelNotFound if a server cannot use them."""
        rows = [row for row in OPTIONS if getattr(self, row.attribute) is not None]
        settings = replace(self, **{row.attribute: row.checked(getattr(self, row.attribute)) for row in rows})
        settings._check_memory()
        settings._check_access()
        for arguments in settings.models.values():
            check_name(arguments["name"])
        return settings

    def _check_memory(self) -> None:
        """Raise InvalidInput if a body of the maximum size would not fit into the memory while it is decoded."""
        if self.max_memory < 3 * self.max_body:
            raise InvalidInput(
                Argument("max_body"), f" {self.max_body} needs at least ", Argument("max_memory"), f" {3 * self.max_body}, "
                "because a body, its text and the decoded request are in memory together",
            )  # fmt: skip

    def _check_access(self) -> None:
        """Raise InvalidInput if other machines could use the server without a key, or if its keys or an origin are invalid."""
        if not self.host:
            raise InvalidInput(Argument("host"), " must be an address or a name, such as 127.0.0.1")
        if self.keys_file is not None:
            Keys(self.keys_file)  # raises InvalidInput if the file cannot be read
        elif not self.insecure and not _is_loopback(self.host):
            raise InvalidInput(
                f"other machines can reach {self.host}; set ", Argument("api_keys_file"),
                " (podium key creates keys), or allow everyone with ", Argument("insecure"),
            )  # fmt: skip
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[^/\s]+|\*", origin):
                problem = f" {origin} is not an origin; write https://host or https://host:port, without a path"
                raise InvalidInput(Argument("cors_origin"), problem)


OPTIONS = options_of(Settings)
MODEL_OPTIONS = [  # arguments of podium.load, for all models of --model
    row
    for row in (*LOCAL_OPTIONS, *HOSTED_OPTIONS, *SCORE_OPTIONS)
    if row.attribute in {"precision", "max_length", "encoding", "pooling", "score", "keep", "base_url", "calibration"}
]
# How options of a source differ here from those in the configuration file of a composition: lists of fields are strings such as
# "title^2,text", and names are those of the options of `podium serve`.
SOURCE_OPTION_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "text": {"kind": str},
    "return_fields": {"kind": str},
    "timeout": {"name": "index_timeout"},
}
SOURCE_OPTIONS = [replace(row, **SOURCE_OPTION_CHANGES.get(row.attribute, {})) for row in STACK_SOURCE_OPTIONS]


def _checked_values(options: Sequence[Option], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked values of the options that are in the table, by `Option.attribute`. Raises InvalidInput."""
    return {row.attribute: row.checked(table[row.key]) for row in options if row.key in table}


def _source_options(values: dict[str, Any]) -> SourceOptions:
    """Return the options of a source. Lists of fields are strings in `values`, as on the command line."""
    options = dict(values)
    if "text" in options:
        options["text"] = weights(options["text"])
    if "return_fields" in options:
        options["return_fields"] = comma_list(options["return_fields"]) or None
    return SourceOptions(**options)


def _check_option_names(table: Mapping[str, Any]) -> None:
    """Raise InvalidInput if the table has a key that is not an option."""
    known = [*(row.key for row in (*OPTIONS, *MODEL_OPTIONS, *SOURCE_OPTIONS)), "models"]
    if unknown := sorted(set(table) - set(known)):
        similar = [match for name in unknown for match in difflib.get_close_matches(name, known, n=1)]
        remedy = f"did you mean {', '.join(similar)}?" if similar else f"the options are {', '.join(sorted(known))}"
        raise InvalidInput(f"there is no option {', '.join(unknown)}; {remedy}")


def _load_arguments(tables: Any) -> dict[str, dict[str, Any]]:
    """Return the arguments of `podium.load` for each table [models.NAME], by NAME, which is the model's name for clients.

    The key `load` of a table is the name of the model to load. If it is missing, that is NAME, too. Raises InvalidInput.
    """
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidInput('models must be tables: [models.best], and under it load = "cohere:rerank-v3.5"')
    allowed_keys = {*inspect.signature(load).parameters, "load"} - NOT_IN_A_FILE
    arguments_by_name = {}
    for name, table in tables.items():
        if not name or not name.isprintable():
            raise InvalidInput(f"{name!r} cannot be the name of a model; use visible characters")
        if unknown := sorted(set(table) - allowed_keys):
            raise InvalidInput(f"[models.{name}] has {', '.join(unknown)}; it can have {', '.join(sorted(allowed_keys))}")
        arguments = {**table, **_checked_model_options(name, table)}
        arguments_by_name[name] = {"name": arguments.pop("load", name), **arguments}
    return arguments_by_name


def _checked_model_options(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked values of MODEL_TABLE_OPTIONS that the table [models.NAME] has. Raises InvalidInput."""
    try:
        return {row.attribute: row.checked(table[row.attribute]) for row in MODEL_TABLE_OPTIONS if row.attribute in table}
    except InvalidInput as error:
        error.args = (f"[models.{name}]: ", *error.args)
        raise


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
