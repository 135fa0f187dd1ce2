"""EmbeddedIndex: full-text, vector and hybrid search in a folder or in memory, without a server.

The text index is the one truth about which documents exist: a document is there when the commit that holds it is, and its
vector is a row that the commit refers to. Rows are on the disk before that commit; rows of a commit that never came are
referred to by nobody. So text and vectors cannot disagree, whenever a writer is killed.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from podium.documents import has_field, texts_of, valid_unicode
from podium.errors import Argument, InvalidInput, SourceError
from podium.forks import renew_after_fork
from podium.inputs import checked_documents, checked_limit, checked_offset, checked_path, checked_query
from podium.sources.embedded import description as descriptions
from podium.sources.embedded.description import TEXT_FOLDER, Description, is_index
from podium.sources.embedded.texts import LANGUAGES, Entry, Snapshot, Texts
from podium.sources.embedded.vectors import Vectors
from podium.sources.embedding import document_vectors, query_vector
from podium.sources.fields import checked_weights
from podium.sources.fusion import HYBRID_DEPTH, TEXT_WEIGHT, Fusion, Hit, Mode, checked_fusion, fuse
from podium.types import Candidates, Embed

__all__ = ["LANGUAGES", "EmbeddedIndex", "drop", "is_index"]

BATCH = 2_000  # documents whose vectors are computed at once
LONGEST_ID = 1_000


class EmbeddedIndex:
    """Documents that can be searched by text (BM25), by vector, and by both; in a folder, or in memory where that is None.

    Made by `create` or `open`. Any number of threads and processes may search while one adds; what is added is there
    for all of them when `add` returns. `mode` is "text", "vector" or "hybrid" (the default where there is an embedder);
    `fusion` is how a hybrid search puts its two rankings together: "weighted", by a sum in which text counts
    `text_weight`, or "rrf", by reciprocal rank. Needs the package's extra `index`.

        >>> index = EmbeddedIndex.create(None)
        >>> index.add(["the sea at night", {"text": "apples, ripe and red"}], ids=["sea", "fruit"])
        ['sea', 'fruit']
        >>> [found["source_key"] for found in index.search("Red apple?", 10)]
        ['fruit']
    """

    def __init__(
        self,
        path: Path | None,
        described: Description | None = None,
        texts: Texts | None = None,
        *,
        embed: Embed | None = None,
        mode: Mode | None = None,
        fusion: Fusion = "weighted",
        text_weight: float = TEXT_WEIGHT,
    ) -> None:
        if described is None or texts is None:
            raise InvalidInput(
                "make an index with EmbeddedIndex.create(path), or open one that is there with EmbeddedIndex.open(path)"
            )
        checked_fusion(fusion, text_weight)
        self.path = path
        self.embedder = described.embedder
        self.batch = 5_000 if embed is None else 500  # documents of one commit, when they are loaded from a file
        self._described, self._texts, self.embed = described, texts, embed
        self._vectors = Vectors(path, len(described.probe)) if described.probe else None
        self.renew()
        renew_after_fork(self)
        self.mode: Mode = self._checked_mode(mode or ("hybrid" if self._vectors and embed else "text"))
        self.fusion, self.text_weight = fusion, text_weight

    @classmethod
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
    ) -> EmbeddedIndex:
        """Make an empty index in a folder that is empty or not there yet; None keeps it in memory.

        `text` names the fields to search, several of them with weights if given as {name: weight}; None reads each
        document's own text as `rerank` does. `language` chooses stemmer and stop-words; None has neither. `embed` is an
        Embedder, a redisvl vectorizer, or any function, also async, from a list of texts to vectors. `ids_from` is kept with
        the index: the field that its ids will be taken from, "" for digests of documents. Raises InvalidInput or SourceError.
        """
        if language is not None and language not in LANGUAGES:
            raise InvalidInput(f"there is no stemmer for {language!r:.40}; known: {', '.join(LANGUAGES)}, or None")
        described = Description(
            checked_weights(text), language, descriptions.name_of(embed), descriptions.probe(embed), ids_from=ids_from
        )
        checked_fusion(fusion, text_weight)
        _checked_mode(mode or "text", described, embed)
        folder = None if path is None else _checked_folder(path)
        if folder is not None:
            with descriptions.made_at_once(folder) as unfinished:
                _texts(unfinished, described, create=True)
                descriptions.write(unfinished, described)
        texts = _texts(folder, described, create=folder is None)
        return cls(folder, described, texts, embed=embed, mode=mode, fusion=fusion, text_weight=text_weight)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        embed: Embed | None = None,
        mode: Mode | None = None,
        fusion: Fusion = "weighted",
        text_weight: float = TEXT_WEIGHT,
    ) -> EmbeddedIndex:
        """Open the index of a folder as its last commit left it.

        Without `embed` an index that has vectors can be searched by text, and not be added to; its `embedder` is the
        name of the one it was made with. Raises SourceError where the folder is no index, is damaged, or was made with
        another embedder.
        """
        folder = _checked_folder(path)
        described = descriptions.read(folder)
        descriptions.check_embedder(folder, described, embed)
        texts = _texts(folder, described, create=False)
        opened = cls(folder, described, texts, embed=embed, mode=mode, fusion=fusion, text_weight=text_weight)
        opened._check_rows()
        return opened

    def renew(self) -> None:
        """Begin without a lock that a thread of the parent process may hold. Its writer still keeps others out."""
        self._writing = threading.Lock()

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else repr(str(self.path))
        return f"EmbeddedIndex({where}, mode={self.mode!r})"

    def __len__(self) -> int:
        """Return how many documents there are."""
        return len(self._texts.snapshot())

    @property
    def text_fields(self) -> list[str] | None:
        """Return the fields that are searched, None where each document's own text is."""
        return None if self._described.fields is None else list(self._described.fields)

    @property
    def text_weights(self) -> dict[str, float] | None:
        """Return the fields that are searched, with their weights; None where each document's own text is."""
        return self._described.fields

    @property
    def language(self) -> str | None:
        """Return the language of stemmer and stop-words, None where there are neither."""
        return self._described.language

    @property
    def ids_from(self) -> str | None:
        """Return the field that ids are taken from, "" where they are digests of the documents, None where unknown."""
        return self._described.ids_from

    def explain(self) -> str:
        """Say how it searches."""
        fields = self._described.fields
        read = (
            "each document's own text"
            if fields is None
            else ", ".join(f"{name} × {weight:g}" for name, weight in fields.items())
        )
        text = f"BM25 over {read}; {self._described.language or 'no'} stemmer and stop-words"
        vector = f"cosine of {self.embedder or 'your'} vectors"
        fused = {"rrf": "by reciprocal rank", "weighted": f"by a weighted sum, text {self.text_weight:g}"}[self.fusion]
        return {"text": text, "vector": vector, "hybrid": f"{text}; {vector}; fused {fused}"}[self.mode]

    def add(self, documents: Iterable[Any], *, ids: Iterable[str] | None = None) -> list[str]:
        """Add strings and mappings, in one commit, and return their ids; they are found once this returns.

        A document whose id is already there takes its place. Ids are made up where none are given. What cannot be
        written as JSON, or has no searched field, raises InvalidInput and nothing is added. SourceError: another process
        is writing, or the disk. Where vectors become many their graph is extended here, which can take minutes.
        """
        if self._vectors is not None and self.embed is None:
            raise InvalidInput(
                f"this index has vectors, of {self.embedder or 'an embedder of yours'}; to add, open it with ",
                Argument("embed", ...),
            )
        given = checked_documents(documents)
        named = _made_ids(len(given)) if ids is None else _distinct(_checked_ids(ids), len(given))
        stored = [self._stored(document, at) for at, document in enumerate(given)]
        texts = self._read(given)
        with self._writing:
            with self._texts.writing() as writer:
                for start in range(0, len(given), BATCH):
                    part = slice(start, start + BATCH)
                    rows = self._rows(texts[part])
                    for name, document, said, row in zip(named[part], stored[part], texts[part], rows, strict=True):
                        writer.put(Entry(name, document, said, row))
            if self._vectors is not None:
                self._vectors.improve()
        return named

    def delete(self, ids: Iterable[str]) -> int:
        """Take documents out, in one commit, and return how many were there."""
        named = list(dict.fromkeys(_checked_ids(ids)))
        with self._writing:
            there = len(self.get(named))
            with self._texts.writing() as writer:
                for name in named:
                    writer.remove(name)
        return there

    def get(self, ids: Iterable[str]) -> dict[str, Any]:
        """Return the documents that are there, by id: a string as {"text": …}, a mapping as it was added."""
        found = self._texts.snapshot().documents(_checked_ids(ids))
        return {name: self._document(document) for name, document in found.items()}

    def check(self, documents: Iterable[Any], *, ids: Iterable[str] | None = None) -> None:
        """Raise what `add` would raise for these documents; nothing is added."""
        given = checked_documents(documents)
        if ids is not None:
            _distinct(_checked_ids(ids), len(given))
        for at, document in enumerate(given):
            self._stored(document, at)
        self._read(given)

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids of those documents that are there already, just as they are."""
        there = self.get(ids)
        wanted = (json.loads(self._stored(document, at)) for at, document in enumerate(documents))
        return {name for name, document in zip(ids, wanted, strict=True) if there.get(name) == document}

    def search(self, query: str, limit: int | None, *, offset: int = 0, mode: Mode | None = None) -> Candidates:
        """Return at most `limit` documents, best first, after the `offset` best: each a dict of its fields, `source_key` (its
        id), `source_score` and `source_rank`.

        Any text is a query: nothing in it is an operator. The result is a list with `total`. Raises InvalidInput or
        SourceError.
        """
        query, mode, first = checked_query(query), self._checked_mode(mode or self.mode), checked_offset(offset)
        snapshot = self._texts.snapshot()
        size = len(snapshot)
        last = min(first + (checked_limit(limit) or size), size)
        hits = _RANKED[mode](self, snapshot, query, last)[first:last] if first < last else []
        documents = snapshot.documents([hit.key for hit in hits])
        return Candidates(
            (
                self._document(documents.get(hit.key)) | {"source_key": hit.key, "source_score": hit.score, "source_rank": rank}
                for rank, hit in enumerate(hits, start=first + 1)
            ),
            total=(lambda: snapshot.count(query)) if mode == "text" else size,
        )

    def _document(self, stored: bytes | None) -> dict[str, Any]:
        """Return a document from its JSON. Raises SourceError where the index has lost or changed it."""
        try:
            document = json.loads(stored or b"")
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise descriptions.damaged(self.path, ValueError("a document cannot be read"))
        return document

    def _by_text(self, snapshot: Snapshot, query: str, count: int) -> list[Hit]:
        return snapshot.search(query, count)

    def _by_vector(self, snapshot: Snapshot, query: str, count: int) -> list[Hit]:
        """Look for more rows than asked as long as dead ones are among them."""
        assert self._vectors is not None  # noqa: S101  for the type checker: the mode was checked
        assert self.embed is not None  # noqa: S101  as above
        vector = query_vector(self.embed, query)
        self._check_size(len(vector))
        rows, wanted = len(self._vectors.rows()), count
        while True:
            nearest = self._vectors.nearest(vector, wanted)
            ids = snapshot.ids_of([row for row, _ in nearest])
            alive = [Hit(ids[row], score) for row, score in nearest if row in ids]
            if len(alive) >= count or len(nearest) < wanted or wanted >= rows:
                return alive[:count]
            wanted *= 4

    def _by_both(self, snapshot: Snapshot, query: str, count: int) -> list[Hit]:
        depth = max(count, HYBRID_DEPTH)
        text, vector = self._by_text(snapshot, query, depth), self._by_vector(snapshot, query, depth)
        return fuse(self.fusion, text, vector, self.text_weight)

    def _stored(self, document: Any, at: int) -> bytes:
        """Return a document as JSON; a string as the first field that is searched, or its text."""
        if not isinstance(document, str | Mapping):
            raise InvalidInput(f"document {at} is a {type(document).__name__}; an index takes strings and mappings")
        if isinstance(document, Mapping) and not all(isinstance(name, str) for name in document):
            raise InvalidInput(f"document {at} has a field whose name is no string; JSON keeps no other names")
        field = (self.text_fields or ["text"])[0]
        try:
            held = {field: document} if isinstance(document, str) else dict(document)
            return valid_unicode(json.dumps(held, ensure_ascii=False)).encode()
        except (TypeError, ValueError, RecursionError) as error:
            says = str(error)[:100]
            raise InvalidInput(
                f"document {at} cannot be written as JSON ({says}); keep strings, numbers, lists and dicts"
            ) from None

    def _read(self, documents: list[Any]) -> list[tuple[str | None, ...]]:
        """Return each document's text of every searched field. It may lack some of them, not all."""
        fields = self._described.fields
        if fields is None:
            return [(text,) for text in texts_of(documents, argument="text")]
        for at, document in enumerate(documents):
            if not isinstance(document, str) and not any(has_field(document, name) for name in fields):
                raise InvalidInput(f"document {at} has no field {', '.join(fields)}; it has {', '.join(map(str, document))}")
        return list(zip(*(_column(documents, name) for name in fields), strict=True))

    def _rows(self, texts: list[tuple[str | None, ...]]) -> list[int | None]:
        """Put the texts' vectors on the disk and return each one's row; a text that says nothing has none."""
        joined = [" ".join(filter(None, said)) for said in texts]
        said = [at for at, text in enumerate(joined) if text.strip()]
        rows: list[int | None] = [None] * len(texts)
        if self._vectors is None or self.embed is None or not said:
            return rows
        vectors = document_vectors(self.embed, [joined[at] for at in said])
        self._check_size(vectors.shape[1])
        for at, row in zip(said, self._vectors.append(vectors), strict=True):
            rows[at] = row
        return rows

    def _check_size(self, dimensions: int) -> None:
        if self._vectors is not None and dimensions != self._vectors.dimensions:
            raise SourceError(f"the embedder gave {dimensions} dimensions; this index has {self._vectors.dimensions}")

    def _checked_mode(self, mode: Mode) -> Mode:
        return _checked_mode(mode, self._described, self.embed)

    def _check_rows(self) -> None:
        """Refuse an index whose vectors were cut short by anything but a writer of ours."""
        if self._vectors is not None and self._texts.snapshot().last_row() >= len(self._vectors.rows()):
            raise SourceError(f"{self.path} is damaged: it has fewer vectors than documents that have one; index it again")


