"""Test collections: queries, documents and judgments, from a BEIR folder, TREC files, or a CSV of one's own."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.documents import texts_of
from podium.errors import InvalidInput
from podium.formats import csv_rows

__all__ = ["LARGEST_GRADE", "Collection", "Qrels", "read_collection", "read_qrels", "read_queries"]

Qrels = Mapping[str, Mapping[str, int]]
"""Grades by query and document; above 0 is relevant."""

LARGEST_GRADE = 10_000  # trec_eval takes memory for every grade up to the highest
QRELS_FILES = ("qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv", "qrels.txt")


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents by id (each a text), queries by id, and grades. Queries without a relevant document are left out.

    `candidates` are the documents that each query has to itself, where the collection says so.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    candidates: Mapping[str, list[str]] = field(default_factory=dict)


def read_collection(path: str | Path, *, queries: str | Path | None = None, qrels: str | Path | None = None) -> Collection:
    """Return the collection of a folder in BEIR's layout, or of a CSV with the columns query, document and grade.

    In a CSV an empty grade makes a document a candidate without a judgment, and a column id names the documents.

    A folder has corpus.jsonl, queries.jsonl (both also .gz) and qrels (qrels.tsv, or qrels/test.tsv); candidates.tsv gives
    each query documents of its own. `queries` (JSON lines, TSV or TREC topics) and `qrels` (TSV or TREC) take their places.
    Raises InvalidInput, naming the file and the line.
    """
    where = Path(path)
    if where.suffix.lower() == ".csv":
        return _from_csv(where)
    if not where.is_dir():
        raise InvalidInput(
            f"{where} is neither a folder in BEIR's layout nor a .csv with the columns query, document and grade"
        )
    graded = read_qrels(qrels or _first(where, QRELS_FILES))
    asked = read_queries(queries or _first(where, ("queries.jsonl", "queries.jsonl.gz", "queries.tsv")))
    documents = _corpus(_first(where, ("corpus.jsonl", "corpus.jsonl.gz")))
    own = _candidates(where / "candidates.tsv", asked, documents)
    return _collection(where.resolve().name, documents, asked, graded, own)


def read_queries(path: str | Path) -> dict[str, str]:
    """Return queries by id: JSON lines {_id, text}, TREC topics (<top>), or a line each, id and text with a tab between."""
    file = Path(path)
    content = "".join(_lines(file))
    if "<top>" in content:
        return _unique(_topics(content, file))
    if content.lstrip().startswith("{"):
        return _unique((place, _id(each, place), _string(each["text"], place)) for place, each in _objects(file))
    return _unique(_tab_separated(content, file))


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Return grades by query and document: query, document, grade (a header is skipped), or TREC's with a 0 in second place."""
    file, grades = Path(path), {}  # type: ignore[var-annotated]  # of the return's type
    for number, line in enumerate(_lines(file), start=1):
        parts = line.split("\t") if "\t" in line else line.split()
        parts = [part.strip() for part in parts]
        if not line.strip() or (number == 1 and not _is_number(parts[-1])):
            continue
        if len(parts) not in (3, 4) or not _is_grade(parts[-1]):
            raise InvalidInput(
                f"{file}, line {number}: a judgment is query, document and a whole number up to {LARGEST_GRADE:,} as its grade"
            )
        if parts[-2] in grades.setdefault(parts[0], {}):
            raise InvalidInput(
                f"{file}, line {number}: the document {parts[-2]!r:.60} is judged twice for the query {parts[0]!r:.60}; "
                "remove one of the lines"
            )
        grades[parts[0]][parts[-2]] = int(float(parts[-1]))
    if not grades:
        raise InvalidInput(f"{file} holds no judgments")
    return grades


