"""The options of a source: one table for every command that searches an index."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from podium.inputs import comma_list
from podium.places import SourceOptions, weights

__all__ = ["source_options"]

Command = Callable[..., Any]
POSITIVE = click.FloatRange(min=0, min_open=True)

# Field of SourceOptions → arguments of click.option.
_OPTIONS: dict[str, dict[str, Any]] = {
    "text": {
        "metavar": "FIELD,FIELD",
        "help": "Fields to search, weighted as in title^2,text.  [default: all]",
    },
    "embed": {
        "metavar": "MODEL",
        "help": "Embedder of the index.  [default: for an index in a folder, the embedder that it was created with]",
    },
    "mode": {
        "type": click.Choice(["text", "vector", "hybrid"]),
        "help": "Search by text, by vectors, or by both.  [default: hybrid with an embedder, else text]",
    },
    "fusion": {
        "type": click.Choice(["rrf", "weighted"]),
        "help": "How a hybrid search combines its two lists: by ranks or by scores.  [default: rrf on Redis, else weighted]",
    },
    "text_weight": {
        "type": click.FloatRange(0, 1),
        "metavar": "SHARE",
        "help": "Share of the text's score in a weighted sum, from 0 to 1.  [default: 0.3]",
    },
    "vector": {"metavar": "FIELD", "help": "On Redis: field with the vectors.  [default: embedding]"},
    "filter": {"metavar": "EXPRESSION", "help": "Find only documents that match, as in '@kind:{book} @year:[2000 +inf]'."},
    "return_fields": {"metavar": "FIELD,FIELD", "help": "On Redis: fields to return.  [default: all except vectors]"},
    "ef_runtime": {
        "type": click.IntRange(min=1),
        "metavar": "N",
        "help": "On Redis: HNSW's EF_RUNTIME, the number of neighbours considered in a search.",
    },
    "timeout": {"type": POSITIVE, "metavar": "SECONDS", "help": "On Redis: maximum seconds for a search.  [default: 10]"},
}


def source_options(*, prefixed: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Return the decorator that adds the options of a source. The command gets them as `source_options`, a SourceOptions.

    The options for the fields in `prefixed` are called --index-NAME, because the command has another option --NAME.
    """

    def add_options(command: Command) -> Command:
        fields = {f"source_{field}": field for field in _OPTIONS}  # source_ sets them apart from the command's own parameters

        @functools.wraps(command)
        def with_source_options(*arguments: Any, **keywords: Any) -> Any:
            values = {field: keywords.pop(parameter) for parameter, field in fields.items()}
            values["text"] = weights(values["text"])
            values["return_fields"] = comma_list(values["return_fields"]) or None
            return command(*arguments, source_options=SourceOptions(**values), **keywords)

        for parameter, field in reversed(fields.items()):
            flag = f"--{'index-' if field in prefixed else ''}{field.replace('_', '-')}"
            with_source_options = click.option(flag, parameter, **_OPTIONS[field])(with_source_options)
        return with_source_options

    return add_options
