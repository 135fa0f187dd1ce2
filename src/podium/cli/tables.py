"""How rankings and lists look in a terminal: as wide as it is, a line per row, readable without colour.

Written into a pipe or a file nothing is cut, unless COLUMNS names a width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podium.documents import has_field, id_of, texts_of
from podium.search import cut
from podium.types import Ranking, Result

__all__ = ["print_notes", "print_ranking", "print_rows", "print_search", "shown_texts"]

MIN_WIDTH, SIDE_BY_SIDE_WIDTH = 40, 120  # letters
UNLIMITED = 1_000_000
MIN_TEXT, MAX_ID = 10, 12
MAX_READ = 1_000  # letters of a document that are looked at for one line of a terminal
ASCII = {"▲": "+", "▼": "-", "…": "...", "–": "-", "−": "-", "→": "->", "Δ": "delta", "×": "x"}
"""What stands for the letters that a terminal without Unicode cannot show."""


def print_ranking(ranking: Ranking, texts: Mapping[int, str | None]) -> None:
    """Print score, rank, how far each document moved, its id, and how its text begins. `texts` are by input index."""
    rows = [
        (str(result.rank), _score(result), _moved(result.index + 1 - result.rank), _id(result), texts[result.index])
        for result in ranking
    ]
    if rows:
        _print_documents(("rank", "score", "moved"), rows)
    print_notes(ranking)


def print_search(ranking: Ranking, limit: int, fields: Sequence[str] | None) -> None:
    """Print the best `limit` of a search's results and the best of its first stage, each with its score there.

    The two lists stand side by side in a wide terminal, below each other elsewhere.
    """
    texts = shown_texts(((result.index, result.document) for result in ranking), fields)
    found = sorted(ranking, key=lambda result: result.source_rank or 0)[:limit]
    if ranking and SIDE_BY_SIDE_WIDTH <= _width() < UNLIMITED:
        _print_side_by_side(ranking[:limit], found, texts)
    elif ranking:
        best = [
            (str(rank), _score(each), _moved((each.source_rank or rank) - rank), _id(each), texts[each.index])
            for rank, each in enumerate(ranking[:limit], start=1)
        ]
        print("reranked")
        _print_documents(("rank", "score", "moved"), best)
        print("\nas found")
        first = [(str(rank), _source_score(each), _id(each), texts[each.index]) for rank, each in enumerate(found, start=1)]
        _print_documents(("rank", "score"), first)
    print(_took(ranking))
    print_notes(cut(ranking, limit))


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns' names. Where the terminal is narrow, all columns but the first are folded."""
    header = [_plain(column) for column in columns]
    cells = [[_plain(str(cell)) for cell in row] for row in rows]
    if (width := _width()) == UNLIMITED:
        _print_aligned(header, cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(header):
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(highlight=False, width=width)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_notes(ranking: Ranking) -> None:
    """Print a ranking's notes on stderr, and a sentence where it has no results. A Search has its own note for that."""
    if not ranking and ranking.usage.source_seconds is None:
        scored = f"none of {ranking.usage.pairs} documents scores as much as --min-score"
        click.echo(f"note: {scored if ranking.usage.pairs else 'there are no documents, so nothing was ranked'}", err=True)
    for note in ranking.notes:
        click.echo(f"note: {note}", err=True)


def shown_texts(documents: Iterable[tuple[int, Any]], fields: Sequence[str] | None) -> dict[int, str | None]:
    """Return what is shown of each (index, document), by its index: its own text, or the values of `fields`."""
    return {index: _values(document, fields) for index, document in documents}


def _values(document: Any, fields: Sequence[str] | None) -> str | None:
    if not fields or document is None or isinstance(document, str):
        return texts_of([document])[0]
    values = [texts_of([document], (name,))[0] for name in fields if has_field(document, name)]
    return " · ".join(value.strip() for value in values if value) or None


def _print_documents(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Print rows of numbers that end in an id and a text. Where no document has an id, ids have no column."""
    with_ids = any(row[-2] for row in rows)
    header = [*columns, *(["id"] if with_ids else []), "document"]
    cells = [[_plain(cell or "") for cell in row[:-2]] for row in rows]
    if with_ids:
        cells = [[*numbers, _one_line(row[-2], MAX_ID)] for numbers, row in zip(cells, rows, strict=True)]
    taken = sum(width + 2 for width in _widths(header[:-1], cells))
    texts = [_one_line(row[-1], _width() - taken) for row in rows]
    _print_aligned(header, [[*row, text] for row, text in zip(cells, texts, strict=True)], right=range(len(columns)))


def _print_side_by_side(best: Sequence[Result], found: Sequence[Result], texts: Mapping[int, str | None]) -> None:
    header = ("rank", "reranked", "score", "moved", "as found", "score")
    scores = [[_score(left), _source_score(right)] for left, right in zip(best, found, strict=True)]
    taken = sum(width + 2 for width in _widths(("no text", "00.000"), scores)) + len("rank") + len("moved") + 6
    room = (_width() - taken) // 2
    rows = [
        [
            str(rank),
            _with_id(left, texts, room),
            _score(left),
            _plain(_moved((left.source_rank or rank) - rank)),
            _with_id(right, texts, room),
            _source_score(right),
        ]
        for rank, (left, right) in enumerate(zip(best, found, strict=True), start=1)
    ]
    _print_aligned(header, rows, right=(0, 2, 3, 5))


def _print_aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int] = ()) -> None:
    """Print rows with each column as wide as its widest cell; those in `right` are aligned to the right."""
    widths = _widths(columns, rows)
    for number, row in enumerate([columns, *rows]):
        cells = [
            " " * (width - cell_len(cell)) + cell if index in right else cell + " " * (width - cell_len(cell))
            for index, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        last = row[-1].rjust(widths[-1]) if len(row) - 1 in right else row[-1]
        line = "  ".join([*cells, last]).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]


def _with_id(result: Result, texts: Mapping[int, str | None], room: int) -> str:
    name = _id(result)
    before = f"{_one_line(name, MAX_ID)}  " if name else ""
    return _one_line(before + (texts[result.index] or ""), room)


def _took(ranking: Ranking) -> str:
    searched, reranked = ranking.usage.source_seconds or 0.0, ranking.usage.seconds
    return f"{len(ranking)} found in {1000 * searched:.0f} ms, reranked in {1000 * reranked:.0f} ms"


def _score(result: Result) -> str:
    return "no text" if result.no_text else f"{result.score:.4f}"


def _source_score(result: Result) -> str:
    return "" if result.source_score is None else f"{result.source_score:.3f}"


def _id(result: Result) -> str | None:
    return id_of(result.document)


def _moved(places: int) -> str:
    return "=" if places == 0 else f"▲{places}" if places > 0 else f"▼{-places}"


def _one_line(text: str | None, room: int) -> str:
    """Return a text's start on one line, without the control characters that could steer a terminal."""
    unlimited = _width() == UNLIMITED
    read = (text or "") if unlimited else (text or "")[:MAX_READ]
    line = _plain(" ".join("".join(letter if letter.isprintable() else " " for letter in read).split()))
    room = max(room, MIN_TEXT)
    if unlimited or cell_len(line) <= room:
        return line
    dots = _plain("…")
    return set_cell_size(line, room - len(dots)) + dots


def _width() -> int:
    """Return the letters of a line: COLUMNS where that is a number above 0, else the terminal's, UNLIMITED without one."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return max(int(columns), MIN_WIDTH)
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns or 80, MIN_WIDTH)
    except (OSError, ValueError):
        return UNLIMITED


def _plain(text: str) -> str:
    """Return a text with what its terminal can show in the place of arrows, dashes and dots."""
    for letter, plain in ASCII.items():
        if letter in text and not _can_show(letter):
            text = text.replace(letter, plain)
    return text


def _can_show(letter: str) -> bool:
    try:
        letter.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
