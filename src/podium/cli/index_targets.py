"""Where `podium index` puts documents: an index on Redis, or in a folder. Each can be listed, emptied in part, and dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from podium.errors import InvalidInput, SourceError
from podium.places import embedder, is_url, split_server, split_url
from podium.sources.embedded import description as descriptions
from podium.sources.embedded import index as embedded
from podium.sources.embedded.index import EmbeddedIndex, is_index
from podium.types import Embed, Progress

if TYPE_CHECKING:
    from podium.sources.redis.index import RedisIndex

__all__ = ["FolderTarget", "IndexOptions", "IndexTarget", "delete", "drop", "listing", "redis_target"]

Row = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What can be chosen about an index when it is made. `language` is a folder's, "none" for no stemmer; see RedisIndex."""

    text: dict[str, float] | None = None
    embed: str | None = None
    ids_from: str = ""
    language: str | None = None
    # on Redis
    tags: Sequence[str] = ()
    numbers: Sequence[str] = ()
    vector: str | None = None
    storage: str | None = None
    prefix: str | None = None
    tag_separator: str | None = None
    m: int | None = None
    ef_construction: int | None = None

    def on_redis(self) -> dict[str, Any]:
        """Return the chosen options that only an index on Redis has."""
        names = ("tags", "numbers", "vector", "storage", "prefix", "tag_separator", "m", "ef_construction")
        return {name: value for name in names if (value := getattr(self, name)) not in (None, (), [])}


class IndexTarget(Protocol):
    """An index that is being loaded: `check` every document, then `prepare`, `add` and `finish`."""

    notes: list[str]

    @property
    def batch(self) -> int: ...
    @property
    def embed(self) -> Embed | None: ...

    def check(self, documents: Sequence[Any], ids: Sequence[str]) -> None: ...
    def prepare(self, documents: int, waited: Progress) -> None: ...
    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]: ...
    def add(self, documents: Sequence[Any], *, ids: Sequence[str]) -> Any: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


def redis_target(where: str, options: IndexOptions) -> RedisIndex:
    from podium.sources.redis.index import RedisIndex

    url, name = split_url(where)
    text, embed = options.text or {}, embedder(options.embed)
    return RedisIndex(url, name, text=text, embed=embed, ids_from=options.ids_from, **options.on_redis())


class FolderTarget:
    """An index in a folder. Nothing is made before `prepare`: until then all documents are known to fit."""

    def __init__(self, where: str, options: IndexOptions) -> None:
        self._where, self._options, self._exists = where, options, is_index(where)
        self.notes: list[str] = []
        self._language = None if options.language == "none" else options.language or "english"
        self._index = EmbeddedIndex.open(where) if self._exists else self._created(None)
        self._loading = contextlib.ExitStack()
        if self._exists:
            self._check_options()

    @property
    def batch(self) -> int:
        return self._index.batch

    @property
    def embed(self) -> Embed | None:
        return self._index.embed

    def check(self, documents: Sequence[Any], ids: Sequence[str]) -> None:
        self._index.check(documents, ids=ids)

    def prepare(self, documents: int, waited: Progress) -> None:
        if not self._exists:
            self._index = self._created(self._where)
        self._loading.enter_context(descriptions.loading(Path(self._where)))
        if self._exists:
            self._index = EmbeddedIndex.open(self._where, embed=embedder(self._options.embed or self._index.embedder))

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        return self._index.unchanged(documents, ids)

    def add(self, documents: Sequence[Any], *, ids: Sequence[str]) -> Any:
        return self._index.add(documents, ids=ids)

    def finish(self) -> None:
        """Do nothing: what `add` returned from can be found."""

    def close(self) -> None:
        """Let others load."""
        self._loading.close()

    def _created(self, where: str | None) -> EmbeddedIndex:
        embed = None if where is None else embedder(self._options.embed)
        ids_from = self._options.ids_from
        return EmbeddedIndex.create(where, text=self._options.text, embed=embed, language=self._language, ids_from=ids_from)

    def _check_options(self) -> None:
        index, options = self._index, self._options
        fields_differ = options.text is not None and options.text != index.text_weights
        if fields_differ or (options.language and self._language != index.language):
            read = "each document's own text" if index.text_fields is None else f"--text {','.join(index.text_fields)}"
            raise InvalidInput(f"{self._where} was made with {read} and --language {index.language or 'none'}; it keeps them")
        descriptions.check_ids(self._where, index.ids_from, options.ids_from)


def listing(where: str) -> list[Row]:
    """Return name, number of documents, and fields of each index at a place: one index, a server's, or a folder's."""
    if is_url(where):
        from podium.sources.redis.admin import indexes

        return indexes(*split_server(where))
    folder = Path(where)
    if not folder.is_dir():
        raise SourceError(f"there is no folder {where!r:.200}; name the folder of an index, or one that contains some")
    folders = [folder] if is_index(folder) else sorted(path for path in folder.glob("*") if is_index(path))
    return [_folder_row(path) for path in folders]


def delete(where: str, ids: Iterable[str]) -> int:
    """Delete documents by their ids; return how many were there."""
    if not is_url(where):
        return EmbeddedIndex.open(where).delete(ids)
    from podium.sources.redis import admin as redis_admin

    return redis_admin.delete(*split_url(where), list(ids))


def drop(where: str) -> int | None:
    """Delete an index and its documents; return how many there were, None where the index is too damaged to tell."""
    if not is_url(where):
        return embedded.drop(where)
    from podium.sources.redis import admin as redis_admin

    return redis_admin.drop(*split_url(where))


def _folder_row(folder: Path) -> Row:
    try:
        index = EmbeddedIndex.open(folder)
    except SourceError as error:
        return (folder.name, "?", str(error))
    fields = ", ".join(index.text_fields or ["each document's own text"])
    return (folder.name, str(len(index)), f"{fields}; vectors of {index.embedder}" if index.embedder else fields)
