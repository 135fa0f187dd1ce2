"""Input files for the tests of batch jobs, and their expected results."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from podium.ranking import Reranker

WORDS = ("apple", "pear", "red", "green", "ripe", "sea")
RESULT = ("query_id", "id", "index", "rank", "score")
"""The columns of the output that `expected_results` has."""

Row = Mapping[str, Any]


def pairs(sizes: Sequence[int]) -> list[dict[str, str]]:
    """Return rows of pairs. Query i has `sizes[i]` documents."""
    rows = []
    for number, size in enumerate(sizes):
        query = f"{WORDS[number % 6]} {WORDS[(number + 1) % 6]} {number}"
        for index in range(size):
            text = f"{WORDS[(number + index) % 6]} {WORDS[index % 5]} {'x' * (index % 7)} {index}"
            rows.append({"query_id": f"q{number}", "query": query, "id": f"d{number}-{index}", "text": text})
    return rows


def as_lists(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows of pairs as one row per query, with lists of documents and of their ids."""
    by_query: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = by_query.setdefault(
            row["query_id"], {"query_id": row["query_id"], "query": row["query"], "documents": [], "ids": []}
        )
        entry["documents"].append(row["text"])
        entry["ids"].append(row["id"])
    return list(by_query.values())


def write_table(path: Path, rows: Sequence[Row], *, rows_per_group: int = 10) -> Path:
    """Write rows in the format of the ending of the file's name."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=rows_per_group)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(list(rows))
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=rows_per_group)
    elif ".csv" in path.name:
        text = io.StringIO()
        cells = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        cells.writeheader()
        cells.writerows(rows)
        path.write_bytes(_compressed(path, text.getvalue().encode()))
    elif path.suffix == ".tsv":
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_bytes(_compressed(path, "".join(f"{json.dumps(row)}\n" for row in rows).encode()))
    return path


def _compressed(path: Path, content: bytes) -> bytes:
    if path.suffix == ".gz":
        return gzip.compress(content)
    return pa.compress(content, "zstd", asbytes=True) if path.suffix == ".zst" else content


def expected_results(rows: Sequence[Row], reranker: Reranker, limit: int | None = None) -> list[tuple[Any, ...]]:
    """Return the values of RESULT for rows of pairs, computed query by query."""
    results = []
    for entry in as_lists(rows):
        for result in reranker.rerank(entry["query"], entry["documents"], limit=limit):
            document_id = entry["ids"][result.index]
            results.append((entry["query_id"], document_id, result.index, result.rank, result.score))
    return results


def results_in(folder: Path) -> list[tuple[Any, ...]]:
    """Return the values of RESULT in the output of a job, in the order of its parts."""
    table = pq.read_table(folder / "parts").select(RESULT)
    return [tuple(row.values()) for row in table.to_pylist()]


def rejected_in(folder: Path) -> list[dict[str, Any]]:
    """Return the bad rows of a job."""
    return pq.read_table(folder / "rejected.parquet").to_pylist() if (folder / "rejected.parquet").exists() else []