def drop(path: str | os.PathLike[str]) -> int | None:
    """Delete the index of a folder, and return how many documents it had, None where it is damaged.

    The folder is deleted, too, where nothing else is in it. Raises SourceError while documents are added.
    """
    folder = _checked_folder(path)
    with descriptions.loading(folder):
        try:
            index = EmbeddedIndex.open(folder)
            count = len(index)
        except SourceError:
            descriptions.delete(folder)
            return None
        with index._texts.locked():
            descriptions.delete(folder)
        return count


_RANKED: dict[str, Callable[[EmbeddedIndex, Snapshot, str, int], list[Hit]]] = {
    "text": EmbeddedIndex._by_text,
    "vector": EmbeddedIndex._by_vector,
    "hybrid": EmbeddedIndex._by_both,
}


def _checked_mode(mode: Any, described: Description, embed: Embed | None) -> Mode:
    if not isinstance(mode, str) or mode not in _RANKED:
        raise InvalidInput(f"mode must be text, vector or hybrid, not {mode!r:.40}")
    if mode != "text" and not described.probe:
        says = " needs vectors, and this index has none; make a new index with "
        raise InvalidInput(Argument("mode", mode), says, Argument("embed", ...))
    if mode != "text" and embed is None:
        raise InvalidInput(
            Argument("mode", mode),
            f" needs the embedder of this index, {described.embedder or 'a callable'}; open it with ",
            Argument("embed", ...),
        )
    return mode  # type: ignore[return-value]  # one of the three


