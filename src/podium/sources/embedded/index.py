"""EmbeddedIndex: full-text, vector and hybrid search in a folder or in memory, without a server.

The text index decides which documents exist: a commit adds a document together with the number of its vector's row. Rows are
on the disk before that commit, and rows of a commit that never happened belong to no document. The number of a row never
belongs to another row, not even after a compaction, which moves rows to new files. So texts and vectors always agree, even if
a writer is killed.

The files of an index are mapped into memory. To restore an index from a backup, replace its files by renaming others,
or drop the index first. A search notices a file that was truncated or overwritten in place before it began. A file that is
truncated while a search reads it ends the process (SIGBUS).
"""
# ruff: noqa: A002  `filter` is the argument's name in RedisSource

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.embedding import embedder_name, probe_vector
from podium.encodings import EncodingStore
from podium.encodings.layered import ReadOnlyEncodings
from podium.errors import Argument, InvalidInput, SourceError
from podium.forks import renew_after_fork
from podium.inputs import checked_documents, checked_limit, checked_offset, checked_query, refuse_unknown_names
from podium.json_values import parse_json
from podium.ranking import Reranker
from podium.sources.embedded import description as descriptions
from podium.sources.embedded.description import Description, IndexIdentity, is_index
from podium.sources.embedded.documents import checked_ids, document_ids, searched_texts, stored_json
from podium.sources.embedded.encodings import IndexEncodings
from podium.sources.embedded.filter_queries import Selection, checked_filter, selection
from podium.sources.embedded.filter_syntax import Condition
from podium.sources.embedded.filter_terms import filter_terms
from podium.sources.embedded.folder import checked_folder, new_folder
from podium.sources.embedded.generations import Generation, Generations
from podium.sources.embedded.segmentation import has_unspaced_text
from podium.sources.embedded.snapshot import Snapshot
from podium.sources.embedded.tantivy_calls import typed_errors, unusable
from podium.sources.embedded.texts import LANGUAGES, Entry, Texts, Writer
from podium.sources.embedded.vector_search import append_vectors, nearest_documents
from podium.sources.fields import checked_weights, weights_text
from podium.sources.filters import Filter
from podium.sources.fusion import TEXT_WEIGHT, Fusion, Hit, Mode
from podium.sources.hybrid import HybridSource, Page, SearchRequest
from podium.sources.memory import reserve_for_json
from podium.steps import immediate, result_of
from podium.threads import to_thread
from podium.types import Candidates, Embed

__all__ = ["LANGUAGES", "EmbeddedIndex", "is_index"]

EMBEDDED_AT_ONCE = 2_000  # documents whose vectors are computed and written together


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request(SearchRequest):
    snapshot: Snapshot
    selection: Selection | None
    generation: Generation | None  # None for a search by text, and in an index without vectors


