"""EmbeddedIndex: full-text, vector and hybrid search in a folder or in memory, without a server.

The text index (tantivy) is the one truth about which documents exist: a document is there when the commit that holds it
is, and its vector is a row that the commit refers to. Rows are on the disk before that commit; rows of a commit that
never came are referred to by nobody. So text and vectors cannot disagree, whenever a writer is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from podium.documents import texts_of, valid_unicode
from podium.errors import InvalidInput, PodiumError, SourceError
from podium.extras import needed
from podium.inputs import checked_documents, checked_limit, checked_query
from podium.sources.embedding import document_vectors, query_vector
from podium.sources.fusion import TEXT_WEIGHT, Fusion, Hit, checked_fusion, fuse
from podium.sources.vectors import Vectors
from podium.types import Embed

__all__ = ["LANGUAGES", "EmbeddedIndex", "Mode", "is_index"]

Mode = Literal["text", "vector", "hybrid"]

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

DESCRIPTION, TEXT_FOLDER, LAYOUT = "podium-index.json", "text", 1
WRITER_MEMORY, BATCH = 128_000_000, 2_000
HYBRID_DEPTH = 100  # each ranking is read at least so deep before they are fused
# How alike the vectors of one sentence must be for two embedders to count as the same: int8 weights stay above 0.98 of
# float32's, other models are near 0.
PROBE, SAME_EMBEDDER = "podium puts search results in order of relevance", 0.95


@dataclass(frozen=True, slots=True)
class Description:
    """What an index was made with. `fields` maps names to weights; None: a document's own text, as podium reads it."""

    layout: int
    fields: dict[str, float] | None
    language: str | None
    embedder: str | None = None
    probe: tuple[float, ...] = ()


