"""Rankings and tables in a terminal: each row is one line, cut at the terminal's width, and readable without colour.

In a pipe or a file nothing is cut, unless the environment variable COLUMNS is set.
"""

from __future__ import annotations

import itertools
import os
import sys
import textwrap
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podium.documents import has_field, id_of, texts_of
from podium.explanations import Explanation
from podium.notebook import score_text
from podium.search import cut
from podium.types import Ranking, Result

__all__ = ["print_explanations", "print_notes", "print_ranking", "print_rows", "print_search", "shown_texts"]

# Widths are numbers of a terminal's cells, of which a letter takes one and a Chinese character two.
MIN_WIDTH = 40  # of a line, even if the terminal is narrower
DEFAULT_WIDTH = 80  # of a line in a terminal that does not know its width
SIDE_BY_SIDE_WIDTH = 120  # two rankings are shown side by side if lines have at least this width
UNLIMITED = 1_000_000  # the width of a line in a pipe or a file
MIN_TEXT_WIDTH = 10
MAX_ID_WIDTH = 12
GAP = 2  # spaces between columns
INDENT = " " * 4  # before cells that are below the first ones of their row
CONTRIBUTION_WIDTH = 11  # of a number such as +12.3456 and the spaces after it
# The share of the strongest contribution from which a sentence is bold, and below which it has no colour.
STRONG_SHARE = 0.5
WEAK_SHARE = 0.1
MAX_READ_CHARACTERS = 1_000  # how many characters of a text are read to show its beginning in a terminal
REPLACEMENTS = {"▲": "+", "▼": "-", "…": "...", "–": "-", "−": "-", "→": "->", "Δ": "delta", "×": "x"}
"""Arrows, dashes and dots → what is shown in a terminal without Unicode."""


def print_ranking(ranking: Ranking, texts: Mapping[int, str | None]) -> None:
    """Print the rank, score, change of rank, id and text of each document. `texts` are the texts by index in the input.

    If a passage decided a document's score, its text is that of the passage. If several models scored the documents, there is
    also a column with the model of each score.
    """
    has_models = any(result.scored_by not in (None, ranking.model) for result in ranking)
    columns = ("rank", "score", *(["scored by"] if has_models else []), "moved")
    rows = []
    for result in ranking:
        models = [result.scored_by or ""] if has_models else []
        numbers = (str(result.rank), score_text(result), *models, _movement(result.index + 1, result.rank))
        shown_text = texts[result.index] if result.passage is None else result.passage.text
        rows.append(_DocumentRow(numbers, id_of(result.document), shown_text))
    if rows:
        _print_documents(columns, rows)
    print_notes(ranking)


def print_explanations(ranking: Ranking, explanations: Mapping[int, Explanation]) -> None:
    """Print the sentences of explained results, each with its contribution. `explanations` are by the index in the input.

    In a terminal with colours, sentences that raise the score are green, and those that lower it red. The strongest are bold.
    """
    for result in ranking:
        if (explanation := explanations.get(result.index)) is None:
            continue
        names = (f"number {result.rank}", id_of(result.document), f"{explanation.score_kind} {explanation.score:.4f}")
        click.echo("\n" + " · ".join(name for name in names if name))
        strongest = max((abs(sentence.contribution or 0.0) for sentence in explanation.sentences), default=0.0)
        for sentence in explanation.sentences:
            share = (sentence.contribution or 0.0) / strongest if strongest else 0.0
            number = "" if sentence.contribution is None else f"{sentence.contribution:+.4f}"
            line = f"{number:>9}  {_one_line(sentence.text, _line_width() - CONTRIBUTION_WIDTH)}"
            click.echo(click.style(line, fg=_color(share), bold=abs(share) > STRONG_SHARE))
        for note in explanation.notes:
            click.echo(f"note: {note}", err=True)


def _color(share: float) -> str | None:
    if abs(share) < WEAK_SHARE:
        return None
    return "green" if share > 0 else "red"


