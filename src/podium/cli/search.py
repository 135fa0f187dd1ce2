"""podium search: ask an index, rerank what it finds, and show both orders side by side."""

from __future__ import annotations

from typing import Any, Literal

import click

from podium.cli.options import model_options
from podium.cli.outputs import output_options, print_for_programs
from podium.cli.tables import print_search, shown_texts
from podium.load import load
from podium.places import listed, load_source
from podium.search import Search, cut

__all__ = ["search"]


@click.command()
@click.argument("query")
@click.option("--in", "where", required=True, metavar="PLACE", help="redis://host:port/name, an index's folder, or a file.")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="How many results.")
@click.option(
    "--candidates", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="… of how many found."
)
@click.option(
    "--model", default="podium-mini", show_default=True, help="A name as for podium.load: org/model, ./folder, cohere:…"
)
@click.option("--mode", type=click.Choice(["text", "vector", "hybrid"]), help="[default: hybrid with an embedder, else text]")
@click.option("--text", "fields", metavar="FIELD,FIELD", help="The fields to search.  [default: the index's own]")
@click.option("--embed", metavar="MODEL", help="The embedder of the index.  [default: a folder's index knows its own]")
@click.option("--filter", metavar="EXPRESSION", help="On Redis: only documents that match, as in '@year:[2000 +inf]'.")
@click.option("--by", metavar="FIELD,FIELD", help="The fields the model reads.  [default: those searched]")
@output_options
@model_options
def search(
    query: str,
    where: str,
    limit: int,
    candidates: int,
    model: str,
    mode: Literal["text", "vector", "hybrid"] | None,
    fields: str | None,
    embed: str | None,
    filter: str | None,  # noqa: A002  the option's name
    by: str | None,
    output: str | None,
    options: dict[str, Any],
) -> None:
    """Search, then rerank.

    PLACE is an index on Redis, the folder of one that podium index made, or a file that is indexed on the spot.
    """
    source = load_source(where, text=listed(fields) or None, embed=embed, mode=mode, filter=filter)
    with load(model, **options) as reranker:
        everything = Search(source, reranker, candidates=candidates, limit=None, rank_by=listed(by) or None)
        ranking = everything.search(query, progress=True)
    read = everything.fields([result.document for result in ranking], listed(by) or None)
    if output:
        print_for_programs(output, cut(ranking, limit), shown_texts(((each.index, each.document) for each in ranking), read))
    else:
        print_search(ranking, limit, read)
