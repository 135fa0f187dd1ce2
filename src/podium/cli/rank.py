"""podium rank: order the documents of a file."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from podium.cli.options import budget_options, by_option, format_option, limit_option, model_option, model_options
from podium.cli.outputs import output_options, print_for_programs
from podium.cli.tables import print_explanations, print_ranking, shown_texts
from podium.compose.passages import Passages
from podium.errors import Argument, InvalidInput
from podium.explanations import Explanation
from podium.formats import format_of, parse_documents, read_documents
from podium.inputs import checked_texts, comma_list
from podium.load import load

__all__ = ["rank"]

EXPLAINED = 3  # how many results are explained by default, because that takes longer than ranking


@click.command()
@click.argument("query")
@click.argument("file", metavar="FILE|-")
@by_option(default="content, text, page_content or passage")
@model_option
@limit_option(None)
@click.option(
    "--explain",
    is_flag=True,
    help=f"Show what each sentence contributes to the scores of the results, of the best {EXPLAINED} without --limit.",
)
@click.option(
    "--passages",
    is_flag=True,
    help="Read long documents completely, in passages. A document has the score of its best passage.",
)
@click.option("--title", metavar="FIELD", help="With --passages: field that is put before each passage.")
@click.option("--min-score", type=float, metavar="X", help="Leave out results with a lower score.")
@format_option
@budget_options
@output_options
@model_options
def rank(
    query: str,
    file: str,
    by: str | None,
    model: str,
    limit: int | None,
    explain: bool,
    passages: bool,
    title: str | None,
    min_score: float | None,
    format_name: str | None,
    output_format: str | None,
    budget: dict[str, Any],
    load_options: dict[str, Any],
) -> None:
    """Order a file's documents by relevance.

    FILE is .txt or .md (one document per line), .jsonl, .json, .csv, .tsv or .parquet, also with .gz; - is standard input.
    """
    _check_order(query, file)
    documents = _documents(file, format_name)
    rank_by = None if by is None else comma_list(by)
    checked_texts(documents, rank_by)  # raises InvalidInput for an unknown field, before the model is loaded
    if title is not None and not passages:
        raise InvalidInput(Argument("title", title), " needs ", Argument("passages"))
    if explain and output_format == "csv":
        raise InvalidInput(Argument("explain"), " has no CSV output; use --json or --jsonl")
    explanations: dict[int, Explanation] = {}
    with load(model, **load_options) as loaded:
        reranker = loaded.with_scorer(Passages(loaded, title=title)) if passages else loaded
        ranking = reranker.rerank(query, documents, limit=limit, rank_by=rank_by, min_score=min_score, progress=True, **budget)
        if explain:
            results = [result for result in ranking if not result.no_text][: limit or EXPLAINED]
            explanations = {result.index: reranker.explain(query, result.document, rank_by=rank_by) for result in results}
    texts = shown_texts(enumerate(documents), rank_by)
    if output_format:
        print_for_programs(output_format, ranking, texts, explanations)
    else:
        print_ranking(ranking, texts)
        print_explanations(ranking, explanations)
    if ranking.usage.truncated and not passages:
        click.echo("note: with --passages, the model reads them completely", err=True)


def _check_order(query: str, file: str) -> None:
    """Raise InvalidInput if the query and the file were swapped."""
    if file != "-" and not os.path.exists(file) and os.path.isfile(query):
        raise InvalidInput(f"there is no file {file:.200}; the query comes first: podium rank QUERY {query:.200}")


def _documents(file: str, format_name: str | None) -> list[Any]:
    """Return the documents of a file, or of standard input if `file` is "-". Raises InvalidInput."""
    if file != "-":
        return read_documents(file, format_name)
    if sys.stdin is None:
        raise InvalidInput("standard input is closed; name a file")
    content = sys.stdin.buffer.read()
    return parse_documents(content, format_name or format_of("", content), "standard input")
