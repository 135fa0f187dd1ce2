"""Output of `podium rank` and `podium search` for other programs: a ranking as JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import click

from podium.cli.tables import print_notes
from podium.documents import id_of, valid_unicode
from podium.errors import InvalidInput
from podium.explanations import Explanation
from podium.types import Ranking, Result

__all__ = ["output_options", "print_for_programs"]

Command = TypeVar("Command", bound=Callable[..., Any])

COLUMNS = (
    "rank", "score", "id", "index", "source_rank", "source_score", "tokens", "dropped_tokens", "no_text", "scored_by",
    "passage_start", "passage_end", "passage_score",
)  # fmt: skip
"""The columns of CSV before the text."""
OUTPUT_FORMATS = ("json", "jsonl", "csv")


def output_options(command: Command) -> Command:
    """Add --json, --jsonl and --csv. The command gets the name of the used option as `output_format`, or None for a table."""

    @click.option("--json", is_flag=True, help="Print the whole ranking as one JSON object.")
    @click.option("--jsonl", is_flag=True, help="Print a JSON object per result, with the document and its id.")
    @click.option("--csv", is_flag=True, help="Print a CSV row per result, with the document's id and text.")
    @functools.wraps(command)
    def with_output_format(*arguments: Any, **keywords: Any) -> Any:
        formats = [name for name in OUTPUT_FORMATS if keywords.pop(name)]
        if len(formats) > 1:
            raise InvalidInput(f"--{formats[0]} and --{formats[1]} cannot be used together; choose one")
        return command(*arguments, output_format=formats[0] if formats else None, **keywords)

    return with_output_format  # type: ignore[return-value]  # click reads the options from it


def print_for_programs(
    output_format: str,
    ranking: Ranking,
    texts: Mapping[int, str | None],
    explanations: Mapping[int, Explanation] = MappingProxyType({}),
) -> None:
    """Print a ranking in one of OUTPUT_FORMATS, and its notes on stderr. JSON includes the notes, so they are not printed.

    `texts` and `explanations` are those of the documents by index. CSV has the texts, JSON and JSON lines the explanations.
    """
    if output_format == "json":
        rows = [_row(result, explanations) for result in ranking]
        print(json.dumps(ranking.to_dict() | {"results": rows}, ensure_ascii=False, indent=2))
        return
    if output_format == "jsonl":
        for result in ranking:
            row = _row(result, explanations)
            print(json.dumps({"rank": row.pop("rank"), "id": id_of(result.document), **row}, ensure_ascii=False))
    else:
        print(_csv_line((*COLUMNS, "text")))
        for result in ranking:
            passage = {} if result.passage is None else result.passage.to_dict()
            row = {**result.to_dict(), "id": id_of(result.document)}
            row |= {f"passage_{name}": passage.get(name) for name in ("start", "end", "score")}
            print(_csv_line((*(row[name] for name in COLUMNS), valid_unicode(texts[result.index] or ""))))
    print_notes(ranking)


def _row(result: Result, explanations: Mapping[int, Explanation]) -> dict[str, Any]:
    """Return a result as JSON, with its explanation if there is one."""
    explanation = explanations.get(result.index)
    return result.to_dict() | ({} if explanation is None else {"explanation": explanation.to_dict()})


def _csv_line(values: Iterable[Any]) -> str:
    """Return a row of CSV without the end of the line.

    csv quotes a value with "\\r" only if that is part of the end of a line, as it is by default.
    """
    row = io.StringIO()
    csv.writer(row).writerow(values)
    return row.getvalue().removesuffix("\r\n")
