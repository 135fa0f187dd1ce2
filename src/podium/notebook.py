"""How a ranking looks in a notebook: an HTML table in which everything from a document is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from podium.documents import as_json, id_of, texts_of
from podium.errors import InvalidInput

if TYPE_CHECKING:
    from podium.types import Ranking, Result

__all__ = ["table"]

MOST_ROWS, MOST_LETTERS = 50, 300


def table(ranking: Ranking) -> str:
    """Return the ranking as an HTML table of its first results, with its notes below."""
    columns = ("rank", "score", "index", "id", "document")
    rows = [_row(result) for result in ranking.results[:MOST_ROWS]]
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows)
    more = [f"and {len(ranking) - MOST_ROWS:,} more results"] if len(ranking) > MOST_ROWS else []
    lines = "".join(f"<p>{escape(line)}</p>" for line in (*more, *ranking.notes))
    caption = f"{ranking.model}, scores of kind {ranking.score_kind}"
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"


def _row(result: Result) -> tuple[str, ...]:
    score = "no text" if result.no_text else f"{result.score:.4f}"
    return str(result.rank), score, str(result.index), id_of(result.document) or "", _text(result.document)


def _cells(row: Iterable[str]) -> Iterable[str]:
    return (f'<td style="text-align:left">{escape(cell)}</td>' for cell in row)


def _text(document: Any) -> str:
    """Return how a document's text begins, or of one that has none by itself, its JSON."""
    try:
        text = texts_of([document])[0] or ""
    except InvalidInput:
        text = json.dumps(as_json(document), ensure_ascii=False)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
