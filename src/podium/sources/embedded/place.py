"""LOCAL, the kind of place for folders that have an index, and for files, whose documents are indexed in memory to search."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from podium.documents import has_field
from podium.errors import InvalidInput, SourceError
from podium.formats import read_documents
from podium.ranking import Reranker
from podium.sources.embedded import description as descriptions
from podium.sources.embedded.folder import checked_folder, delete_index, loading
from podium.sources.embedded.index import EmbeddedIndex, is_index
from podium.sources.loading import check_ids_from, with_ids
from podium.sources.place import EmbedderLoader, IndexOptions, PlaceKind, SourceOptions, Summary
from podium.types import Embed, Progress

__all__ = ["LOCAL", "drop"]

SOURCE_OPTIONS = ("filter",)


def _source(place: str, options: SourceOptions, load_embedder: EmbedderLoader) -> EmbeddedIndex:
    """Open the index in a folder, or index a file in memory. Raises SourceError or InvalidInput."""
    path = Path(place)
    if not path.exists():
        raise SourceError(
            f"there is no {place[:200]}; name a file of documents, or the folder of an index, which podium index creates"
        )
    arguments = options.only("mode", "fusion", "text_weight", *SOURCE_OPTIONS)
    if not path.is_dir():
        index = EmbeddedIndex.create(None, text=options.text, embed=load_embedder(options.embed), **arguments)
        _add_file(path, index)
        return index
    if not is_index(path):
        raise SourceError(f"{place} is not an index of podium; create one in another folder with podium index FILE --to FOLDER")
    if options.text is not None:
        raise InvalidInput(f"{place} was created with the fields it searches; leave them out")
    embedder = options.embed
    if embedder is None and options.mode != "text":
        embedder = descriptions.read(checked_folder(place)).embedder
    return EmbeddedIndex.open(place, embed=load_embedder(embedder), **arguments)


def _add_file(file: Path, index: EmbeddedIndex) -> None:
    """Add the documents of a file to an index. Raises InvalidInput if a searched field is in none of them."""
    documents = list(with_ids(read_documents(file), None))
    records = [document for _, document in documents if isinstance(document, dict)]
    missing_fields = [name for name in index.text_fields or () if not any(has_field(record, name) for record in records)]
    if records and missing_fields:
        raise InvalidInput(f"no document of {file} has the field {' or '.join(missing_fields)}; check the names")
    index.add([document for _, document in documents], ids=[document_id for document_id, _ in documents])


class FolderTarget:
    """Loads documents into the index in a folder. `prepare` creates the index if the folder has none.

    The loader checks all documents before it calls `prepare`. Until then a new index is in memory.
    """

    notes: Sequence[str] = ()

    def __init__(self, place: str, options: IndexOptions, load_embedder: EmbedderLoader) -> None:
        self._folder = checked_folder(place)
        self._options = options
        self._load_embedder = load_embedder
        self._exists = is_index(self._folder)
        self._loading = contextlib.ExitStack()  # holds the lock on the folder from `prepare` to `close`
        self._index = EmbeddedIndex.open(self._folder) if self._exists else self._new_index(None, None)
        if self._exists:
            self._check_options()

    @property
    def batch(self) -> int:
        return self._index.batch

    @property
    def embed(self) -> Embed | None:
        return self._index.embed

    @property
    def kept_models(self) -> list[str]:
        return self._index.kept_models

    def check(self, document: Any, document_id: str, number: int) -> None:
        self._index.check([document], ids=[document_id], first_number=number)

    def prepare(self, count: int, progress: Progress) -> None:
        if not self._exists:
            self._index = self._new_index(self._folder, self._load_embedder(self._options.embed))
        self._loading.enter_context(loading(self._folder))
        if self._exists:
            embed = self._load_embedder(self._options.embed or self._index.embedder)
            self._index = EmbeddedIndex.open(self._folder, embed=embed)
        progress(100)

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        return self._index.unchanged(documents, ids)

    def add(self, documents: Sequence[Any], *, ids: Sequence[str]) -> None:
        self._index.add(documents, ids=ids)

    def keep(self, documents: Sequence[Any], reranker: Reranker) -> int:
        return self._index.keep(documents, reranker)

    def finish(self) -> None:
        """Do nothing: documents can be found as soon as `add` returns."""

    def close(self) -> None:
        self._loading.close()

    def _new_index(self, folder: Path | None, embed: Embed | None) -> EmbeddedIndex:
        options = self._options
        return EmbeddedIndex.create(folder, text=options.text, embed=embed, language=self._language, ids_from=options.ids_from)

    @property
    def _language(self) -> str | None:
        return None if self._options.language == "none" else self._options.language or "english"

    def _check_options(self) -> None:
        """Raise InvalidInput if the index was created with other fields, another language or other ids."""
        index = self._index
        options = self._options
        has_other_fields = options.text is not None and options.text != index.text_weights
        if has_other_fields or (options.language and self._language != index.language):
            fields = f"--text {','.join(index.text_fields)}" if index.text_fields else "each document's own text"
            raise InvalidInput(
                f"{self._folder} was created with {fields} and --language {index.language or 'none'}, which cannot be changed; "
                "leave them out"
            )
        check_ids_from(str(self._folder), index.ids_from, options.ids_from)


def _summaries(place: str) -> list[Summary]:
    folder = Path(place)
    if not folder.is_dir():
        raise SourceError(f"there is no folder {place!r:.200}; name the folder of an index, or one that contains indexes")
    return [_summary(path) for path in ([folder] if is_index(folder) else sorted(folder.iterdir())) if is_index(path)]


def _summary(folder: Path) -> Summary:
    try:
        index = EmbeddedIndex.open(folder)
    except SourceError as error:
        return folder.name, "?", str(error)
    fields = ", ".join(index.text_fields or ["each document's own text"])
    return folder.name, str(len(index)), f"{fields}; vectors of {index.embedder}" if index.embedder else fields


def _delete(place: str, ids: Sequence[str]) -> int:
    return EmbeddedIndex.open(place).delete(ids)


def drop(path: str | os.PathLike[str]) -> int | None:
    """Delete the index in a folder, and return how many documents it had, None if it is damaged.

    The folder is deleted, too, if nothing else is in it. Raises SourceError while documents are added.
    """
    folder = checked_folder(path)
    with loading(folder):
        try:
            index = EmbeddedIndex.open(folder)
            count = len(index)
        except SourceError:
            delete_index(folder)
            return None
        with index.locked():
            delete_index(folder)
        return count


def _compact(place: str) -> tuple[int, int]:
    folder = checked_folder(place)
    with loading(folder):
        bytes_before = _total_bytes(folder)
        EmbeddedIndex.open(folder).compact()
        return bytes_before, _total_bytes(folder)


def _total_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


LOCAL = PlaceKind(
    location="in a folder",
    example="the folder of an index",
    # A mistyped URL, such as redis:/user:password@host, is not a path, because an error would print it.
    matches=lambda place: not re.match(r"[a-z][a-z+.-]+:/", place, re.IGNORECASE) and "://" not in place,
    source_options=SOURCE_OPTIONS,
    index_options=("language",),
    source=_source,
    target=FolderTarget,
    summaries=_summaries,
    delete=_delete,
    compact=_compact,
    drop=drop,
)
