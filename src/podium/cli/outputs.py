"""How `podium rank` and `podium search` write a ranking for other programs: JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import functools
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from podium.cli.tables import print_notes
from podium.documents import id_of, valid_unicode
from podium.errors import InvalidInput
from podium.types import Ranking

__all__ = ["output_options", "print_for_programs"]

Command = TypeVar("Command", bound=Callable[..., Any])

COLUMNS = ("rank", "score", "id", "index", "source_rank", "source_score", "tokens", "dropped_tokens", "no_text")
FORMATS = ("json", "jsonl", "csv")


def output_options(command: Command) -> Command:
    """Add --json, --jsonl and --csv; the command gets the one in use as `output`, None for a table."""

    @click.option("--json", is_flag=True, help="Print one JSON object: every result whole, and what the ranking took.")
    @click.option("--jsonl", is_flag=True, help="Print a JSON object per result, with the document and its id.")
    @click.option("--csv", is_flag=True, help="Print a CSV row per result, with the document's id and text.")
    @functools.wraps(command)
    def with_output(*arguments: Any, **named: Any) -> Any:
        chosen = [name for name in FORMATS if named.pop(name)]
        if len(chosen) > 1:
            raise InvalidInput(f"--{chosen[0]} and --{chosen[1]} cannot be used together; choose one")
        return command(*arguments, output=chosen[0] if chosen else None, **named)

    return with_output  # type: ignore[return-value]  # click reads the options from it


def print_for_programs(output: str, ranking: Ranking, texts: Mapping[int, str | None]) -> None:
    """Print a ranking in a format of FORMATS; `texts` are what was read of each document, by its index."""
    if output == "json":
        print(json.dumps(ranking.to_dict(), ensure_ascii=False, indent=2))
        return
    if output == "jsonl":
        for result in ranking:
            row = result.to_dict()
            print(json.dumps({"rank": row.pop("rank"), "id": id_of(result.document), **row}, ensure_ascii=False))
    else:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow((*COLUMNS, "text"))
        for result in ranking:
            row = {**result.to_dict(), "id": id_of(result.document)}
            rows.writerow((*(row[name] for name in COLUMNS), valid_unicode(texts[result.index] or "")))
    print_notes(ranking)
