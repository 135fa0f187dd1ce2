"""podium search: ask an index, rerank what it finds, and show both orders side by side."""

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
from podium.places import SourceOptions, load_source
from podium.search import Search, cut

__all__ = ["search"]


@click.command()
@click.argument("query")
@click.option("--in", "where", required=True, metavar="PLACE", help="redis://host:port/name, an index's folder, or a file.")
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
    where: str,
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

    PLACE is an index on Redis, the folder of one that podium index made, or a file that is indexed on the spot.
    """
    source = load_source(where, source_options)
    if offset >= candidates:
        raise InvalidInput(
            Argument("offset", offset), f" leaves none of {candidates} candidates; ask for more with ", Argument("candidates")
        )
    with load(model, **options) as reranker:
        everything = Search(source, reranker, candidates=candidates, limit=None, rank_by=comma_list(by) or None)
        ranking = everything.search(query, progress=True)
    read = everything.fields([result.document for result in ranking], comma_list(by) or None)
    if output:
        page = cut(ranking, limit, offset=offset)
        print_for_programs(output, page, shown_texts(((each.index, each.document) for each in ranking), read))
    else:
        print_search(ranking, limit, read, offset)
