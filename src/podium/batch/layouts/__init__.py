"""Layouts of the input of batch jobs, one per module."""

from __future__ import annotations

from collections.abc import Sequence

from podium.batch.layouts.layout import BadRow, Copied, Document, Layout, PartInput, Query, Selection
from podium.batch.layouts.lists import Lists
from podium.batch.layouts.pairs import Pairs
from podium.batch.layouts.requests import Requests
from podium.batch.layouts.runs import Runs
from podium.errors import InvalidInput

__all__ = ["LAYOUTS", "BadRow", "Copied", "Document", "Layout", "PartInput", "Query", "Selection", "find_layout"]

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (Requests(), Lists(), Pairs(), Runs())}
"""Name of a layout → the layout. If several fit the columns of an input, the first one is used."""
RUN_FIELDS = frozenset(name for names in Runs.column_names.values() for name in names)


def find_layout(name: str | None, fields: Sequence[str], *, has_collection: bool) -> Layout:
    """Return the layout called `name`, or if that is None the first one whose required values have a usual name in `fields`.

    Runs are the layout of an input with a collection, or with ids only, and pairs that of an input that fits none.
    """
    if name is not None:
        if name not in LAYOUTS:
            raise InvalidInput(f"there is no layout {name!r:.60}; known: {', '.join(LAYOUTS)}")
        return LAYOUTS[name]
    run = LAYOUTS["run"]
    if has_collection or (run.fits(fields) and set(fields) <= RUN_FIELDS):
        return run
    layouts_with_texts = [layout for layout in LAYOUTS.values() if not layout.needs_collection]
    return next((layout for layout in layouts_with_texts if layout.fits(fields)), LAYOUTS["pairs"])