class EmbeddedIndex:
    """Documents that can be searched by text (BM25), by vector, and by both; in a folder, or in memory where that is None.

    Made by `create` or `open`. Any number of threads and processes may search while one adds; what is added is there
    for all of them when `add` returns. `mode` is "text", "vector" or "hybrid" (the default where there is an embedder);
    `fusion` is how a hybrid search puts its two rankings together: "weighted", by a sum in
    which text counts `text_weight`, or "rrf", by reciprocal rank. Needs the package's extra `index`.

        >>> index = EmbeddedIndex.create(None)
        >>> index.add(["the sea at night", {"text": "apples, ripe and red"}], ids=["sea", "fruit"])
        ['sea', 'fruit']
        >>> [found["source_key"] for found in index.search("Red apple?", 10)]
        ['fruit']
    """

    batch = 5_000  # documents of one commit, when they are loaded from a file

    def __init__(
        self,
        path: Path | None,
        described: Description,
        text_index: Any,
        *,
        embed: Embed | None,
        mode: Mode | None,
        fusion: Fusion,
        text_weight: float,
    ) -> None:
        checked_fusion(fusion, text_weight)
        self.path = path
        self.embedder = described.embedder
        self._described = described
        self._text = text_index
        self._analyzer = _analyzer(described.language)
        self._text.register_tokenizer("podium", self._analyzer)
        self._embed = embed
        self._vectors = Vectors(path, len(described.probe)) if described.probe else None
        self._writing = threading.Lock()
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
    ) -> EmbeddedIndex:
        """Make an empty index in a folder that is empty or not there yet; None keeps it in memory.

        `text` names the fields to search, several of them with weights if given as {name: weight}; None reads each
        document's own text as `rerank` does. `language` chooses stemmer and stop-words; None has neither. `embed` is an
        Embedder, or any callable from a list of texts to vectors. Raises InvalidInput or SourceError.
        """
        if language is not None and language not in LANGUAGES:
            raise InvalidInput(f"there is no stemmer for {language!r:.40}; known: {', '.join(LANGUAGES)}, or None")
        folder = None if path is None else Path(path)
        described = Description(LAYOUT, _checked_fields(text), language, _name(embed), _probe(embed))
        options = {"embed": embed, "mode": mode, "fusion": fusion, "text_weight": text_weight}
        if folder is None:
            return cls(None, described, _tantivy().Index(_schema(described)), **options)  # type: ignore[arg-type]
        _check_room(folder)
        (folder / TEXT_FOLDER).mkdir(parents=True, exist_ok=True)
        made = cls(folder, described, _tantivy().Index(_schema(described), path=str(folder / TEXT_FOLDER)), **options)  # type: ignore[arg-type]
        _write_description(folder, described)
        return made

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
        folder = Path(path)
        described = _description(folder)
        _check_embedder(folder, described, embed)
        try:
            text_index = _tantivy().Index.open(str(folder / TEXT_FOLDER))
        except ValueError as error:
            raise _damaged(folder, error) from error
        opened = cls(folder, described, text_index, embed=embed, mode=mode, fusion=fusion, text_weight=text_weight)
        opened._check_rows()
        return opened

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else repr(str(self.path))
        return f"EmbeddedIndex({where}, mode={self.mode!r})"

    def __len__(self) -> int:
        """Return how many documents there are."""
        return int(self._searcher().num_docs)

    @property
    def text_fields(self) -> list[str] | None:
        """Return the fields that are searched, None where each document's own text is."""
        return None if self._described.fields is None else list(self._described.fields)

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
        is writing, or the disk.
        """
        if self._vectors is not None and self._embed is None:
            raise InvalidInput(
                f"this index has vectors, of {self.embedder or 'an embedder of yours'}; open it with embed= to add"
            )
        given = checked_documents(documents)
        named = _checked_ids(ids, len(given))
        stored = [_stored(document, at) for at, document in enumerate(given)]
        texts = self._texts(given)
        with self._writing, self._writer() as writer:
            for start in range(0, len(given), BATCH):
                part = slice(start, start + BATCH)
                self._write(writer, named[part], stored[part], [column[part] for column in texts])
            writer.commit()
        self._grow()
        return named

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids of those documents that are there already, just as they are."""
        there = self.get(ids)
        wanted = (json.loads(_stored(document, at)) for at, document in enumerate(documents))
        return {name for name, document in zip(ids, wanted, strict=True) if there.get(name) == document}

    def delete(self, ids: Iterable[str]) -> int:
        """Take documents out, in one commit, and return how many were there."""
        if isinstance(ids, str):
            raise InvalidInput("ids must be a list of ids, not one string; put it in a list")
        named = list(dict.fromkeys(ids))
        there = len(self.get(named))
        with self._writing, self._writer() as writer:
            for name in named:
                writer.delete_documents_by_term("id", name)
            writer.commit()
        return there

    def get(self, ids: Iterable[str]) -> dict[str, Any]:
        """Return the documents that are there, by id: a string as {"text": …}, a mapping as it was added."""
        named = list(ids)
        if not named:
            return {}
        searcher, query = self._searcher(), _tantivy().Query.term_set_query(self._text.schema, "id", named)
        found = [searcher.doc(address) for _, address in searcher.search(query, limit=len(named), count=False).hits]
        return {document.get_first("id"): json.loads(document.get_first("document")) for document in found}

    def search(self, query: str, limit: int, *, mode: Mode | None = None) -> list[dict[str, Any]]:
        """Return at most `limit` documents, best first: each a dict of its fields, `source_key` (its id), `source_score`
        and `source_rank`.

        Any text is a query: nothing in it is an operator. Raises InvalidInput or SourceError.
        """
        asked, count = checked_query(query), checked_limit(limit) or len(self)
        ranked = _RANKED[self._checked_mode(mode or self.mode)]
        searcher = self._searcher()
        if not searcher.num_docs or not count:
            return []
        try:
            found = ranked(self, searcher, asked, count)[:count]
        except (ValueError, OSError) as error:
            raise _damaged(self.path, error) from error
        return [self._document(searcher, hit, rank) for rank, hit in enumerate(found, start=1)]

    def _by_text(self, searcher: Any, query: str, count: int) -> list[Hit]:
        tantivy, schema = _tantivy(), self._text.schema
        terms = self._analyzer.analyze(query)
        clauses = []
        for at, weight in enumerate((self._described.fields or {"": 1.0}).values()):
            for term in terms:
                clause = tantivy.Query.term_query(schema, f"text{at}", term, index_option="freq")
                clauses.append((tantivy.Occur.Should, clause if weight == 1 else tantivy.Query.boost_query(clause, weight)))
        found = searcher.search(tantivy.Query.boolean_query(clauses), limit=count, count=False).hits if clauses else []
        return [Hit(searcher.doc(address).get_first("id"), float(score)) for score, address in found]

    def _by_vector(self, searcher: Any, query: str, count: int) -> list[Hit]:
        """Look for more rows than asked as long as dead ones are among them."""
        assert self._vectors is not None  # noqa: S101  for the type checker: the mode was checked
        assert self._embed is not None  # noqa: S101  as above
        vector = query_vector(self._embed, query)
        if len(vector) != self._vectors.dimensions:
            raise SourceError(f"the embedder gave {len(vector)} dimensions; this index has {self._vectors.dimensions}")
        rows, wanted = len(self._vectors.rows()), count
        while True:
            nearest = self._vectors.nearest(vector, wanted)
            ids = self._ids_of(searcher, [row for row, _ in nearest])
            alive = [Hit(ids[row], score) for row, score in nearest if row in ids]
            if len(alive) >= count or len(nearest) < wanted or wanted >= rows:
                return alive[:count]
            wanted *= 4

    def _by_both(self, searcher: Any, query: str, count: int) -> list[Hit]:
        depth = max(count, HYBRID_DEPTH)
        text, vector = self._by_text(searcher, query, depth), self._by_vector(searcher, query, depth)
        return fuse(self.fusion, text, vector, self.text_weight)

    def _ids_of(self, searcher: Any, rows: list[int]) -> dict[int, str]:
        """Return the ids of the documents that refer to these rows."""
        if not rows:
            return {}
        query = _tantivy().Query.term_set_query(self._text.schema, "row", rows)
        found = [searcher.doc(address) for _, address in searcher.search(query, limit=len(rows), count=False).hits]
        return {document.get_first("row"): document.get_first("id") for document in found}

    def _document(self, searcher: Any, hit: Hit, rank: int) -> dict[str, Any]:
        query = _tantivy().Query.term_query(self._text.schema, "id", hit.key)
        ((_, address),) = searcher.search(query, limit=1, count=False).hits
        document: dict[str, Any] = json.loads(searcher.doc(address).get_first("document"))
        return document | {"source_key": hit.key, "source_score": hit.score, "source_rank": rank}

    def _texts(self, documents: list[Any]) -> list[list[str | None]]:
        """Return a column of texts per searched field. A document may lack some of them, not all."""
        fields = self._described.fields
        if fields is None:
            return [texts_of(documents)]
        for at, document in enumerate(documents):
            if not isinstance(document, str) and not any(name in document for name in fields):
                raise InvalidInput(f"document {at} has no field {', '.join(fields)}; it has {', '.join(map(str, document))}")
        return [_column(documents, name) for name in fields]

    def _write(self, writer: Any, ids: list[str], stored: list[bytes], columns: list[list[str | None]]) -> None:
        rows = self._rows([" ".join(filter(None, texts)) for texts in zip(*columns, strict=True)])
        for at, name in enumerate(ids):
            document = _tantivy().Document()
            document.add_text("id", name)
            document.add_bytes("document", stored[at])
            if at in rows:
                document.add_unsigned("row", rows[at])
            for field, column in enumerate(columns):
                document.add_text(f"text{field}", column[at] or "")
            writer.delete_documents_by_term("id", name)
            writer.add_document(document)

    def _rows(self, texts: list[str]) -> dict[int, int]:
        """Put the texts' vectors on the disk and return each one's row; a text that says nothing has none."""
        said = [at for at, text in enumerate(texts) if text.strip()]
        if self._vectors is None or self._embed is None or not said:
            return {}
        vectors = document_vectors(self._embed, [texts[at] for at in said])
        if vectors.shape[1] != self._vectors.dimensions:
            raise SourceError(f"the embedder gave {vectors.shape[1]} dimensions; this index has {self._vectors.dimensions}")
        return dict(zip(said, self._vectors.append(vectors), strict=True))

    def _grow(self) -> None:
        if self._vectors is not None:
            with self._writing:
                self._vectors.improve()

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Any]:
        try:
            writer = self._text.writer(WRITER_MEMORY, 1)
        except ValueError as error:
            if "lock" in str(error).lower():
                raise SourceError(f"another process is adding to {self.path}; wait for it, or for its end") from None
            raise _damaged(self.path, error) from error
        try:
            yield writer
        except BaseException as error:
            writer.rollback()
            if isinstance(error, ValueError | OSError) and not isinstance(error, PodiumError):
                raise _damaged(self.path, error) from error
            raise
        finally:
            writer.wait_merging_threads()  # and lets others write

    def _searcher(self) -> Any:
        try:
            self._text.reload()
        except ValueError as error:
            raise _damaged(self.path, error) from error
        return self._text.searcher()

    def _checked_mode(self, mode: Mode) -> Mode:
        if mode not in _RANKED:
            raise InvalidInput(f"mode must be text, vector or hybrid, not {mode!r:.40}")
        if mode != "text" and self._vectors is None:
            raise InvalidInput(f"mode={mode!r} needs vectors, and this index has none; create it with embed=")
        if mode != "text" and self._embed is None:
            raise InvalidInput(
                f"mode={mode!r} needs the embedder of this index, {self.embedder or 'a callable'}; open it with embed="
            )
        return mode

    def _check_rows(self) -> None:
        """Refuse an index whose vectors were cut short by anything but a writer of ours."""
        if self._vectors is None:
            return
        searcher = self._searcher()
        last = searcher.search(_tantivy().Query.all_query(), limit=1, count=False, order_by_field="row").hits
        if last and last[0][0] is not None and last[0][0] >= len(self._vectors.rows()):
            raise SourceError(f"{self.path} is damaged: it has fewer vectors than documents that have one; index it again")


