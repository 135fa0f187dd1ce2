"""How rankings and lists look in a terminal: as wide as it is, one line a row, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from podium.types import Ranking

__all__ = ["print_ranking", "print_rows"]

MOST_SHOWN = 1000


def print_ranking(ranking: Ranking, texts: Sequence[str | None]) -> None:
    """Print score, rank, how far each document moved, and how its text begins. `texts` are in input order."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rank", ranking.score_kind, "moved"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("document", no_wrap=True, overflow="ellipsis")
    console = Console(highlight=False)
    room = console.width - sum(len(column) + 2 for column in ("rank", ranking.score_kind, "moved"))
    for result in ranking:
        score = "no text" if result.no_text else f"{result.score:.4f}"
        table.add_row(str(result.rank), score, _moved(result.index + 1 - result.rank), _shown(texts[result.index], room))
    console.print(table)
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
