"""REDIS, the kind of place for indexes on Redis, which are named by URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from podium.documents import TEXT_KEYS, texts_of
from podium.errors import InvalidInput
from podium.sources.loading import Target
from podium.sources.place import EmbedderLoader, IndexOptions, PlaceKind, SourceOptions
from podium.sources.redis import admin
from podium.sources.redis.connection import SCHEMES
from podium.sources.redis.index import RedisIndex
from podium.sources.redis.source import RedisSource

__all__ = ["REDIS", "split_server", "split_url"]

SOURCE_OPTIONS = ("vector", "filter", "return_fields", "ef_runtime", "timeout")
INDEX_OPTIONS = ("tags", "numbers", "vector", "storage", "prefix", "tag_separator", "m", "ef_construction")


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of a server and the name of an index, which is the last part of the path.

        >>> split_url("redis://localhost:6379/docs"), split_url("redis+sentinel://localhost/mymaster/docs")
        (('redis://localhost:6379', 'docs'), ('redis+sentinel://localhost/mymaster', 'docs'))

    The parameter `index` can name it instead, and must for a socket: unix:///run/redis.sock?index=docs. Raises InvalidInput if
    the URL is not valid or names no index.
    """
    server, name = split_server(url)
    if not name:
        raise InvalidInput("the URL names no index; write redis://host:port/name, or unix://…?index=name")
    return server, name


def split_server(url: str) -> tuple[str, str]:
    """Do what `split_url` does, but return "" as the name if the URL names no index."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if the password contains a /
    except ValueError:
        raise InvalidInput(
            "the URL cannot be read; write special characters of its user name and password as %2F and the like"
        ) from None
    if parts.fragment:
        raise InvalidInput("the URL has a # in it; write it as %23 in a password, and name an index without one")
    parameters = dict(parse_qsl(parts.query))
    path = parts.path
    name = parameters.pop("index", "")
    if not name and parts.scheme != "unix":
        parent, _, last = path.rpartition("/")
        if not last.isdecimal():  # a number is the number of a database
            path = parent
            name = last
    _check_path(parts.scheme, path)
    query_string = f"?{urlencode(parameters)}" if parameters else ""
    # Not urlunsplit, which would write unix:/path instead of unix:///path.
    return f"{parts.scheme}://{parts.netloc}{path}{query_string}", name


def _check_path(scheme: str, path: str) -> None:
    """Raise InvalidInput if the path names more than database 0, the only one that can have indexes.

    `path` does not include the name of the index. In a URL of Sentinel, it may begin with the name of the service.
    """
    parts = [part for part in path.split("/") if part]
    if scheme == "unix":
        return
    if scheme == "redis+sentinel":
        parts = parts[1:]  # the first part is the name of the service
    if parts not in ([], ["0"]):
        raise InvalidInput(
            "the URL has more than an index's name after the host; RediSearch keeps indexes in database 0 only, so write "
            "redis://host:port/name, a name that has a / in it as ?index=name, and a / in a password as %2F"
        )


def _source(place: str, options: SourceOptions, load_embedder: EmbedderLoader) -> RedisSource:
    url, index = split_url(place)
    arguments = options.only("mode", "fusion", "text_weight", *SOURCE_OPTIONS)
    return RedisSource.from_url(url, index=index, text=options.text, embed=load_embedder(options.embed), **arguments)


def _target(place: str, options: IndexOptions, load_embedder: EmbedderLoader) -> Target:
    url, index = split_url(place)
    text = options.text or {_text_field(options.sample): 1.0}
    arguments = options.only("ids_from", *INDEX_OPTIONS)
    return RedisIndex(url, index, text=text, embed=load_embedder(options.embed), **arguments)


def _text_field(document: Any) -> str:
    """Return the name of the field with a document's text. Raises InvalidInput if no field has one of TEXT_KEYS as its name."""
    texts_of([document], argument="text")  # raises the error
    return next(key for key in TEXT_KEYS if key in document) if isinstance(document, Mapping) else "content"


def _compact(place: str) -> tuple[int, int]:
    raise InvalidInput("an index on Redis has nothing to compact: the vector and encodings of a document are deleted with it")


REDIS = PlaceKind(
    location="on Redis",
    example="redis://host:port/name",
    matches=lambda place: "://" in place and place.partition("://")[0] in SCHEMES,
    source_options=SOURCE_OPTIONS,
    index_options=INDEX_OPTIONS,
    source=_source,
    target=_target,
    summaries=lambda place: admin.indexes(*split_server(place)),
    delete=lambda place, ids: admin.delete(*split_url(place), ids),
    compact=_compact,
    drop=lambda place: admin.drop(*split_url(place)),
)
