"""Test collections: queries, documents and judgments, read from a BEIR folder, TREC files, or a CSV."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.documents import texts_of
from podium.errors import InvalidInput, unreadable
from podium.formats import csv_rows
from podium.json_values import parse_json

__all__ = [
    "CORPUS_FILES", "LARGEST_GRADE", "QUERIES_FILES", "Collection", "Qrels", "first_existing", "read_collection",
    "read_corpus", "read_qrels", "read_queries",
]  # fmt: skip

Qrels = Mapping[str, Mapping[str, int]]
"""Query id → document id → grade. A grade above 0 means relevant."""

LARGEST_GRADE = 10_000  # trec_eval allocates memory for every grade up to the highest
CORPUS_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
QUERIES_FILES = ("queries.jsonl", "queries.jsonl.gz", "queries.tsv")
QRELS_FILES = ("qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv", "qrels.txt")


@dataclass(frozen=True, slots=True)
class Collection:
    """The texts of documents and queries by id, and the grades. Queries without a relevant document are left out.

    `candidates` maps a query's id to the ids of the documents to rank for it. It is empty unless the collection lists them.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    candidates: Mapping[str, list[str]] = field(default_factory=dict)

    def ranked_documents(self, scores: Mapping[str, float]) -> list[dict[str, Any]]:
        """Return the documents of a query in a run, as a source returns them: with their scores and ranks there.

        Scorers that fuse their scores with those of the first stage read these.
        """
        return [
            {"text": self.documents[document_id], "source_score": score, "source_rank": rank}
            for rank, (document_id, score) in enumerate(scores.items(), start=1)
        ]


def read_collection(path: str | Path, *, queries: str | Path | None = None, qrels: str | Path | None = None) -> Collection:
    """Return the collection in a folder with BEIR's layout, or in a CSV with the columns query, document and grade.

    A folder has one of CORPUS_FILES, one of QUERIES_FILES and one of QRELS_FILES. It may have candidates.tsv, which lists the
    documents to rank for each query. `queries` (a file of JSON lines, TSV or TREC topics) and `qrels` (a file of TSV or TREC)
    are read instead of the folder's files.

    In a CSV, a row with an empty grade is a candidate without a judgment. A column `id`, if there is one, has the documents'
    ids. Raises InvalidInput, whose message has the file and the line.
    """
    folder = Path(path)
    if folder.suffix.lower() == ".csv":
        return _csv_collection(folder)
    if not folder.exists():
        raise InvalidInput(f"there is no {folder}; name a folder in BEIR's layout, or a .csv")
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder} is neither a folder in BEIR's layout nor a .csv with the columns query, document and grade"
        )
    judgments = read_qrels(qrels or first_existing(folder, QRELS_FILES))
    query_texts = read_queries(queries or first_existing(folder, QUERIES_FILES))
    documents = read_corpus(first_existing(folder, CORPUS_FILES))
    candidates = _candidates(folder / "candidates.tsv", query_texts, documents)
    return _answerable_queries_only(folder.resolve().name, documents, query_texts, judgments, candidates)


