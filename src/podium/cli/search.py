"""podium search: search an index, rerank the candidates, and show both orders side by side."""

from __future__ import annotations

from typing import Any

import click

from podium.cli.options import by_option, candidates_option, limit_option, model_option, model_options
from podium.cli.outputs import output_options, print_for_programs
from podium.cli.source_options import source_options
from podium.cli.tables import print_search, shown_texts
from podium.errors import Argument, InvalidInput
from podium.inputs import comma_list
from podium.load import load
from podium.places import KINDS, SourceOptions, load_source
from podium.search import Search, cut

__all__ = ["search"]

EXAMPLES = ", ".join([*(kind.example for kind in KINDS), "or a file"])


@click.command()
@click.argument("query")
@click.option("--in", "place", required=True, metavar="PLACE", help=f"{EXAMPLES}.")
@limit_option(10)
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out the best N: the next page.")
@candidates_option
@model_option
@source_options()
@by_option("those searched")
@output_options
@model_options
def search(
    query: str,
    place: str,
    limit: int,
    candidates: int,
    model: str,
    offset: int,
    source_options: SourceOptions,
    by: str | None,
    output: str | None,
    options: dict[str, Any],
) -> None:
    """Search, then rerank.

    PLACE is an index on Redis, the folder of an index that podium index created, or a file, which is indexed in memory.
    """
    source = load_source(place, source_options)
    if offset >= candidates:
        raise InvalidInput(
            Argument("offset", offset), f" skips all of {candidates} candidates; request more with ", Argument("candidates")
        )
    rank_by = comma_list(by) or None
    with load(model, **options) as reranker:
        unlimited = Search(source, reranker, candidates=candidates, limit=None, rank_by=rank_by)
        ranking = unlimited.search(query, progress=True)
    fields = unlimited.fields([result.document for result in ranking], rank_by)
    if output:
        texts = shown_texts(((result.index, result.document) for result in ranking), fields)
        print_for_programs(output, cut(ranking, limit, offset=offset), texts)
    else:
        print_search(ranking, limit, fields, offset)