_RANKED = {"text": EmbeddedIndex._by_text, "vector": EmbeddedIndex._by_vector, "hybrid": EmbeddedIndex._by_both}


def is_index(path: str | os.PathLike[str]) -> bool:
    """Say whether a folder is an index of ours."""
    return (Path(path) / DESCRIPTION).exists()


def _tantivy() -> Any:
    return needed("tantivy", "index")


def _analyzer(language: str | None) -> Any:
    tantivy = _tantivy()
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.remove_long(100))
    builder = builder.filter(tantivy.Filter.lowercase())
    if language is not None:
        builder = builder.filter(tantivy.Filter.stopword(language)).filter(tantivy.Filter.stemmer(language))
    return builder.build()


def _schema(described: Description) -> Any:
    builder = _tantivy().SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", stored=True, indexed=True, fast=True)
    builder.add_bytes_field("document", stored=True)
    for at in range(len(described.fields or [""])):
        builder.add_text_field(f"text{at}", tokenizer_name="podium", index_option="freq")
    return builder.build()


def _column(documents: list[Any], name: str) -> list[str | None]:
    """Return one field of every document as text; a string is its own first and only field."""
    has = [isinstance(document, str) or name in document for document in documents]
    texts = iter(texts_of([document for document, there in zip(documents, has, strict=True) if there], (name,)))
    return [next(texts) if there else None for there in has]


