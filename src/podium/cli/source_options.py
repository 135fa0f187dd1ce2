"""The options that choose how a source is searched: one table for every command that names a place to search."""

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

# Field of SourceOptions → what click.option takes.
_OPTIONS: dict[str, dict[str, Any]] = {
    "text": {
        "metavar": "FIELD,FIELD",
        "help": "The fields to search, weighted as in title^2,text.  [default: all]",
    },
    "embed": {"metavar": "MODEL", "help": "The embedder of the index.  [default: a folder's index knows its own]"},
    "mode": {
        "type": click.Choice(["text", "vector", "hybrid"]),
        "help": "[default: hybrid with an embedder, else text]",
    },
    "fusion": {
        "type": click.Choice(["rrf", "weighted"]),
        "help": "How a hybrid search fuses.  [default: rrf on Redis, else weighted]",
    },
    "text_weight": {
        "type": click.FloatRange(0, 1),
        "metavar": "SHARE",
        "help": "The text's share of a weighted sum.  [default: 0.3]",
    },
    "vector": {"metavar": "FIELD", "help": "On Redis: the field of the vectors.  [default: embedding]"},
    "filter": {"metavar": "EXPRESSION", "help": "On Redis: only documents that match, as in '@year:[2000 +inf]'."},
    "return_fields": {"metavar": "FIELD,FIELD", "help": "On Redis: the fields that come back.  [default: all but vectors]"},
    "ef_runtime": {"type": click.IntRange(min=1), "metavar": "N", "help": "On Redis: how widely an HNSW graph is searched."},
    "timeout": {"type": POSITIVE, "metavar": "SECONDS", "help": "On Redis: for a whole search.  [default: 10]"},
}


def source_options(*, prefixed: Sequence[str] = (), without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command the options of a source, and pass them to it as `source_options`, a SourceOptions.

    Those of `prefixed` are written --index-NAME, where --NAME is the command's own. Those of `without` are left out.
    """

    def decorated(command: Command) -> Command:
        names = {f"source_{name}": name for name in _OPTIONS if name not in without}

        @functools.wraps(command)
        def called(*args: Any, **arguments: Any) -> Any:
            chosen = {name: arguments.pop(parameter) for parameter, name in names.items()}
            chosen["text"] = weights(chosen.get("text"))
            chosen["return_fields"] = comma_list(chosen.get("return_fields")) or None
            return command(*args, source_options=SourceOptions(**chosen), **arguments)

        for parameter, name in reversed(names.items()):
            flag = f"--{'index-' if name in prefixed else ''}{name.replace('_', '-')}"
            called = click.option(flag, parameter, **_OPTIONS[name])(called)
        return called

    return decorated
