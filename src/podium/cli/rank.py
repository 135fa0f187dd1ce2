"""podium rank: order the documents of a file."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import click

from podium.cli.tables import print_ranking
from podium.documents import texts_of
from podium.errors import InvalidInput
from podium.inputs import checked_fields
from podium.load import load
from podium.sources import files

__all__ = ["rank"]


@click.command()
@click.argument("query")
@click.argument("file", metavar="FILE|-")
@click.option("--by", "fields", metavar="FIELD,FIELD", help="The fields to read, in this order.")
@click.option(
    "--model", default="podium-mini", show_default=True, help="A name as for podium.load: org/model, ./folder, cohere:…"
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="How many results to print.  [default: all]")
@click.option("--min-score", type=float, metavar="X", help="Leave out results that score less.")
@click.option("--format", "kind", type=click.Choice(list(files.FORMATS)), help="What FILE holds.  [default: by its name]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every result whole, and what the ranking took.")
@click.option(
    "--precision", type=click.Choice(["float32", "int8", "auto"]), help="For models on this machine.  [default: float32]"
)
@click.option("--base-url", metavar="URL", help="For hosted APIs: a server of your own.")
def rank(
    query: str,
    file: str,
    fields: str | None,
    model: str,
    limit: int | None,
    min_score: float | None,
    kind: str | None,
    as_json: bool,
    precision: Literal["float32", "int8", "auto"] | None,
    base_url: str | None,
) -> None:
    """Order a file's documents by relevance.

    FILE is .txt (a document a line), .jsonl, .json, .csv or .parquet, also with .gz; - is standard input.
    """
    documents = _documents(file, kind)
    rank_by = None if fields is None else [name.strip() for name in fields.split(",")]
    texts = texts_of(documents, checked_fields(rank_by))
    with load(model, precision=precision, base_url=base_url) as reranker:
        ranking = reranker.rerank(query, documents, limit=limit, rank_by=rank_by, min_score=min_score, progress=True)
    if as_json:
        print(json.dumps(ranking.to_dict(), ensure_ascii=False, indent=2))
    else:
        print_ranking(ranking, texts)


def _documents(file: str, kind: str | None) -> list[Any]:
    if file != "-":
        return files.read(file, kind)
    if sys.stdin is None:
        raise InvalidInput("standard input is closed; name a file")
    content = sys.stdin.buffer.read()
    return files.parse(content, kind or files.format_of("", content), "standard input")