def _stored(document: Any, at: int) -> bytes:
    if not isinstance(document, str | Mapping):
        raise InvalidInput(f"document {at} is a {type(document).__name__}; an index takes strings and mappings")
    held = {"text": document} if isinstance(document, str) else dict(document)
    try:
        return valid_unicode(json.dumps(held, ensure_ascii=False)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"document {at} cannot be written as JSON ({error}); keep strings, numbers, lists and dicts"
        ) from None


def _checked_ids(ids: Iterable[str] | None, count: int) -> list[str]:
    if ids is None:
        return [uuid.uuid4().hex for _ in range(count)]
    named = [ids] if isinstance(ids, str) else list(ids)
    if isinstance(ids, str) or len(named) != count or not all(isinstance(name, str) and name for name in named):
        raise InvalidInput(f"ids must be a list of {count} strings, one for each document")
    if len(set(named)) < count:
        twice = next(name for at, name in enumerate(named) if name in named[:at])
        raise InvalidInput(f"two documents have the id {twice[:80]!r}; the second would take the first's place")
    return named


def _checked_fields(text: Any) -> dict[str, float] | None:
    if text is None:
        return None
    weights = {text: 1.0} if isinstance(text, str) else dict(text) if isinstance(text, Mapping) else dict.fromkeys(text, 1.0)
    if not weights or not all(isinstance(name, str) and name for name in weights):
        raise InvalidInput("text must be a field's name, several, or {name: weight}")
    if not all(isinstance(weight, int | float) and 0 < weight < float("inf") for weight in weights.values()):
        raise InvalidInput("the weight of a text field must be a positive number")
    return {name: float(weight) for name, weight in weights.items()}


