"""A ranking as an HTML table for notebooks. Everything that comes from a document is escaped."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from podium.documents import as_json, id_of, texts_of
from podium.errors import InvalidInput

if TYPE_CHECKING:
    from podium.types import Ranking, Result

__all__ = ["html_table"]

MAX_ROWS = 50  # the maximum number of results in the table
MAX_CHARACTERS = 300  # the maximum length of a text; longer texts are cut


def html_table(ranking: Ranking) -> str:
    """Return an HTML table of the first results, with the ranking's notes below."""
    head = "".join(f"<th>{name}</th>" for name in ("rank", "score", "index", "id", "document"))
    body = "".join(map(_html_row, ranking.results[:MAX_ROWS]))
    omitted = [f"and {len(ranking) - MAX_ROWS:,} more results"] if len(ranking) > MAX_ROWS else []
    lines = "".join(f"<p>{escape(line)}</p>" for line in (*omitted, *ranking.notes))
    caption = f"{ranking.model}, scores of kind {ranking.score_kind}"
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"


def _html_row(result: Result) -> str:
    score = "no text" if result.no_text else f"{result.score:.4f}"
    cells = (str(result.rank), score, str(result.index), id_of(result.document) or "", _beginning(result.document))
    return "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in cells) + "</tr>"


def _beginning(document: Any) -> str:
    """Return the beginning of a document's text. If none of its fields is known to be its text, its JSON is used."""
    try:
        text = texts_of([document])[0] or ""
    except InvalidInput:
        text = json.dumps(as_json(document), ensure_ascii=False)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
