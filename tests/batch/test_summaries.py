"""Summaries of parts: counts and bad rows."""

from __future__ import annotations

from io import BytesIO

import pytest

from podium.batch.layouts import BadRow
from podium.batch.summaries import Summary, rejected_rows
from podium.errors import InvalidInput


def test_summary_may_have_any_number_of_bad_rows(tmp_path):
    """A part that has many bad rows could otherwise not be completed."""
    line = BytesIO()
    Summary().reject(BadRow(10, None, "the document is null, and this sentence is a long one" * 20), line)
    count = 110_000_000 // len(line.getvalue())
    with open(tmp_path / "summary.json", "wb") as file:
        for _ in range(count):
            file.write(line.getvalue())
        Summary(pairs=1, rejected=count).write(file)
    summary = Summary.read(tmp_path / "summary.json")
    assert (summary.pairs, summary.rejected) == (1, count)
    assert next(rejected_rows(tmp_path / "summary.json")).position == 10
    with open(tmp_path / "summary.json", "r+b") as file:
        file.truncate(100_000_000)
    with pytest.raises(InvalidInput, match="is damaged; delete it and run the job again"):
        Summary.read(tmp_path / "summary.json")