def print_search(ranking: Ranking, limit: int, fields: Sequence[str] | None, offset: int = 0) -> None:
    """Print a page of the ranking, and the same page of the source's order: `limit` results after the first `offset`.

    The two lists are side by side in a wide terminal, and otherwise one below the other.
    """
    texts = shown_texts(((result.index, result.document) for result in ranking), fields)
    page = slice(offset, offset + limit)
    by_source = sorted(ranking, key=lambda result: result.source_rank or 0)[page]
    if ranking and SIDE_BY_SIDE_WIDTH <= _line_width() < UNLIMITED:
        _print_side_by_side(ranking[page], by_source, texts, offset + 1)
    elif ranking:
        print("reranked")
        reranked_rows = [
            _DocumentRow(
                (str(rank), score_text(result), _movement(result.source_rank, rank)),
                id_of(result.document),
                texts[result.index],
            )
            for rank, result in enumerate(ranking[page], start=offset + 1)
        ]
        _print_documents(("rank", "score", "moved"), reranked_rows)
        print("\nas found")
        source_rows = [
            _DocumentRow((str(rank), _source_score(result)), id_of(result.document), texts[result.index])
            for rank, result in enumerate(by_source, start=offset + 1)
        ]
        _print_documents(("rank", "score"), source_rows)
    print(_summary(ranking))
    print_notes(cut(ranking, limit, offset=offset))


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows below the names of the columns. No word is broken.

    In a narrow terminal, cells are wrapped in all columns except the first. If the longest words of all columns do not fit into
    a line, the last columns are below the first ones.
    """
    header = [_plain(column) for column in columns]
    cells = [[_plain(str(cell)) for cell in row] for row in rows]
    first_column, *other_columns = zip(header, *cells, strict=True)
    min_widths = [max(map(cell_len, first_column)), *(max(map(_longest_word, column)) for column in other_columns)]
    if _line_width() == UNLIMITED:
        _print_aligned(header, cells)
    elif sum(min_widths) + GAP * (len(header) - 1) <= _line_width():
        _print_wrapped(header, cells, min_widths)
    else:
        _print_below([header, *cells])


def _longest_word(cell: str) -> int:
    """Return the width of the longest word of a cell."""
    return max(map(cell_len, cell.split()), default=0)


def _print_wrapped(header: Sequence[str], rows: Sequence[Sequence[str]], min_widths: Sequence[int]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, (column, min_width) in enumerate(zip(header, min_widths, strict=True)):
        table.add_column(column, no_wrap=index == 0, min_width=min_width)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False, width=_line_width())
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_below(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of which each has the first columns on a line, as many as fit, and the others on indented lines below it."""
    ends = itertools.accumulate(_widths(rows), lambda end, width: end + GAP + width)
    count = max(sum(end <= _line_width() for end in ends), 1)
    wrapper = textwrap.TextWrapper(
        _line_width(), initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )
    for index, (line, row) in enumerate(zip(_aligned_lines([row[:count] for row in rows]), rows, strict=True)):
        _print_line("\n".join([line, *wrapper.wrap((" " * GAP).join(row[count:]))]), is_header=index == 0)


def print_notes(ranking: Ranking) -> None:
    """Print the notes of a ranking on stderr. For an empty ranking without notes, say that there were no documents."""
    notes = ranking.notes or (() if ranking else ("there are no documents to rank",))
    for note in notes:
        click.echo(f"note: {note}", err=True)


def shown_texts(documents: Iterable[tuple[int, Any]], fields: Sequence[str] | None) -> dict[int, str | None]:
    """Return the text to show for each document, by its index: the values of `fields`, or if there are none, its own text."""
    return {index: _values(document, fields) for index, document in documents}


def _values(document: Any, fields: Sequence[str] | None) -> str | None:
    """Return the values of a document's `fields` on one line, or its own text if there are none. None if it has no text."""
    if not fields or document is None or isinstance(document, str):
        return texts_of([document])[0]
    values = [texts_of([document], (name,))[0] for name in fields if has_field(document, name)]
    return " · ".join(value.strip() for value in values if value) or None


class _DocumentRow(NamedTuple):
    """A row of a table of documents: its cells with numbers, and the id and the text of the document, None if it has none."""

    numbers: Sequence[str]
    document_id: str | None
    text: str | None


def _print_documents(number_columns: Sequence[str], rows: Sequence[_DocumentRow]) -> None:
    """Print documents. `number_columns` are the names of the columns of numbers.

    If no document has an id, there is no column for ids.
    """
    has_ids = any(row.document_id for row in rows)
    header = [*number_columns, "id", "document"] if has_ids else [*number_columns, "document"]
    cells = []
    for row in rows:
        ids = [_one_line(row.document_id, MAX_ID_WIDTH)] if has_ids else []
        cells.append([*map(_plain, row.numbers), *ids])
    text_width = _line_width() - sum(width + GAP for width in _widths([header[:-1], *cells]))
    for row_cells, row in zip(cells, rows, strict=True):
        row_cells.append(_one_line(row.text, text_width))
    _print_aligned(header, cells, right_aligned=range(len(number_columns)))


