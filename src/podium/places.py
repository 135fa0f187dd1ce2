"""Where an index is, as users write it: redis://host/name, ./folder, or a file to make one of on the spot → Source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from podium.errors import InvalidInput, SourceError
from podium.sources import files
from podium.sources.embedded import EmbeddedIndex, is_index
from podium.sources.fusion import Mode
from podium.sources.loading import identified
from podium.sources.redis_server import SCHEMES

if TYPE_CHECKING:
    from podium.local.embed import Embedder
    from podium.sources.redis import RedisSource

__all__ = ["embedder", "is_url", "listed", "load_source", "split_url"]


def load_source(
    where: str | os.PathLike[str],
    *,
    text: Sequence[str] | Mapping[str, float] | None = None,
    embed: str | None = None,
    mode: Mode | None = None,
    filter: str | None = None,  # noqa: A002  as in RedisSource
) -> RedisSource | EmbeddedIndex:
    """Return the source at a place: an index on Redis by its URL, the index of a folder, or a file's documents in memory.

    `text` are the fields to search (None: a Redis index's text fields, a document's own text), `embed` an embedder's
    name; a folder's index knows its own. Raises InvalidInput, SourceError, ModelError.
    """
    said = os.fspath(where)
    if is_url(said):
        from podium.sources.redis import RedisSource

        url, index = split_url(said)
        return RedisSource.from_url(url, index=index, text=text, embed=embedder(embed), mode=mode, filter=filter)
    if filter is not None:
        raise InvalidInput("a filter is for an index on Redis; one in a folder or a file has none")
    if Path(said).is_dir() or not Path(said).exists():
        return _opened(said, text, embed, mode)
    made = EmbeddedIndex.create(None, text=text, embed=embedder(embed), mode=mode)
    documents = list(identified(files.stream(said), None))  # ids that are the same each time
    made.add([document for _, document in documents], ids=[name for name, _ in documents])
    return made


def embedder(name: str | None) -> Embedder | None:
    """Return the embedder of a name, None for None."""
    if name is None:
        return None
    from podium.local.embed import Embedder

    return Embedder(name)


def is_url(where: str) -> bool:
    """Say whether a place is a server, not a path. Raises InvalidInput for a URL of no kind that is known."""
    scheme, mark, _ = where.partition("://")
    if mark and scheme not in SCHEMES:
        raise InvalidInput(
            f"a place with :// is on Redis, and begins with {', '.join(SCHEMES)}; write it like that, in small letters"
        )
    return bool(mark)


def split_url(url: str) -> tuple[str, str]:
    """Return a URL without its last part, and that: the index's name.

        >>> split_url("redis://localhost:6379/docs"), split_url("redis://localhost/2/docs")
        (('redis://localhost:6379', 'docs'), ('redis://localhost/2', 'docs'))

    A socket has it as `?index=`: unix:///run/redis.sock?index=docs. Raises InvalidInput where there is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is where a password with a / in it shows
    except ValueError:
        raise InvalidInput(
            "the URL cannot be read; write what is odd in its user name and password as %2F and its like"
        ) from None
    if parts.fragment:
        raise InvalidInput("the URL has a # in it; write it as %23 in a password, and name an index without one")
    asked = dict(parse_qsl(parts.query))
    if (named := asked.pop("index", "")) or parts.scheme == "unix":
        path, name = parts.path, named
    else:
        path, _, name = parts.path.rpartition("/")
    if not name or name.isdecimal():
        raise InvalidInput("the URL names no index; write redis://host:port/name, redis://host/db/name, or unix://…?index=name")
    left = f"?{urlencode(asked)}" if asked else ""  # by hand: urlunsplit drops the empty host of unix://
    return f"{parts.scheme}://{parts.netloc}{path}{left}", name


def _opened(path: str, text: Any, embed: str | None, mode: Mode | None) -> EmbeddedIndex:
    if not Path(path).exists():
        raise SourceError(f"there is no {path[:200]}: name a file of documents, an index's folder, or redis://host/name")
    if not is_index(path):
        raise SourceError(f"{path} is no index of podium's; make one with podium index FILE --to {path}")
    if text is not None:
        raise InvalidInput(f"{path} was made with the fields it searches; leave them out")
    own = EmbeddedIndex.open(path).embedder
    return EmbeddedIndex.open(path, embed=embedder(embed or (own if mode != "text" else None)), mode=mode)


def listed(names: str | None) -> list[str]:
    """Return names that were written with commas between them."""
    return [name.strip() for name in names.split(",") if name.strip()] if names else []
