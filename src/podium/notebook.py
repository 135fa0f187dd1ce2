"""A ranking as an HTML table for notebooks. Everything that comes from a document is escaped."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from podium.documents import as_json, id_of, texts_of
from podium.errors import InvalidInput

if TYPE_CHECKING:
    from podium.types import Ranking, Result

__all__ = ["html_table", "score_text"]

MAX_ROWS = 50  # the maximum number of results in the table
MAX_CHARACTERS = 300  # the maximum length of a text; longer texts are cut


def html_table(ranking: Ranking) -> str:
    """Return an HTML table of the first results, with the ranking's notes below."""
    results = ranking.results[:MAX_ROWS]
    has_models = any(result.scored_by not in (None, ranking.model) for result in results)
    names = ("rank", "score", *(["scored by"] if has_models else []), "index", "id", "document")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(_html_row(result, has_models) for result in results)
    omitted = [f"and {len(ranking) - MAX_ROWS:,} more results"] if len(ranking) > MAX_ROWS else []
    lines = "".join(f"<p>{escape(line)}</p>" for line in (*omitted, *ranking.notes))
    caption = f"{ranking.model}, scores of kind {ranking.score_kind}"
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"


def _html_row(result: Result, has_models: bool) -> str:
    """Return a row of the table. Before the index, it has the model of the score if `has_models`."""
    models = [result.scored_by or ""] if has_models else []
    identity = (str(result.index), id_of(result.document) or "")
    cells = "".join(map(_html_cell, map(escape, (str(result.rank), score_text(result), *models, *identity))))
    return f"<tr>{cells}{_html_cell(_html_text(result))}</tr>"


def _html_cell(content: str) -> str:
    return f'<td style="text-align:left">{content}</td>'


def score_text(result: Result) -> str:
    """Return a result's score with four decimals, or why it has none."""
    if result.no_text:
        return "no text"
    return f"{result.score:.4f}" if result.has_score else "not scored"


def _html_text(result: Result) -> str:
    """Return the beginning of a document's text, or that of the result's passage, which is marked."""
    if result.passage is None:
        return escape(_shortened(_text(result.document)))
    before = "…" if result.passage.start else ""
    return f"{before}<mark>{escape(_shortened(result.passage.text))}</mark>"


def _text(document: Any) -> str:
    """Return a document's text. If none of its fields is known to be its text, its JSON is used."""
    try:
        return texts_of([document])[0] or ""
    except InvalidInput:
        return json.dumps(as_json(document), ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