def _collection(
    name: str, documents: dict[str, str], queries: dict[str, str], qrels: Qrels, candidates: Mapping[str, list[str]]
) -> Collection:
    relevant = {query for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    asked = {query: text for query, text in queries.items() if query in relevant}
    if not asked:
        raise InvalidInput(f"{name}: no query has a relevant document; do the ids of queries and qrels match?")
    for query, text in zip(asked, texts_of(list(asked.values())), strict=True):
        if text is None:
            raise InvalidInput(f"{name}: the query {query!r:.60} is empty; give it a text, or remove it and its judgments")
    return Collection(name, documents, asked, {query: dict(qrels[query]) for query in asked}, candidates)


def _from_csv(file: Path) -> Collection:
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    candidates: dict[str, dict[str, None]] = {}
    ids: dict[tuple[str, str], str] = {}
    for line, row in csv_rows(_lines(file), str(file), required=("query", "document", "grade")):
        grade = row["grade"].strip()
        if grade and not _is_grade(grade):
            wanted = f"empty or a whole number up to {LARGEST_GRADE:,}"
            raise InvalidInput(f"{file}, line {line}: grade must be {wanted}, not {grade!r:.40}")
        if texts_of([row["query"]]) == [None]:
            raise InvalidInput(f"{file}, line {line}: the query is empty; give it a text, or remove the line")
        query = ids.setdefault(("query", row["query"]), f"q{len(queries) + 1}")
        queries[query] = row["query"]
        document = row.get("id") or ids.setdefault(("document", row["document"]), f"d{len(documents) + 1}")
        if documents.setdefault(document, row["document"]) != row["document"]:
            raise InvalidInput(f"{file}, line {line}: the id {document!r:.60} stands for two documents")
        candidates.setdefault(query, {})[document] = None
        if grade and qrels.setdefault(query, {}).setdefault(document, int(float(grade))) != int(float(grade)):
            raise InvalidInput(
                f"{file}, line {line}: the document {document!r:.60} has another grade for this query above; remove one of them"
            )
    return _collection(file.stem, documents, queries, qrels, {query: list(found) for query, found in candidates.items()})


def _corpus(file: Path) -> dict[str, str]:
    """Return texts by id: title and text with a space between, as the field reads them."""
    return _unique(
        (place, _id(each, place), f"{_string(each.get('title') or '', place)} {_string(each['text'] or '', place)}".strip())
        for place, each in _objects(file)
    )


def _unique(rows: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return texts by id from (place in a file, id, text). Raises InvalidInput if an id is repeated."""
    texts: dict[str, str] = {}
    for place, name, text in rows:
        if name in texts:
            raise InvalidInput(f"{place}: the id {name!r:.60} was used before; each line needs an id of its own")
        texts[name] = text
    return texts


def _tab_separated(content: str, file: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            name, tab, text = line.partition("\t")
            if not tab:
                raise InvalidInput(f"{file}, line {number}: a line of queries has an id, a tab and the text")
            yield f"{file}, line {number}", name.strip(), text.strip()


def _candidates(file: Path, queries: Mapping[str, str], documents: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each query's own documents: a query and a document on each line. A first line with neither is a header."""
    listed: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(file) if file.exists() else (), start=1):
        if not line.strip():
            continue
        query, *rest = (part.strip() for part in line.rstrip("\r\n").split("\t"))
        if number == 1 and query not in queries and (not rest or rest[0] not in documents):
            continue
        if not rest:
            raise InvalidInput(f"{file}, line {number}: a candidate is a query, a tab and a document")
        if rest[0] not in documents:
            raise InvalidInput(f"{file}, line {number}: there is no document {rest[0]!r:.60} in the collection")
        listed.setdefault(query, []).append(rest[0])
    return listed


def _topics(content: str, file: Path) -> Iterator[tuple[str, str, str]]:
    for topic in re.findall(r"<top>(.*?)(?=<top>|</top>|\Z)", content, re.DOTALL):
        number = re.search(r"<num>\s*(?:Number:)?\s*([^\s<]+)", topic)
        title = re.search(r"<title>\s*(?:Topic:)?\s*(.*?)\s*(?=<|\Z)", topic, re.DOTALL)
        if not number or not title:
            raise InvalidInput(f"{file}: a topic has no <num> or no <title>")
        yield str(file), number.group(1), " ".join(title.group(1).split())


def _objects(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the object of each line."""
    for number, line in enumerate(_lines(file), start=1):
        place = f"{file}, line {number}"
        if not line.strip():
            continue
        try:
            each = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{place}: not valid JSON, or nested too deeply") from error
        if not isinstance(each, dict) or "text" not in each:
            raise InvalidInput(f"{place}: has no 'text'")
        yield place, each


def _id(each: Mapping[str, Any], place: str) -> str:
    if (name := each.get("_id", each.get("id"))) is None:
        raise InvalidInput(f"{place}: has no '_id'")
    return _string(name, place)


def _string(value: Any, place: str) -> str:
    try:
        return "" if value is None else str(value)
    except (ValueError, RecursionError) as error:  # an integer too long to print, lists in lists
        raise InvalidInput(f"{place}: a value cannot be read as text; ids, titles and texts are strings") from error


def _lines(file: Path) -> Iterable[str]:
    try:
        with gzip.open(file, "rt", encoding="utf-8-sig") if file.suffix == ".gz" else open(file, encoding="utf-8-sig") as lines:
            yield from lines
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def _first(folder: Path, names: Iterable[str]) -> Path:
    listed = list(names)
    for name in listed:
        if (folder / name).exists():
            return folder / name
    raise InvalidInput(f"{folder} has none of {', '.join(listed)}")


def _is_grade(value: Any) -> bool:
    try:
        return float(value) == int(float(value)) and abs(float(value)) <= LARGEST_GRADE
    except (TypeError, ValueError, OverflowError):
        return False


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