def read_queries(path: str | Path) -> dict[str, str]:
    """Return the texts of queries by id. Raises InvalidInput.

    The file has JSON lines with `_id` and `text`, TREC topics (<top>), or lines with an id, a tab and a text.
    """
    file = Path(path)
    content = "".join(_lines(file))
    lines = list(_numbered_lines(content.split("\n"), file))
    is_json = content.lstrip().startswith("{")
    if not is_json and any(line.lstrip().lower().startswith("<top>") for _, line in lines):
        return _by_id(_topics(content, file))
    if is_json:
        return _by_id((location, query_id, _string(record["text"], location)) for location, query_id, record in _records(lines))
    return _by_id((location, *_id_and_text(line, location)) for location, line in lines)


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Return grades by query id and document id. Raises InvalidInput.

    A line has query, document and grade, or query, 0, document and grade as in TREC. If the first line does not end with a
    number, it is a header and is skipped.
    """
    file = Path(path)
    grades: dict[str, dict[str, int]] = {}
    for index, (location, line) in enumerate(_numbered_lines(_lines(file), file)):
        cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]
        if index == 0 and not _is_number(cells[-1]):
            continue
        if len(cells) not in (3, 4):
            raise InvalidInput(f"{location}: a judgment is query, document and grade, or query, 0, document and grade")
        query_id, document_id, grade = cells[0], cells[-2], _grade(cells[-1], location)
        if document_id in grades.setdefault(query_id, {}):
            raise InvalidInput(
                f"{location}: the document {document_id!r:.60} is judged twice for the query {query_id!r:.60}; remove one line"
            )
        grades[query_id][document_id] = grade
    if not grades:
        raise InvalidInput(f"{file} has no judgments")
    return grades


def _answerable_queries_only(
    name: str, documents: dict[str, str], queries: dict[str, str], qrels: Qrels, candidates: Mapping[str, list[str]]
) -> Collection:
    """Return a collection of those queries that have a relevant document. Raises InvalidInput if no query has one."""
    answerable_ids = {query_id for query_id, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    answerable = {query_id: text for query_id, text in queries.items() if query_id in answerable_ids}
    if not answerable:
        raise InvalidInput(f"{name}: no query has a relevant document; do the ids of queries and qrels match?")
    for query_id, text in zip(answerable, texts_of(list(answerable.values())), strict=True):
        if text is None:
            raise InvalidInput(f"{name}: the query {query_id!r:.60} is empty; give it a text, or remove it and its judgments")
    return Collection(name, documents, answerable, {query_id: dict(qrels[query_id]) for query_id in answerable}, candidates)


def _csv_collection(file: Path) -> Collection:
    """Return the collection in a CSV, as `read_collection` describes. Queries, and documents without ids, get numbered ids."""
    documents: dict[str, str] = {}
    ids_by_query: dict[str, str] = {}
    ids_by_document: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    candidates: dict[str, dict[str, None]] = {}  # the inner dict is used as an ordered set
    for line, row in csv_rows(_lines(file), str(file), required=("query", "document", "grade")):
        location = f"{file}, line {line}"
        grade = _grade(row["grade"].strip(), location) if row["grade"].strip() else None
        if texts_of([row["query"]]) == [None]:
            raise InvalidInput(f"{location}: the query is empty; give it a text, or remove the line")
        query_id = ids_by_query.setdefault(row["query"], f"q{len(ids_by_query) + 1}")
        document_id = row.get("id") or ids_by_document.setdefault(row["document"], f"d{len(documents) + 1}")
        if documents.setdefault(document_id, row["document"]) != row["document"]:
            raise InvalidInput(f"{location}: the id {document_id!r:.60} is used for two documents; each needs its own")
        candidates.setdefault(query_id, {})[document_id] = None
        if grade is not None and qrels.setdefault(query_id, {}).setdefault(document_id, grade) != grade:
            raise InvalidInput(
                f"{location}: the document {document_id!r:.60} has another grade for this query above; remove one line"
            )
    queries = {query_id: text for text, query_id in ids_by_query.items()}
    candidate_ids = {query_id: list(document_ids) for query_id, document_ids in candidates.items()}
    return _answerable_queries_only(file.stem, documents, queries, qrels, candidate_ids)


def read_corpus(file: Path) -> dict[str, str]:
    """Return documents by id. A document is its `title`, a space and its `text`, as usual in evaluations on BEIR."""
    texts = []
    for location, document_id, record in _records(_numbered_lines(_lines(file), file)):
        title, text = (_string(record.get(key) or "", location) for key in ("title", "text"))
        texts.append((location, document_id, f"{title} {text}".strip()))
    return _by_id(texts)


def _candidates(file: Path, queries: Mapping[str, str], documents: Mapping[str, str]) -> dict[str, list[str]]:
    """Return document ids by query id, {} if there is no file. A line has a query id, a tab and a document id.

    If both ids in the first line are unknown, it is a header and is skipped.
    """
    candidates: dict[str, list[str]] = {}
    for index, (location, line) in enumerate(_numbered_lines(_lines(file) if file.exists() else (), file)):
        query_id, tab, other_cells = line.rstrip("\r\n").partition("\t")
        document_id = other_cells.partition("\t")[0].strip()
        if index == 0 and query_id.strip() not in queries and document_id not in documents:
            continue
        if not tab:
            raise InvalidInput(f"{location}: a candidate is a query, a tab and a document")
        if document_id not in documents:
            raise InvalidInput(f"{location}: there is no document {document_id!r:.60} in the collection")
        candidates.setdefault(query_id.strip(), []).append(document_id)
    return candidates


def _topics(content: str, file: Path) -> Iterator[tuple[str, str, str]]:
    """For each TREC topic, yield its location, its id and its text. End tags such as </title> may be missing."""
    for topic in re.findall(r"<top>(.*?)(?=<top>|</top>|\Z)", content, re.DOTALL):
        number = re.search(r"<num>\s*(?:Number:)?\s*([^\s<]+)", topic)
        title = re.search(r"<title>\s*(?:Topic:)?\s*(.*?)\s*(?=</?[a-z]+>|\Z)", topic, re.DOTALL)
        if not number or not title:
            raise InvalidInput(f"{file}: a topic has no <num> or no <title>")
        yield str(file), number.group(1), " ".join(title.group(1).split())


def _by_id(rows: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return texts by id. A row has a location for messages, an id and a text. Raises InvalidInput if an id is repeated."""
    texts: dict[str, str] = {}
    for location, text_id, text in rows:
        if text_id in texts:
            raise InvalidInput(f"{location}: the id {text_id!r:.60} was used before; each needs its own id")
        texts[text_id] = text
    return texts


