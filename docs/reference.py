"""The generated pages of the reference: the command line from click, and HTTP from the server's OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from podium.cli import podium
from podium.hosted.providers import PROVIDERS
from podium.server.dialects import DIALECTS
from podium.server.endpoints.openapi import openapi_document

__all__ = ["command_help", "commands", "http_paths", "leaves", "table", "variables"]

FENCE = "`" * 3
HELP_WIDTH = 80


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in row)}|" for row in [header, *rows]]
    lines.insert(1, f"|{'---|' * len(header)}")
    return "\n".join(lines)


def commands() -> str:
    """Return a section for podium and for each of its commands, with its help."""
    sections = [command_help(podium, "podium")]
    sections += [f"## {name}\n\n{command_help(command, name)}" for name, command in leaves(podium, "podium")]
    return "\n\n".join(sections)


def leaves(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands in a group that are not groups, with their complete names."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def command_help(command: click.Command, name: str) -> str:
    """Return the help of a command as a text block."""
    context = click.Context(command, info_name=name, terminal_width=HELP_WIDTH - 2, help_option_names=["-h", "--help"])
    return f"{FENCE}text\n{command.get_help(context)}\n{FENCE}"


def variables() -> str:
    """Return the table of the environment variables of hosted APIs."""
    rows = [
        (row.title, f"`{row.key_variable}`" if row.key_variable else "–", f"`{row.name.upper()}_BASE_URL`") for row in PROVIDERS
    ]
    return table(("API", "key", "URL of another server"), rows)


def http_paths() -> str:
    """Return a section for each path of the server. Paths that do the same are in one section."""
    paths_by_operation: dict[str, list[str]] = {}
    operations: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for path, methods in openapi_document(needs_key=False, dialects=DIALECTS)["paths"].items():
        for method, operation in methods.items():
            key = repr((method, operation))
            operations[key] = (method.upper(), operation)
            paths_by_operation.setdefault(key, []).append(path)
    return "\n\n".join(_operation(*operations[key], paths) for key, paths in paths_by_operation.items())


def _operation(method: str, operation: Mapping[str, Any], paths: Sequence[str]) -> str:
    """Return the section of one operation: its paths, and tables of the fields of its request and its reply."""
    parts = [f"## {method} {', '.join(paths)}", f"{operation['summary']}."]
    for title, body in (("request", operation.get("requestBody", {})), ("reply", operation["responses"]["200"])):
        schema = _json_schema(body)
        tables = [
            table((title, "type", ""), _fields(variant)) for variant in schema.get("anyOf", [schema]) if [*_fields(variant)]
        ]
        parts.append("\n\nor\n\n".join(tables))
    return "\n\n".join(filter(None, parts))


def _json_schema(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("content", {}).get("application/json", {}).get("schema", {})  # type: ignore[no-any-return]


def _fields(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the name, type and description of each field. `results[].score` is a field of the objects in a list."""
    for variant in [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        for name, field in variant.get("properties", {}).items():
            is_required = name in variant.get("required", ())
            description = field.get("description", "").replace("|", "\\|")
            yield f"{'**' * is_required}`{prefix}{name}`{'**' * is_required}", _type(field), description
            yield from _fields(field, f"{prefix}{name}.")
        if "items" in variant:
            yield from _fields(variant["items"], f"{prefix.removesuffix('.')}[].")


def _type(field: Mapping[str, Any]) -> str:
    """Return the types of a field in JSON, such as "integer, null"."""
    if values := field.get("enum") or [field[name] for name in ("const",) if name in field]:
        return ", ".join(f"`{value}`" for value in values)
    variants = field.get("anyOf") or field.get("oneOf")
    if variants:
        return ", ".join(dict.fromkeys(_type(variant) for variant in variants))
    types = field.get("type", "any")
    return types if isinstance(types, str) else ", ".join(types)
