"""Where an index is, as users write it: redis://host/name, ./folder, or a file to index on the spot → Source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import podium.formats as formats
from podium.errors import InvalidInput, SourceError
from podium.inputs import comma_list, without_none
from podium.sources.embedded.index import EmbeddedIndex, is_index
from podium.sources.fusion import Fusion, Mode
from podium.sources.loading import identified
from podium.sources.redis.connection import SCHEMES

if TYPE_CHECKING:
    from podium.local.embedder import Embedder
    from podium.sources.redis.source import RedisSource

__all__ = ["SourceOptions", "embedder", "is_url", "load_source", "split_server", "split_url", "weights"]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What can be chosen about a source; None is the source's own default.

    `text` are the fields to search (None: a Redis index's text fields, a document's own text), `embed` an embedder's name; a
    folder's index knows its own. The second part is for an index on Redis. See RedisSource and EmbeddedIndex.
    """

    text: Sequence[str] | Mapping[str, float] | None = None
    embed: str | None = None
    mode: Mode | None = None
    fusion: Fusion | None = None
    text_weight: float | None = None
    # on Redis
    vector: str | None = None
    filter: str | None = None
    return_fields: Sequence[str] | None = None
    ef_runtime: int | None = None
    timeout: float | None = None

    def named(self, *names: str) -> dict[str, Any]:
        """Return those of the named options that were chosen."""
        return without_none({name: getattr(self, name) for name in names})


FUSION = ("fusion", "text_weight")
ON_REDIS = ("vector", "filter", "return_fields", "ef_runtime", "timeout")


def load_source(
    where: str | os.PathLike[str], options: SourceOptions | None = None, **chosen: Any
) -> RedisSource | EmbeddedIndex:
    """Return the source at a place: an index on Redis by its URL, the index of a folder, or a file's documents in memory.

    Takes SourceOptions, or its fields as keyword arguments. Raises InvalidInput, SourceError, ModelError.
    """
    options = options or SourceOptions(**_known(chosen))
    place = os.fspath(where)
    if is_url(place):
        from podium.sources.redis.source import RedisSource

        url, index = split_url(place)
        own = options.named("mode", *FUSION, *ON_REDIS)
        return RedisSource.from_url(url, index=index, text=options.text, embed=embedder(options.embed), **own)
    if unfit := options.named(*ON_REDIS):
        names = ", ".join("a filter" if name == "filter" else name for name in unfit)
        raise InvalidInput(f"{names}: only for an index on Redis; one in a folder or a file does not have this")
    if Path(place).is_dir() or not Path(place).exists():
        return _opened(place, options)
    made = EmbeddedIndex.create(None, text=options.text, embed=embedder(options.embed), **options.named("mode", *FUSION))
    documents = list(identified(formats.stream(place), None))  # ids that are the same each time
    made.add([document for _, document in documents], ids=[name for name, _ in documents])
    return made


def _known(chosen: dict[str, Any]) -> dict[str, Any]:
    names = [field.name for field in fields(SourceOptions)]
    if unknown := sorted(set(chosen) - set(names)):
        raise InvalidInput(f"there is no option {', '.join(unknown)} of a source; there are {', '.join(names)}")
    return chosen


def embedder(name: str | None) -> Embedder | None:
    """Return the embedder of a name, None for None."""
    if name is None:
        return None
    from podium.local.embedder import Embedder

    return Embedder(name)


def is_url(where: str) -> bool:
    """Say whether a place is a server, not a path. Raises InvalidInput for a URL of an unknown kind."""
    scheme, mark, _ = where.partition("://")
    if mark and scheme not in SCHEMES:
        raise InvalidInput(
            f"a place with :// is on Redis, and begins with {', '.join(SCHEMES)}; write it like that, in small letters"
        )
    return bool(mark)


def split_url(url: str) -> tuple[str, str]:
    """Return a URL without its last part, and that: the index's name.

        >>> split_url("redis://localhost:6379/docs"), split_url("redis+sentinel://localhost/mymaster/docs")
        (('redis://localhost:6379', 'docs'), ('redis+sentinel://localhost/mymaster', 'docs'))

    A socket has it as `?index=`: unix:///run/redis.sock?index=docs. Raises InvalidInput where there is none.
    """
    server, name = split_server(url)
    if not name:
        raise InvalidInput("the URL names no index; write redis://host:port/name, or unix://…?index=name")
    return server, name


def split_server(url: str) -> tuple[str, str]:
    """Do what `split_url` does; the name is "" where the URL names a server only."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is where a password with a / in it shows
    except ValueError:
        raise InvalidInput(
            "the URL cannot be read; write special characters of its user name and password as %2F and the like"
        ) from None
    if parts.fragment:
        raise InvalidInput("the URL has a # in it; write it as %23 in a password, and name an index without one")
    query = dict(parse_qsl(parts.query))
    if (name := query.pop("index", "")) or parts.scheme == "unix":
        path = parts.path
    else:
        path, _, name = parts.path.rpartition("/")
        if name.isdecimal():  # a database
            path, name = parts.path, ""
    _check_path(parts.scheme, path)
    rest = f"?{urlencode(query)}" if query else ""  # by hand: urlunsplit drops the empty host of unix://
    return f"{parts.scheme}://{parts.netloc}{path}{rest}", name


def _check_path(scheme: str, path: str) -> None:
    """Refuse a path between host and name that would be ignored, or where RediSearch has no indexes."""
    before = [part for part in path.split("/") if part]
    if scheme == "unix":
        return
    if scheme == "redis+sentinel":
        before = before[1:]  # the service
    if before not in ([], ["0"]):
        raise InvalidInput(
            "the URL has more than an index's name after the host; RediSearch keeps indexes in database 0 only, so write "
            "redis://host:port/name, a name that has a / in it as ?index=name, and a / in a password as %2F"
        )


def _opened(path: str, options: SourceOptions) -> EmbeddedIndex:
    if not Path(path).exists():
        raise SourceError(f"there is no {path[:200]}: name a file of documents, an index's folder, or redis://host/name")
    if not is_index(path):
        raise SourceError(f"{path} is not an index of podium; make one with podium index FILE --to {path}")
    if options.text is not None:
        raise InvalidInput(f"{path} was made with the fields it searches; leave them out")
    own = EmbeddedIndex.open(path).embedder
    name = options.embed or (own if options.mode != "text" else None)
    return EmbeddedIndex.open(path, embed=embedder(name), **options.named("mode", *FUSION))


def weights(names: str | None) -> dict[str, float] | None:
    """Return fields and weights as they are written on the command line; None where there are none.

    >>> weights("title^2,text")
    {'title': 2.0, 'text': 1.0}
    """
    return dict(_weighted(name) for name in comma_list(names)) or None


def _weighted(name: str) -> tuple[str, float]:
    field, mark, weight = name.rpartition("^")
    try:
        return (field, float(weight)) if mark and field else (name, 1.0)
    except ValueError:  # a field whose name has a ^ in it
        return name, 1.0