def _id_and_text(line: str, location: str) -> tuple[str, str]:
    query_id, tab, text = line.partition("\t")
    if not tab:
        raise InvalidInput(f"{location}: a line of queries has an id, a tab and the text")
    return query_id.strip(), text.strip()


def _records(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """For each line of JSON, yield its location, its id and the object. `lines` has the location and the JSON of each line.

    Raises InvalidInput if the JSON is not an object with an id and a text.
    """
    for location, line in lines:
        try:
            record = parse_json(line)
        except ValueError as error:
            raise InvalidInput(f"{location}: not valid JSON, or nested too deeply") from error
        if not isinstance(record, dict) or "text" not in record:
            raise InvalidInput(f"{location}: has no 'text'")
        if (record_id := record.get("_id", record.get("id"))) is None:
            raise InvalidInput(f"{location}: has no '_id'")
        yield location, _string(record_id, location), record


def _string(value: Any, location: str) -> str:
    """Return an id, title or text as a string, "" for null."""
    try:
        return "" if value is None else str(value)
    except RecursionError as error:
        raise InvalidInput(f"{location}: a value is nested too deeply; ids, titles and texts are strings") from error


def _numbered_lines(lines: Iterable[str], file: Path) -> Iterator[tuple[str, str]]:
    """Yield each line that is not blank, after its location for messages."""
    return ((f"{file}, line {number}", line) for number, line in enumerate(lines, start=1) if line.strip())


def _lines(file: Path) -> Iterable[str]:
    try:
        with gzip.open(file, "rt", encoding="utf-8-sig") if file.suffix == ".gz" else open(file, encoding="utf-8-sig") as lines:
            yield from lines
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error


def first_existing(folder: Path, names: Sequence[str]) -> Path:
    """Return the first of these files that a folder has. Raises InvalidInput if it has none."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InvalidInput(
        f"{folder} has no {' or '.join(names)}; name a folder in BEIR's layout, which has all files of a collection"
    )


def _grade(text: str, location: str) -> int:
    if _is_number(text) and abs(float(text)) <= LARGEST_GRADE and float(text).is_integer():
        return int(float(text))
    raise InvalidInput(f"{location}: a grade must be a whole number up to {LARGEST_GRADE:,}, not {text!r:.40}")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