class EmbeddedIndex(HybridSource[_Request]):
    """Documents that can be searched by text (BM25), by vectors, and by both; in a folder, or in memory if `path` is None.

    Use `create` or `open`. Any number of threads and processes may search while one adds; all of them find the new documents
    as soon as `add` returns. `mode` is "text", "vector" or "hybrid" (the default with an embedder). `fusion` is how a hybrid
    search combines its two rankings: "weighted", a sum in which text has the weight `text_weight`, or "rrf", reciprocal rank.
    `filter` is a condition that documents must meet, such as `@kind:{book} @year:[1990 2000]`. It may name any field, in the
    syntax of RediSearch or as an expression of redisvl, and does not change scores. Needs the package's extra `index`.

        >>> index = EmbeddedIndex.create(None)
        >>> index.add(["the sea at night", {"text": "apples, ripe and red"}], ids=["sea", "fruit"])
        ['sea', 'fruit']
        >>> [document["source_key"] for document in index.search("Red apple?", 10)]
        ['fruit']
    """

    def __init__(
        self,
        path: Path | None,
        description: Description | None = None,
        texts: Texts | None = None,
        *,
        embed: Embed | None = None,
        mode: Mode | None = None,
        fusion: Fusion = "weighted",
        text_weight: float = TEXT_WEIGHT,
        filter: Filter = None,
    ) -> None:
        if description is None or texts is None:
            raise InvalidInput("create an index with EmbeddedIndex.create(path), or open one with EmbeddedIndex.open(path)")
        self.path = path
        self.embedder = description.embedder
        # How many documents a loader adds in one commit. An interrupted run loses the vectors of one batch at most.
        self.batch = 5_000 if embed is None else 500
        self._description = description
        self._texts = texts
        self._identity = IndexIdentity(path, description)
        self._vectors = Generations(path, len(description.probe)) if description.probe else None
        self._encodings = IndexEncodings(path, self.text_fields)
        self._write_lock = threading.Lock()
        checked_filter(filter)
        self.filter = filter
        renew_after_fork(self)
        super().__init__(embed=embed, mode=mode, fusion=fusion, text_weight=text_weight)

    @classmethod
    @refuse_unknown_names
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        text: str | Sequence[str] | Mapping[str, float] | None = None,
        embed: Embed | None = None,
        language: str | None = "english",
        mode: Mode | None = None,
        fusion: Fusion = "weighted",
        text_weight: float = TEXT_WEIGHT,
        ids_from: str | None = None,
        filter: Filter = None,
    ) -> EmbeddedIndex:
        """Create an empty index in a folder that is empty or does not exist, or in memory if `path` is None.

        `text` names the fields to search: one name, a list of names, or {name: weight}. None searches each document's own
        text, as `rerank` reads it. `language` selects stemmer and stop-words; None means neither. `embed` is an Embedder, a
        redisvl vectorizer, or any function, also async, from a list of texts to vectors. `ids_from` is stored for later runs
        of `podium index`: the field that ids are taken from, or "" if ids are digests of documents. Raises InvalidInput or
        SourceError.
        """
        if language is not None and language not in LANGUAGES:
            raise InvalidInput(f"there is no stemmer for {language!r:.40}; use {', '.join(LANGUAGES)}, or None")
        description = Description(
            fields=checked_weights(text),
            language=language,
            embedder=embedder_name(embed),
            probe=() if embed is None else probe_vector(embed),
            ids_from=ids_from,
            id=uuid.uuid4().hex,
        )
        folder = None if path is None else checked_folder(path).absolute()  # so that os.chdir does not change it
        options: dict[str, Any] = {"embed": embed, "mode": mode, "fusion": fusion, "text_weight": text_weight, "filter": filter}
        # Create an index in memory first: its constructor checks all arguments before the folder is created.
        index = cls(None, description, Texts(None, description), **options)
        if folder is None:
            return index
        with new_folder(folder) as unfinished:
            Texts(unfinished, description, create=True)
            descriptions.write(unfinished, description)
        return cls(folder, description, Texts(folder, description), **options)

    @classmethod
    @refuse_unknown_names
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        embed: Embed | None = None,
        mode: Mode | None = None,
        fusion: Fusion = "weighted",
        text_weight: float = TEXT_WEIGHT,
        filter: Filter = None,
    ) -> EmbeddedIndex:
        """Open the index in a folder as its last commit left it.

        Without `embed`, an index that has vectors can be searched by text only, and not be added to; its `embedder` is the
        name of the model it was created with. Raises SourceError if the folder is not an index, is damaged, or was created
        with another embedder.
        """
        folder = checked_folder(path).absolute()
        description = descriptions.read(folder)
        descriptions.check_embedder(folder, description, embed)
        texts = Texts(folder, description)
        index = cls(folder, description, texts, embed=embed, mode=mode, fusion=fusion, text_weight=text_weight, filter=filter)
        index._check_rows()
        return index

    def renew(self) -> None:
        """Replace the lock in a forked process, because a thread of the parent may have held it."""
        self._write_lock = threading.Lock()
        self._texts.renew()

    def __repr__(self) -> str:
        location = "in memory" if self.path is None else repr(str(self.path))
        return f"EmbeddedIndex({location}, mode={self.mode!r})"

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._snapshot())

    @property
    def text_fields(self) -> list[str] | None:
        """The fields that are searched, None if that is each document's own text."""
        return None if self._description.fields is None else list(self._description.fields)

    @property
    def text_weights(self) -> dict[str, float] | None:
        """The fields that are searched, with their weights; None if that is each document's own text."""
        return self._description.fields

    @property
    def language(self) -> str | None:
        """The language of stemmer and stop-words, None if there are neither."""
        return self._description.language

    @property
    def ids_from(self) -> str | None:
        """The field that ids are taken from, "" if they are digests of the documents, None if unknown."""
        return self._description.ids_from

    @property
    def encodings(self) -> EncodingStore:
        """The encodings of documents that were added with `keep`, to be read only."""
        return ReadOnlyEncodings(self._encodings.store)

    @property
    def kept_models(self) -> list[str]:
        """The names of the models whose encodings the index has."""
        return [model.model for model in self._encodings.models()]

    def add(self, documents: Iterable[Any], *, ids: Iterable[str] | None = None, keep: Reranker | None = None) -> list[str]:
        """Add strings and mappings in one commit, and return their ids. Searches find them as soon as this returns.

        A document replaces the one that has its id. Without `ids`, documents get random ids. `keep` is a reranker with late
        interaction. Its encodings of the documents are stored, so that a Search with that reranker does not compute them
        again. Raises InvalidInput if a document cannot be written as JSON or has none of the searched fields. Raises
        SourceError if another process is writing or the disk is full; then no document is added. If the index has many
        vectors, this also extends their graph, which can take minutes.
        """
        if self._vectors is not None and self.embed is None:
            raise InvalidInput(
                f"this index has vectors of {self.embedder or 'an embedder of yours'}; to add documents, open it with ",
                Argument("embed", ...),
            )
        documents = checked_documents(documents)
        valid_ids = document_ids(ids, len(documents))
        stored = [self._stored_json(document, number) for number, document in enumerate(documents)]
        # Of the stored documents, because JSON converts values that filters should find, such as members of an Enum.
        terms = [filter_terms(self._document(content)) for content in stored]
        texts = [self._searched_texts(document, number) for number, document in enumerate(documents)]
        with self._write_lock:
            with self._writer() as writer:
                # The writer keeps other processes from compacting the encodings, which would remove these.
                if keep is not None:
                    self._encodings.add(list(map(self._document, stored)), keep)
                for start in range(0, len(documents), EMBEDDED_AT_ONCE):
                    part = slice(start, start + EMBEDDED_AT_ONCE)
                    rows = self._written_rows(texts[part])
                    values = zip(valid_ids[part], stored[part], texts[part], rows, terms[part], strict=True)
                    for document_id, content, field_texts, row, document_terms in values:
                        writer.put(Entry(document_id, document=content, texts=field_texts, row=row, terms=document_terms))
            if self._vectors is not None:
                self._vectors.use(lambda generation: generation.vectors.improve())
        return valid_ids

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit, and return how many existed. Raises SourceError while another process writes."""
        unique_ids = sorted(set(checked_ids(ids)))
        with self._write_lock:
            count = len(self._snapshot().documents(unique_ids))
            with self._writer() as writer:
                for document_id in unique_ids:
                    writer.remove(document_id)
        return count

    def keep(self, documents: Iterable[Any], reranker: Reranker) -> int:
        """Store a reranker's encodings of documents that the index has, and return how many were computed.

        Encodings that are stored already are not computed again. Raises InvalidInput, and SourceError while another process
        writes.
        """
        stored = [self._stored_json(document, number) for number, document in enumerate(checked_documents(documents))]
        with self._write_lock, self.locked():
            return self._encodings.add(list(map(self._document, stored)), reranker)

    def compact(self) -> None:
        """Free the space of vectors and encodings that belong to documents which were deleted or replaced.

        Vectors are copied to new files, for which there must be room, unless less than a tenth of them is unused. Their graph
        is built again, which can take minutes. Searches go on meanwhile, also in other processes. Raises SourceError while
        another process writes, or if vectors are damaged or the disk is full; then no vector is deleted.
        """
        with self._write_lock, self.locked():
            snapshot = self._snapshot()
            self._encodings.compact([self._document(content) for content in batch] for batch in snapshot.all_documents())
            if self._vectors is not None:
                self._vectors.compact(snapshot.rows())

    def get(self, ids: Iterable[str]) -> dict[str, Any]:
        """Return the documents that exist, by id.

        A document that was added as a string has one field: the first field that is searched, or "text".
        """
        stored = self._snapshot().documents(checked_ids(ids))
        return {document_id: self._document(content) for document_id, content in stored.items()}

    def check(self, documents: Iterable[Any], *, ids: Iterable[str] | None = None, first_number: int = 0) -> None:
        """Raise what `add` would raise for these documents, without adding them.

        `first_number` is the number that error messages give to the first document.
        """
        documents = checked_documents(documents)
        document_ids(ids, len(documents))
        for number, document in enumerate(documents, start=first_number):
            self._stored_json(document, number)
            self._searched_texts(document, number)

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids of those documents that the index already has in exactly this form."""
        existing = self.get(ids)
        unchanged_ids = set()
        for number, (document_id, document) in enumerate(zip(ids, documents, strict=True)):
            if _is_same(existing.get(document_id), json.loads(self._stored_json(document, number))):
                unchanged_ids.add(document_id)
        return unchanged_ids

    def search(
        self, query: str, limit: int | None, *, offset: int = 0, mode: Mode | None = None, filter: Filter = None
    ) -> Candidates:
        """Return at most `limit` documents after the `offset` best, best first.

        `limit` is None for all documents. Each document is a dict of its fields, `source_key` (its id), `source_score` and
        `source_rank`. Any text is a query: no character in it is an operator. `filter` replaces the filter of the index. The
        result is a list with the attributes `total` and `notes`. Raises InvalidInput. Raises SourceError if the index is
        damaged, the embedder fails, or the filter names a field that no document has.
        """
        query = checked_query(query)
        limit = checked_limit(limit)
        offset = checked_offset(offset)
        mode = self.checked_mode(mode or self.mode)
        condition = checked_filter(self.filter if filter is None else filter)

        def candidates(generation: Generation | None) -> Candidates:
            snapshot = self._snapshot()
            selected = None if condition is None else self._selection(condition, snapshot)
            matching_count = len(snapshot) if selected is None else selected.count
            remaining = max(0, matching_count - offset)
            count = remaining if limit is None else min(limit, remaining)
            request = _Request(
                query=query, mode=mode, offset=offset, count=count, snapshot=snapshot, selection=selected, generation=generation
            )
            return result_of(self.candidates(request))

        return candidates(None) if mode == "text" or self._vectors is None else self._vectors.use(candidates)

    async def asearch(
        self, query: str, limit: int | None, *, offset: int = 0, mode: Mode | None = None, filter: Filter = None
    ) -> Candidates:
        """Do what `search` does on a thread, without blocking the event loop."""

        return await to_thread(lambda: self.search(query, limit, offset=offset, mode=mode, filter=filter).counted())

    @immediate
    def text_hits(self, request: _Request, offset: int, count: int) -> Page:
        text_query = request.snapshot.text_query(request.query, request.selection)
        return Page(request.snapshot.search(text_query, offset, count), lambda: request.snapshot.count(text_query))

    @immediate
    def vector_hits(self, request: _Request, offset: int, count: int) -> Page:
        hits = []
        if request.count and request.generation is not None and self.embed is not None:
            nearest = nearest_documents(
                request.generation, self.embed, request.snapshot, request.query, offset + count, request.selection
            )
            hits = nearest[offset:]
        return Page(hits, len(request.snapshot) if request.selection is None else request.selection.count)

    def notes(self, request: _Request) -> Sequence[str]:
        notes = [] if request.selection is None else list(request.selection.notes)
        if request.mode != "vector" and not self._description.is_segmented and has_unspaced_text(request.query):
            notes.append(
                "this index was created by an earlier version of podium, which does not find words inside Chinese, Japanese, "
                "Thai, Lao, Khmer and Burmese text; index the documents again into another folder"
            )
        return notes

    @immediate
    def hit_documents(self, request: _Request, hits: Sequence[Hit]) -> list[tuple[str, dict[str, Any]]]:
        documents = []
        for document_id, content in request.snapshot.stored(hit.key for hit in hits):
            reserve_for_json(content)
            documents.append((document_id, self._document(content)))
        return documents

    def describe_text(self) -> str:
        weights = self._description.fields
        fields = "each document's own text" if weights is None else weights_text(weights)
        return f"BM25 over {fields}; {self._description.language or 'no'} stemmer and stop-words"

    def describe_vector(self) -> str:
        return f"cosine of {self.embedder or 'your'} vectors"

    def check_vectors(self, mode: Mode) -> None:
        if self._vectors is None:
            reason = " needs vectors, and this index has none; create another index with "
            raise InvalidInput(Argument("mode", mode), reason, Argument("embed", ...))
        if self.embed is None:
            reason = f" needs the embedder of this index, {self.embedder or 'a callable'}; open it with "
            raise InvalidInput(Argument("mode", mode), reason, Argument("embed", ...))

    def _selection(self, condition: Condition, snapshot: Snapshot) -> Selection:
        if not self._description.is_filterable:
            raise SourceError(
                f"{self.path} was created by an earlier version of podium and cannot be filtered; index the documents again "
                "into another folder"
            )
        return selection(condition, snapshot)

    def _snapshot(self) -> Snapshot:
        try:
            return self._texts.snapshot()
        finally:
            self._identity.check()  # The folder may be replaced at any time, so this is checked after taking the snapshot.

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Writer]:
        """Yield a writer whose changes are committed at the end. Raises SourceError if the index was dropped or replaced."""
        self._identity.check()  # Otherwise tantivy would write to the folder of another index.
        with self._texts.writing() as writer:
            self._identity.check()  # Check again: from now on, nothing can drop the index.
            yield writer

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other writers out in a context. Raises SourceError while one writes."""
        return self._texts.locked()

    def _document(self, content: bytes | None) -> dict[str, Any]:
        """Return a document from its JSON. Raises SourceError if the JSON is damaged or missing."""
        try:
            document = parse_json(content or b"")
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise unusable(self.path, ValueError("a document cannot be read"))
        return document

    def _stored_json(self, document: Any, number: int) -> bytes:
        return stored_json(document, number, self._field_of_strings)

    @property
    def _field_of_strings(self) -> str:
        """The field that a document which is a string is stored as."""
        return (self.text_fields or ["text"])[0]

    def _searched_texts(self, document: Any, number: int) -> tuple[str | None, ...]:
        return searched_texts(document, number, self._description.fields)

    def _written_rows(self, texts: Sequence[tuple[str | None, ...]]) -> list[int | None]:
        """Write the vectors of documents, given the texts of their fields, and return their rows; None without a vector."""
        if self._vectors is None or self.embed is None:
            return [None] * len(texts)
        joined_texts = [" ".join(filter(None, field_texts)) for field_texts in texts]
        with typed_errors(self.path):
            return append_vectors(self._vectors.current(), self.embed, joined_texts)

    def _check_rows(self) -> None:
        """Raise SourceError if rows of vectors are missing. A killed writer cannot cause that: it writes rows first."""
        if self._vectors is not None and self._vectors.use(self._lacks_rows):
            raise SourceError(
                f"{self.path} is damaged: it has fewer vectors than documents that have one; index the documents again"
            )

    def _lacks_rows(self, generation: Generation) -> bool:
        """Whether a document refers to a row that the generation does not have."""
        return self._snapshot().last_row() >= generation.next_number


def _is_same(existing: dict[str, Any] | None, document: dict[str, Any]) -> bool:
    """Whether an index has a document in exactly this form. `existing` is its document with the same id, None without one."""
    if existing is None:
        return False
    if existing == document:
        return True
    # The JSON may still be equal: a document that contains NaN does not equal itself.
    return json.dumps(existing, sort_keys=True) == json.dumps(document, sort_keys=True)
