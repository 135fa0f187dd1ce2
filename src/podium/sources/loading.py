"""Documents of a file → an index, in batches, so that what was interrupted goes on where it was.

What keeps the documents is the index's business; here is which document has which id, and what is left to do.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from podium.documents import valid_unicode
from podium.errors import InvalidInput
from podium.types import Embed, Progress

__all__ = ["Target", "identified", "load_into"]


class Target(Protocol):
    """Where documents go."""

    @property
    def batch(self) -> int: ...
    @property
    def embed(self) -> Embed | None: ...

    def check(self, documents: Sequence[Any], ids: Sequence[str]) -> None: ...
    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]: ...
    def add(self, documents: Sequence[Any], *, ids: Sequence[str]) -> Any: ...


def identified(documents: Iterable[Any], field: str | None) -> Iterator[tuple[str, Any]]:
    """Yield each document with its id: that field of it, else a digest of what it says.

    The same file gives the same ids each time; the second of two documents that are alike gets a digest with "-2".
    Raises InvalidInput where a document lacks the field, or two have the same in it.
    """
    seen: Counter[str] = Counter()
    for at, document in enumerate(documents):
        name = _digest(document) if field is None else _named(document, field, at)
        seen[name] += 1
        if seen[name] > 1 and field is not None:
            raise InvalidInput(f"document {at} has the {field} {name[:80]!r} of one before it; the second would take its place")
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), document


def load_into(target: Target, documents: Iterable[tuple[str, Any]], advance: Progress) -> tuple[int, int]:
    """Add what is not there yet; return how many documents were added, and how many were there already."""
    added = kept = 0
    left = iter(documents)
    while batch := list(itertools.islice(left, target.batch)):
        ids, given = [name for name, _ in batch], [document for _, document in batch]
        there = target.unchanged(given, ids)
        fresh = [(name, document) for name, document in batch if name not in there]
        if fresh:
            target.add([document for _, document in fresh], ids=[name for name, _ in fresh])
        added, kept = added + len(fresh), kept + len(there)
        advance(len(batch))
    return added, kept


def _named(document: Any, field: str, at: int) -> str:
    value = document.get(field) if isinstance(document, dict) else None
    if value is None or value == "" or isinstance(value, list | dict):
        raise InvalidInput(
            f"document {at} has no {field!r} to be its id; leave --id out to have ids made from what documents say"
        )
    return valid_unicode(str(value))


def _digest(document: Any) -> str:
    said = json.dumps(document, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=12).hexdigest()
