"""Texts: the full-text index by tantivy, which also stores the documents and the numbers of their vectors' rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from podium.errors import SourceError
from podium.forks import no_fork
from podium.regular_files import is_irregular, open_regular_file
from podium.sources.embedded.description import Description
from podium.sources.embedded.filter_terms import NAMES, NUMBERS, TERMS, FilterTerms
from podium.sources.embedded.mirror import Mirror
from podium.sources.embedded.segment_files import FileIdentity, are_unchanged, check_segments, delete_uncommitted_del_files
from podium.sources.embedded.segmentation import segmented, segmented_query
from podium.sources.embedded.snapshot import Snapshot
from podium.sources.embedded.tantivy_calls import tantivy, tantivy_calls, typed_errors

__all__ = ["LANGUAGES", "TEXT_FOLDER", "Entry", "Texts", "Writer"]

TEXT_FOLDER = "text"
META_FILE = "meta.json"
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

MAX_META_BYTES = 100_000_000
WRITER_MEMORY = 128_000_000  # bytes
LOAD_ATTEMPTS = 20
PERMISSION_CHECKS = 50
SECONDS_BETWEEN_CHECKS = 0.02
LONGEST_WORD = 100  # characters; longer words are not indexed


@dataclass(frozen=True, slots=True)
class Entry:
    """A document to add.

    - `document`: its JSON. `texts`: the text of each searched field, None if the document lacks the field.
    - `row`: the number of its vector's row, None if it has no vector. `terms`: what filters are compared with.
    """

    id: str
    document: bytes
    texts: Sequence[str | None]
    row: int | None
    terms: FilterTerms


class Texts:
    """A tantivy index in the folder of an index, or in memory if `path` is None. Readers see what has been committed."""

    def __init__(self, path: Path | None, description: Description, *, create: bool = False) -> None:
        self._path = path
        self._description = description
        self._weights = [1.0] if description.fields is None else list(description.fields.values())
        self._folder = None if path is None else path / TEXT_FOLDER
        self._mirror: Mirror | None = None
        self._write_count = 0  # how many writers this object had; no other object can write to an index in memory
        self._loaded_state: bytes | int | None = None
        self._segment_files: frozenset[FileIdentity] = frozenset()  # the files of the loaded commit
        self._reload_lock = threading.Lock()
        with typed_errors(path):
            self._analyzer = _analyzer(description.language)
            if self._folder is None or create:
                self._index = _new_index(self._folder, _schema(len(self._weights), description))
                self._set_permissions()
            else:
                self._index = self._open_folder(self._folder)
            self._index.register_tokenizer("podium", self._analyzer)
            # With another setting, a thread of tantivy reloads the index at any time, also while another thread forks.
            self._load(partial(self._index.config_reader, "manual"))

    def renew(self) -> None:
        """After a fork, replace the lock that a thread of the parent may have held, and close the parent's locks on files."""
        self._reload_lock = threading.Lock()
        if self._folder is not None:
            _close_locks(self._folder)

    def snapshot(self) -> Snapshot:
        """Return the last commit. Raises SourceError if its files are damaged."""
        with typed_errors(self._path):
            if self._state() != self._loaded_state or not self._are_files_unchanged():
                with self._reload_lock:
                    self._loaded_state = self._load(self._index.reload)
            with no_fork:
                return Snapshot(self._path, self._index, self._query_words, self._weights)

    def _load(self, load: Callable[[], object]) -> bytes | int:
        """Check the files of the last commit, call `load`, which opens them, and return the state of that commit.

        If another process commits meanwhile, files may be missing, or not be linked in the mirror yet. Then both are tried
        again, at most LOAD_ATTEMPTS times.
        """
        for attempt in itertools.count(1):
            state = self._state()
            try:
                self._check_files()
                with no_fork:
                    load()
                break
            except (ValueError, SourceError):
                if attempt == LOAD_ATTEMPTS or self._state() == state:
                    raise
        return state

    def _query_words(self, query: str) -> list[str]:
        """Return the words of a query as the index has them: stemmed, and without stop-words."""
        words: list[str] = self._analyzer.analyze(segmented_query(query) if self._description.is_segmented else query)
        return words

    def _state(self) -> bytes | int:
        """Return a value that changes with every commit."""
        return self._write_count if self._folder is None else _meta(self._folder)

    def _are_files_unchanged(self) -> bool:
        """Whether the mapped files are as they were when they were checked. Reading a truncated file ends the process."""
        return self._folder is None or are_unchanged(self._folder, self._segment_files)

    def _check_files(self) -> None:
        """Raise SourceError if a file of the last commit is damaged. Remember the files, and link them in the mirror."""
        if self._folder is not None:
            self._segment_files = check_segments(self._folder, _meta(self._folder))
        if self._mirror is not None:
            self._mirror.refresh()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writer]:
        """Yield a writer whose changes are committed together at the end. Raises SourceError while another writer exists."""
        with typed_errors(self._path):
            writer = self._new_writer()
        try:
            if self._folder is not None:
                with typed_errors(self._path):
                    delete_uncommitted_del_files(self._folder, _meta(self._folder))
            yield Writer(writer, self._path, self._description)
            with tantivy_calls(self._path):
                writer.commit()
                self._set_permissions()
        except BaseException:
            with contextlib.suppress(ValueError, OSError), no_fork:  # the error of the rollback would hide the first one
                writer.rollback()
            raise
        finally:
            self._write_count += 1
            with typed_errors(self._path):
                writer.wait_merging_threads()  # This also releases the writer's lock.
                self._set_permissions()

    def _set_permissions(self) -> None:
        """Let everyone who can read the folder read meta.json. tantivy replaces it by one that only its owner can read."""
        if self._folder is not None:
            file = self._folder / META_FILE
            readers = self._folder.stat().st_mode & (stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
            os.chmod(file, file.stat().st_mode | readers)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes from writing during the block. Raises SourceError while one of them writes."""
        with typed_errors(self._path):
            writer = self._new_writer()
        try:
            yield
        finally:
            with contextlib.suppress(ValueError, OSError):  # the block may have deleted the files of the index
                writer.wait_merging_threads()

    def _new_writer(self) -> Any:
        """Return a writer of tantivy. Raises SourceError if another process has one, or if the folder is read-only."""
        location = self._path or "this index"
        if self._mirror is not None:
            raise SourceError(f"{location} cannot be written by this user; ask its owner, or copy the folder")
        try:
            with no_fork:
                return self._index.writer(WRITER_MEMORY, 1)
        except ValueError as error:
            if "LockBusy" in str(error):
                raise SourceError(f"another process is adding to {location}; wait until it is done, then try again") from None
            raise

    def _open_folder(self, folder: Path) -> Any:
        """Open the index in a folder, or a mirror of a folder that is read-only, because tantivy must create a lock file."""
        self._check_files()
        try:
            return _open_index(folder)
        except ValueError:
            if not folder.is_dir() or os.access(folder, os.W_OK):
                raise
            self._mirror = Mirror(folder)
            return _open_index(self._mirror.folder)


class Writer:
    """Adds and removes documents. `Texts.writing` commits the changes. Methods raise SourceError."""

    def __init__(self, writer: Any, path: Path | None, description: Description) -> None:
        self._writer = writer
        self._path = path
        self._description = description
        self._document = tantivy().Document

    def put(self, entry: Entry) -> None:
        """Add a document. It replaces the document that has the same id."""
        with tantivy_calls(self._path):
            self.remove(entry.id)
            self._writer.add_document(self._tantivy_document(entry))

    def _tantivy_document(self, entry: Entry) -> Any:
        document = self._document()
        document.add_text("id", entry.id)
        document.add_bytes("document", entry.document)
        if entry.row is not None:
            document.add_unsigned("row", entry.row)
        for i, text in enumerate(entry.texts):
            document.add_text(f"text{i}", self._indexed_text(text or ""))
        if self._description.is_filterable:
            for name in entry.terms.names:
                document.add_text(NAMES, name)
            for term in entry.terms.terms:
                document.add_text(TERMS, term)
            if entry.terms.numbers:
                document.add_json(NUMBERS, entry.terms.numbers)
        return document

    def _indexed_text(self, text: str) -> str:
        return segmented(text) if self._description.is_segmented else text

    def remove(self, document_id: str) -> None:
        with tantivy_calls(self._path):
            self._writer.delete_documents_by_term("id", document_id)


def _meta(folder: Path) -> bytes:
    """Return the content of meta.json. Raises ValueError if it is too large, because tantivy would load it into memory."""
    with _open_meta(folder / META_FILE) as file:
        content = file.read(MAX_META_BYTES + 1)
    if len(content) > MAX_META_BYTES:
        raise ValueError(f"{META_FILE} is damaged")
    return content


def _open_meta(file: Path) -> BinaryIO:
    """Open meta.json. Wait if a writer of another user has just replaced it and not yet set its permissions."""
    for _ in range(PERMISSION_CHECKS):
        with contextlib.suppress(PermissionError):
            return open_regular_file(file)
        time.sleep(SECONDS_BETWEEN_CHECKS)
    return open_regular_file(file)


def _close_locks(folder: Path) -> None:
    """Close a forked process's copies of the parent's file locks. The parent could not release its locks otherwise.

    The file descriptors are redirected to the null device, because objects of tantivy may still close them. Only on Linux.
    """
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        return
    locks = {str(folder.resolve() / name) for name in (".tantivy-meta.lock", ".tantivy-writer.lock")}
    for descriptor in os.listdir(descriptors):
        with contextlib.suppress(OSError):  # the descriptor that os.listdir used is closed already
            if os.readlink(descriptors / descriptor) in locks:
                null = os.open(os.devnull, os.O_RDONLY)
                os.dup2(null, int(descriptor), inheritable=False)
                os.close(null)


def _open_index(folder: Path) -> Any:
    """Open the index in a folder. Raises OSError if the folder has a named pipe, because tantivy would wait for it."""
    for path in folder.iterdir():
        if is_irregular(path):
            raise OSError(f"{path} is not a regular file")
    with no_fork:
        return tantivy().Index.open(str(folder))


def _new_index(folder: Path | None, schema: Any) -> Any:
    if folder is None:
        return tantivy().Index(schema)
    folder.mkdir(parents=True, exist_ok=True)
    return tantivy().Index(schema, path=str(folder))


def _analyzer(language: str | None) -> Any:
    """Return the analyzer that separates a text into words in lower case. With a language, it removes stop-words and stems."""
    package = tantivy()
    builder = package.TextAnalyzerBuilder(package.Tokenizer.simple()).filter(package.Filter.remove_long(LONGEST_WORD))
    builder = builder.filter(package.Filter.lowercase())
    if language is not None:
        builder = builder.filter(package.Filter.stopword(language)).filter(package.Filter.stemmer(language))
    return builder.build()


def _schema(text_field_count: int, description: Description) -> Any:
    """Return tantivy's schema. The searched fields have the names text0, text1, …"""
    builder = tantivy().SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", stored=True, indexed=True, fast=True)
    builder.add_bytes_field("document", stored=True)
    for i in range(text_field_count):
        builder.add_text_field(f"text{i}", tokenizer_name="podium", index_option="freq")
    if description.is_filterable:
        builder.add_text_field(TERMS, tokenizer_name="raw", index_option="basic")
        builder.add_json_field(NUMBERS, tokenizer_name="raw", index_option="basic", fast=True)
        builder.add_text_field(NAMES, tokenizer_name="raw", index_option="basic", fast=True)
    return builder.build()