def _print_side_by_side(
    reranked: Sequence[Result], by_source: Sequence[Result], texts: Mapping[int, str | None], first_rank: int
) -> None:
    header = ("rank", "reranked", "score", "moved", "as found", "score")
    scores = [[score_text(left), _source_score(right)] for left, right in zip(reranked, by_source, strict=True)]
    gaps = (len(header) - 1) * GAP
    widest_scores = ("no text", "00.000")
    used_width = sum(_widths([widest_scores, *scores])) + len("rank") + len("moved") + gaps
    text_width = (_line_width() - used_width) // 2
    rows = [
        [
            str(rank),
            _with_id(left, texts, text_width),
            score_text(left),
            _plain(_movement(left.source_rank, rank)),
            _with_id(right, texts, text_width),
            _source_score(right),
        ]
        for rank, (left, right) in enumerate(zip(reranked, by_source, strict=True), start=first_rank)
    ]
    _print_aligned(header, rows, right_aligned=(0, 2, 3, 5))


def _print_aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], right_aligned: Container[int] = ()) -> None:
    for index, line in enumerate(_aligned_lines([columns, *rows], right_aligned)):
        _print_line(line, is_header=index == 0)


def _aligned_lines(rows: Sequence[Sequence[str]], right_aligned: Container[int] = ()) -> Iterator[str]:
    """Yield rows as lines. A column is as wide as its widest cell. `right_aligned` are indices of columns."""
    widths = _widths(rows)
    for row in rows:
        cells = [
            " " * (width - cell_len(cell)) + cell if index in right_aligned else cell + " " * (width - cell_len(cell))
            for index, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        last_cell = row[-1].rjust(widths[-1]) if len(row) - 1 in right_aligned else row[-1]
        yield (" " * GAP).join([*cells, last_cell]).rstrip()


def _print_line(line: str, *, is_header: bool) -> None:
    click.echo(click.style(line, bold=True) if is_header else line)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of the widest cell of each column."""
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _with_id(result: Result, texts: Mapping[int, str | None], width: int) -> str:
    """Return the id of a result's document, if it has one, and the beginning of its text."""
    document_id = id_of(result.document)
    prefix = f"{_one_line(document_id, MAX_ID_WIDTH)}  " if document_id else ""
    return _one_line(prefix + (texts[result.index] or ""), width)


def _summary(ranking: Ranking) -> str:
    source_ms = 1000 * (ranking.usage.source_seconds or 0.0)
    rerank_ms = 1000 * ranking.usage.seconds
    total = f" of {ranking.total}" if ranking.total is not None and ranking.total > len(ranking) else ""
    return f"{len(ranking)}{total} found in {source_ms:.0f} ms, reranked in {rerank_ms:.0f} ms"


def _source_score(result: Result) -> str:
    return "" if result.source_score is None else f"{result.source_score:.3f}"


def _movement(source_rank: int | None, rank: int) -> str:
    """Return how many ranks a document moved up or down, "=" if it did not move or its rank in the source is unknown."""
    if source_rank is None or source_rank == rank:
        return "="
    ranks_up = source_rank - rank
    return f"▲{ranks_up}" if ranks_up > 0 else f"▼{-ranks_up}"


def _one_line(text: str | None, width: int) -> str:
    """Return the beginning of a text on one line, without control characters, which could change the terminal.

    It has at most `width` cells, or at most MIN_TEXT_WIDTH if that is more. In a pipe or a file, the whole text is returned.
    """
    is_unlimited = _line_width() == UNLIMITED
    beginning = (text or "")[: None if is_unlimited else MAX_READ_CHARACTERS]
    line = _plain(" ".join("".join(character if character.isprintable() else " " for character in beginning).split()))
    width = max(width, MIN_TEXT_WIDTH)
    if is_unlimited or cell_len(line) <= width:
        return line
    dots = _plain("…")
    return set_cell_size(line, width - len(dots)) + dots


def _line_width() -> int:
    """Return the width of a line: COLUMNS if it is a positive number, else the terminal's width, else UNLIMITED."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return max(int(columns), MIN_WIDTH)
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns or DEFAULT_WIDTH, MIN_WIDTH)
    except (OSError, ValueError):
        return UNLIMITED


def _plain(text: str) -> str:
    """Return a text, with replacements for those characters of REPLACEMENTS that stdout's encoding does not have."""
    for character, replacement in REPLACEMENTS.items():
        if character in text and not _can_show(character):
            text = text.replace(character, replacement)
    return text


def _can_show(character: str) -> bool:
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
