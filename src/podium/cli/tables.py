"""How rankings and lists look in a terminal: as wide as it is, one line a row, readable without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from podium.documents import texts_of
from podium.search import cut
from podium.types import Ranking, Result

__all__ = ["print_ranking", "print_rows", "print_search"]

MOST_SHOWN = 1000


def print_ranking(ranking: Ranking, texts: Sequence[str | None]) -> None:
    """Print score, rank, how far each document moved, and how its text begins. `texts` are in input order."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rank", "score", "moved"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("document", no_wrap=True, overflow="ellipsis")
    console = Console(highlight=False)
    room = console.width - sum(len(column) + 2 for column in ("rank", " no text", "moved"))
    for result in ranking:
        score = "no text" if result.no_text else f"{result.score:.4f}"
        table.add_row(str(result.rank), score, _moved(result.index + 1 - result.rank), _shown(texts[result.index], room))
    console.print(table)
    _print_notes(ranking)


def print_search(ranking: Ranking, limit: int, fields: Sequence[str] | None) -> None:
    """Print the best `limit` of a search's results beside the best of its first stage, each with its score there."""
    texts = {result.index: text for result, text in zip(ranking, _texts(ranking, fields), strict=True)}
    found = sorted(ranking, key=lambda result: result.source_rank or 0)
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    others = ("rank", " no text", "moved", "00.000")
    room = max((console.width - sum(len(name) + 2 for name in others) - 2) // 2, 10)
    for name, right in (("rank", True), ("reranked", False), ("score", True), ("moved", True), ("as found", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    for rank, (best, first) in enumerate(zip(ranking[:limit], found, strict=False), start=1):
        table.add_row(str(rank), *_sides(best, first, texts, room))
    console.print(table)
    console.print(_took(ranking))
    _print_notes(cut(ranking, limit))


def _sides(best: Result, first: Result, texts: Mapping[int, str | None], room: int) -> tuple[str | Text, ...]:
    score = "no text" if best.no_text else f"{best.score:.4f}"
    moved = _moved((best.source_rank or best.rank) - best.rank)
    before = "" if first.source_score is None else f"{first.source_score:.3f}"
    return _shown(texts[best.index], room), score, moved, _shown(texts[first.index], room), before


def _texts(ranking: Ranking, fields: Sequence[str] | None) -> list[str | None]:
    return texts_of([result.document for result in ranking], tuple(fields) if fields else None)


def _took(ranking: Ranking) -> str:
    searched, reranked = ranking.usage.source_seconds or 0.0, ranking.usage.seconds
    return f"{len(ranking)} found in {1000 * searched:.0f} ms, reranked in {1000 * reranked:.0f} ms"


def _print_notes(ranking: Ranking) -> None:
    for note in ranking.notes:
        Console(stderr=True, highlight=False).print(f"note: {escape(note)}")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns' names; the first column is never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, column in enumerate(columns):
        table.add_column(column, no_wrap=at == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False).print(table)


def _moved(places: int) -> str:
    return "=" if places == 0 else f"▲{places}" if places > 0 else f"▼{-places}"


def _shown(text: str | None, room: int) -> Text:
    """Return the start of a text on one line, without the control characters that could steer a terminal."""
    printable = "".join(letter if letter.isprintable() else " " for letter in (text or "")[:MOST_SHOWN])
    shown = Text(" ".join(printable.split()))
    shown.truncate(max(room, 10), overflow="ellipsis")
    return shown
