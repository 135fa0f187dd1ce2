"""Texts: the full-text half of an index, by tantivy, which also keeps the documents. Vectors are not known here but as rows."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.errors import PodiumError, SourceError
from podium.extras import needed
from podium.sources.embedded.description import damaged
from podium.sources.fusion import Hit

__all__ = ["LANGUAGES", "Entry", "Snapshot", "Texts"]

LANGUAGES = (
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
)
"""Languages with both a stemmer and a list of stop-words."""

WRITER_MEMORY = 128_000_000
LONGEST_WORD = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """A document on its way in: its id, itself as JSON, a text per searched field, and the row of its vector, if any."""

    id: str
    document: bytes
    texts: Sequence[str | None]
    row: int | None


class Texts:
    """A tantivy index in a folder, or in memory where that is None. What is committed is there, what isn't is not."""

    def __init__(self, folder: Path | None, weights: Sequence[float], language: str | None, *, create: bool) -> None:
        self.folder = folder
        self.weights = tuple(weights)
        self._mirror: _Mirror | None = None
        with _typed_errors(folder):
            self.analyzer = _analyzer(language)
            self._index = _created(folder, len(self.weights)) if create else self._opened()
            self._index.register_tokenizer("podium", self.analyzer)

    def snapshot(self) -> Snapshot:
        """Return the last commit, which stays as it is while it is searched."""
        with _typed_errors(self.folder):
            if self._mirror is not None:
                self._mirror.refresh()
            self._index.reload()
            return Snapshot(self, self._index.searcher(), self._index.schema)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writer]:
        """Give a writer whose work is committed at the end, or not at all. Raises SourceError while another one writes."""
        with _typed_errors(self.folder):
            writer = self._writer()
            try:
                yield Writer(writer)
                writer.commit()
            except BaseException:
                with contextlib.suppress(ValueError, OSError):  # the first error is the one to know
                    writer.rollback()
                raise
            finally:
                writer.wait_merging_threads()  # and lets others write

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, without writing. Raises SourceError while another one writes."""
        with _typed_errors(self.folder):
            writer = self._writer()
        try:
            yield
        finally:
            with contextlib.suppress(ValueError, OSError):  # its files may have been deleted
                writer.wait_merging_threads()

    def _writer(self) -> Any:
        where = self.folder.parent if self.folder else "this index"
        if self._mirror is not None:
            raise SourceError(f"{where} cannot be written by this user; ask its owner, or copy the folder")
        try:
            return self._index.writer(WRITER_MEMORY, 1)
        except ValueError as error:
            if "LockBusy" in str(error):
                raise SourceError(f"another process is adding to {where}; wait for it, or for its end") from None
            raise

    def _opened(self) -> Any:
        """Return the index of the folder. Where that cannot be written, tantivy's lock file is made in a mirror of it."""
        assert self.folder is not None  # noqa: S101  for the type checker
        try:
            return _tantivy().Index.open(str(self.folder))
        except ValueError:
            if not self.folder.is_dir() or os.access(self.folder, os.W_OK):
                raise
            self._mirror = _Mirror(self.folder)
            return _tantivy().Index.open(self._mirror.folder)


class _Mirror:
    """A folder of links to the files of another folder, removed when it is collected."""

    def __init__(self, mirrored: Path) -> None:
        self._mirrored = mirrored.resolve()
        self._temporary = tempfile.TemporaryDirectory(prefix="podium-", ignore_cleanup_errors=True)
        self.folder = self._temporary.name
        self.refresh()

    def refresh(self) -> None:
        """Link the files that have been added."""
        for path in self._mirrored.iterdir():
            if path.suffix != ".lock":
                with contextlib.suppress(FileExistsError):
                    os.symlink(path, os.path.join(self.folder, path.name))


