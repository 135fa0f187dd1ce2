"""A small test collection about fruit, as the files of a BEIR folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

CORPUS = [
    {"_id": "d1", "title": "Apples", "text": "a ripe red apple"},
    {"_id": "d2", "title": "", "text": "the red sea at night"},
    {"_id": "d3", "title": None, "text": "a green pear"},
    {"_id": "d4", "text": "red red wine"},
]
QUERIES = [{"_id": "q1", "text": "red fruit"}, {"_id": "q2", "text": "night sea"}, {"_id": "q3", "text": "without judgments"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t1\nq1\td4\t0\nq2\td2\t1\n"


def write_json_lines(path: Path, records: Iterable[Mapping[str, object]]) -> Path:
    """Write a file with a line of JSON per record, and return its path."""
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def write_fruit(folder: Path) -> Path:
    """Create a folder with the files of the collection, and return it."""
    folder.mkdir()
    write_json_lines(folder / "corpus.jsonl", CORPUS)
    write_json_lines(folder / "queries.jsonl", QUERIES)
    (folder / "qrels.tsv").write_text(QRELS, encoding="utf-8")
    return folder