def _checked_folder(path: Any) -> Path:
    folder = checked_path(path)
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{str(folder)!r:.80} is not UTF-8, as an index's path must be; choose another name") from None
    return folder


def _texts(folder: Path | None, described: Description, *, create: bool) -> Texts:
    weights = [1.0] if described.fields is None else list(described.fields.values())
    return Texts(None if folder is None else folder / TEXT_FOLDER, weights, described.language, create=create)


def _column(documents: list[Any], name: str) -> list[str | None]:
    """Return one field of every document as text; a string is its own first and only field."""
    has = [isinstance(document, str) or has_field(document, name) for document in documents]
    texts = iter(
        texts_of([document for document, there in zip(documents, has, strict=True) if there], (name,), argument="text")
    )
    return [next(texts) if there else None for there in has]


def _made_ids(count: int) -> list[str]:
    return [uuid.uuid4().hex for _ in range(count)]


def _checked_ids(ids: Any) -> list[str]:
    given: list[Any] = list(ids) if isinstance(ids, Iterable) and not isinstance(ids, str | bytes) else [None]
    if not all(isinstance(name, str) and name for name in given):
        raise InvalidInput("ids must be a list of strings, none of them empty")
    if long := next((name for name in given if len(name) > LONGEST_ID), None):
        raise InvalidInput(f"the id {long[:40]!r}… has {len(long)} letters; {LONGEST_ID} are the most that are kept")
    return [valid_unicode(name) for name in given]


def _distinct(ids: list[str], count: int) -> list[str]:
    if len(ids) != count:
        raise InvalidInput(f"there are {len(ids)} ids for {count} documents; give one for each, or none at all")
    if len(set(ids)) < count:
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # adds
        raise InvalidInput(f"two documents have the id {twice[:80]!r}; the second would take the first's place")
    return ids