class Writer:
    """Documents on their way into one commit."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._document = _tantivy().Document

    def put(self, entry: Entry) -> None:
        """Add a document, in place of the one that has its id."""
        document = self._document()
        document.add_text("id", entry.id)
        document.add_bytes("document", entry.document)
        if entry.row is not None:
            document.add_unsigned("row", entry.row)
        for field, text in enumerate(entry.texts):
            document.add_text(f"text{field}", text or "")
        self.remove(entry.id)
        self._writer.add_document(document)

    def remove(self, name: str) -> None:
        self._writer.delete_documents_by_term("id", name)


class Snapshot:
    """One commit, to be searched. Documents are ids here, and JSON."""

    def __init__(self, texts: Texts, searcher: Any, schema: Any) -> None:
        self._texts, self._searcher, self._schema = texts, searcher, schema
        self._query = _tantivy().Query

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def search(self, query: str, count: int) -> list[Hit]:
        """Return the best `count` by BM25, over any word of the query in any field: no letter of it is an operator."""
        clauses = self._clauses(query)
        with _typed_errors(self._texts.folder):
            hits = self._hits(self._query.boolean_query(clauses), count) if clauses else []
            return [Hit(document.get_first("id"), float(score)) for score, document in hits]

    def count(self, query: str) -> int:
        """Return how many documents have a word of the query. It takes longer than the best few: all of them are visited."""
        clauses = self._clauses(query)
        with _typed_errors(self._texts.folder):
            found = self._searcher.search(self._query.boolean_query(clauses), limit=1, count=True) if clauses else None
            return int(found.count) if found else 0

    def _clauses(self, query: str) -> list[tuple[Any, Any]]:
        occur, clauses = _tantivy().Occur.Should, []
        with _typed_errors(self._texts.folder):
            term_counts = Counter(self._texts.analyzer.analyze(query))
            for field, weight in enumerate(self._texts.weights):
                for term, count_in_query in term_counts.items():  # one clause for a word however often it is repeated
                    clause = self._query.term_query(self._schema, f"text{field}", term, index_option="freq")
                    boost = weight * count_in_query
                    clauses.append((occur, clause if boost == 1 else self._query.boost_query(clause, boost)))
        return clauses

    def documents(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the documents that are there, by id."""
        with _typed_errors(self._texts.folder):
            found = self._hits(self._query.term_set_query(self._schema, "id", list(ids)), len(ids)) if ids else []
            return {document.get_first("id"): document.get_first("document") for _, document in found}

    def ids_of(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the ids of the documents that refer to these rows."""
        with _typed_errors(self._texts.folder):
            found = self._hits(self._query.term_set_query(self._schema, "row", list(rows)), len(rows)) if rows else []
            return {document.get_first("row"): document.get_first("id") for _, document in found}

    def last_row(self) -> int:
        """Return the highest row that a document refers to, -1 where none does."""
        with _typed_errors(self._texts.folder):
            hits = self._searcher.search(self._query.all_query(), limit=1, count=False, order_by_field="row").hits
            return int(hits[0][0]) if hits and hits[0][0] is not None else -1

    def _hits(self, query: Any, count: int) -> list[tuple[Any, Any]]:
        hits = self._searcher.search(query, limit=count, count=False).hits
        return [(score, self._searcher.doc(address)) for score, address in hits]


@contextlib.contextmanager
def _typed_errors(folder: Path | None) -> Iterator[None]:
    """Turn whatever a damaged index or a full disk makes of tantivy's work into a SourceError.

    Where its Rust code panics the exception is not even an Exception, and its class cannot be imported.
    """
    try:
        yield
    except PodiumError:
        raise
    except (ValueError, OSError, KeyError) as error:
        raise damaged(folder, error) from error
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise damaged(folder, RuntimeError("its files are damaged")) from error


def _tantivy() -> Any:
    return needed("tantivy", "index")


def _created(folder: Path | None, fields: int) -> Any:
    schema = _schema(fields)
    if folder is None:
        return _tantivy().Index(schema)
    folder.mkdir(parents=True, exist_ok=True)
    return _tantivy().Index(schema, path=str(folder))


def _analyzer(language: str | None) -> Any:
    tantivy = _tantivy()
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.remove_long(LONGEST_WORD))
    builder = builder.filter(tantivy.Filter.lowercase())
    if language is not None:
        builder = builder.filter(tantivy.Filter.stopword(language)).filter(tantivy.Filter.stemmer(language))
    return builder.build()


def _schema(fields: int) -> Any:
    builder = _tantivy().SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", stored=True, indexed=True, fast=True)
    builder.add_bytes_field("document", stored=True)
    for at in range(fields):
        builder.add_text_field(f"text{at}", tokenizer_name="podium", index_option="freq")
    return builder.build()