def _check_room(folder: Path) -> None:
    """Refuse a folder that holds anything but what a `create` that was killed leaves."""
    if is_index(folder):
        raise SourceError(f"{folder} is an index already; open it, or delete the folder first")
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {TEXT_FOLDER}):
        raise SourceError(
            f"{folder} is there already and is no index of podium's; name a folder that is empty or not there yet"
        )
    shutil.rmtree(folder / TEXT_FOLDER, ignore_errors=True)


def _name(embed: Any) -> str | None:
    name = getattr(embed, "model", None)
    return name if isinstance(name, str) else None


def _probe(embed: Embed | None) -> tuple[float, ...]:
    return () if embed is None else tuple(float(value) for value in document_vectors(embed, [PROBE])[0])


def _check_embedder(folder: Path, described: Description, embed: Embed | None) -> None:
    if embed is None:
        return
    if not described.probe:
        raise SourceError(f"{folder} was made without an embedder; leave embed= out, or index the documents again with it")
    import numpy as np

    now, then = np.array(_probe(embed)), np.array(described.probe)
    lengths = np.linalg.norm(now) * np.linalg.norm(then)
    if now.shape != then.shape or not lengths or now @ then / lengths < SAME_EMBEDDER:
        raise SourceError(
            f"{folder} was made with another embedder ({described.embedder or 'a callable'}, {len(then)} dimensions) than "
            f"{_name(embed) or 'the one given'} ({len(now)} dimensions); open it with that one, or index the documents again"
        )


def _write_description(folder: Path, described: Description) -> None:
    unfinished = folder / TEXT_FOLDER / DESCRIPTION
    unfinished.write_text(json.dumps(asdict(described)), encoding="utf-8")
    os.replace(unfinished, folder / DESCRIPTION)


def _description(folder: Path) -> Description:
    if not folder.is_dir():
        raise SourceError(f"there is no folder {str(folder)[:200]}; make an index with EmbeddedIndex.create or podium index")
    if not is_index(folder):
        raise SourceError(f"{folder} is no index of podium's: it has no {DESCRIPTION}")
    try:
        said = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        described = Description(**said | {"probe": tuple(said["probe"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, error) from error
    if described.layout != LAYOUT:
        raise SourceError(f"{folder} is of layout {described.layout}, this podium reads {LAYOUT}; index the documents again")
    return described


def _damaged(path: Path | None, error: Exception) -> SourceError:
    return SourceError(
        f"the index {path or 'in memory'} cannot be used: {str(error)[:200]}; if this stays, index the documents again"
    )
