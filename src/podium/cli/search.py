"""podium search: search an index, rerank the candidates, and show both orders side by side."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from typing import Any

import click
from click.core import ParameterSource

from podium.cli.options import budget_options, by_option, candidates_option, limit_option, model_option, model_options
from podium.cli.outputs import output_options, print_for_programs
from podium.cli.source_options import source_options as add_source_options
from podium.cli.tables import print_search, shown_texts
from podium.errors import Argument, InvalidInput
from podium.inputs import checked_fields, comma_list, without_none
from podium.load import is_stack, load
from podium.places import EXAMPLES, SourceOptions, load_source
from podium.search import Search, cut
from podium.stacks import Stack, read_stack

__all__ = ["search"]


@click.command()
@click.argument("query")
@click.option(
    "--in", "place", metavar="PLACE", help=f"Index to search: {EXAMPLES}, or a file.  [default: the source of a stack.toml]"
)
@limit_option(10)
@click.option(
    "--offset", type=click.IntRange(0), default=0, metavar="N", help="Number of results to skip, to show another page."
)
@candidates_option
@model_option
@add_source_options()
@by_option(default="the searched fields")
@budget_options
@output_options
@model_options
def search(
    query: str,
    place: str | None,
    limit: int,
    candidates: int,
    model: str,
    offset: int,
    source_options: SourceOptions,
    by: str | None,
    output_format: str | None,
    budget: dict[str, Any],
    load_options: dict[str, Any],
) -> None:
    """Search, then rerank.

    PLACE is an index that `podium index` created, or a file, which is indexed in memory.
    """
    rank_by = None if by is None else comma_list(by)
    checked_fields(rank_by)  # raises InvalidInput before the source is loaded
    stack = read_stack(model) if is_stack(model) else None
    if stack is not None and stack.candidates is not None and _is_default("candidates"):
        candidates = stack.candidates
    if stack is not None and stack.limit is not None and _is_default("limit"):
        limit = stack.limit
    if place is None:
        place, source_options = _source_of_stack(stack, source_options)
    if offset >= candidates:
        raise InvalidInput(
            Argument("offset", offset), f" skips all {candidates} candidates; request more with ", Argument("candidates")
        )
    with contextlib.closing(load_source(place, source_options)) as source, load(model, **load_options) as reranker:
        # All candidates are ranked, because the table also shows the source's order. The page is cut afterwards.
        unlimited_search = Search(source, reranker, candidates=candidates, limit=None, rank_by=rank_by)
        ranking = unlimited_search.search(query, progress=True, **budget)
        shown_fields = unlimited_search.fields([result.document for result in ranking], rank_by)
    if output_format:
        texts = shown_texts(((result.index, result.document) for result in ranking), shown_fields)
        print_for_programs(output_format, cut(ranking, limit, offset=offset), texts)
    else:
        print_search(ranking, limit, shown_fields, offset)


def _is_default(option: str) -> bool:
    """Whether the command was called without this option."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT


def _source_of_stack(stack: Stack | None, options: SourceOptions) -> tuple[str, SourceOptions]:
    """Return the place and the options of the source in a stack.toml. The command's own `options` take precedence."""
    if stack is None or stack.place is None:
        raise InvalidInput(
            Argument("in"), " is missing; pass an index or a file, or a stack.toml with a source as ", Argument("model")
        )
    return stack.place, replace(stack.source, **without_none(asdict(options)))
