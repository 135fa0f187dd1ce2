"""What podium keeps on Redis about an index it made: the embedder's fingerprint and the field of the ids. Pure.

It is a string beside the documents, under the index's own prefix: RediSearch indexes hashes or JSON only, so it is never
found as a document, and a user whose ACL covers the documents may read it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from podium.errors import SourceError
from podium.sources.embedding import is_same_embedder

__all__ = [
    "RESERVED",
    "Description",
    "check_embedder",
    "default_prefix",
    "description_key",
    "lease_key",
    "overlap",
    "read",
    "separated",
]

DESCRIPTION, LEASE = ".podium", ".podium-lease"
RESERVED = (DESCRIPTION, LEASE)


@dataclass(frozen=True, slots=True)
class Description:
    """How an index was made.

    `probe` is the embedder's vector of one fixed sentence, () without an embedder. `ids_from` is the field that ids were
    taken from, "" where they are digests of the documents, None where unknown.
    """

    vector: str = ""
    embedder: str | None = None
    probe: tuple[float, ...] = ()
    ids_from: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def default_prefix(index: str) -> str:
    """Return the prefix of an index's keys. It has one colon, at its end: no index's prefix begins with that of another.

    >>> default_prefix("wiki"), default_prefix("wiki:en")
    ('wiki:', 'wiki%3Aen:')
    """
    return index.replace("%", "%25").replace(":", "%3A") + ":"


def separated(prefix: str) -> str:
    """Return a prefix as it stands in keys: redisvl puts a colon between prefix and id."""
    return prefix if prefix.endswith(":") or not prefix else f"{prefix}:"


def overlap(prefix: str, other: str) -> bool:
    """Whether keys with the prefix `prefix` may belong to an index whose prefix is `other`.

    An index without a prefix covers all keys on purpose, so it does not count as `other`, except for another such index.
    """
    return other.startswith(prefix) or (other != "" and prefix.startswith(other))


def description_key(prefix: str) -> str:
    return separated(prefix) + DESCRIPTION


def lease_key(prefix: str) -> str:
    return separated(prefix) + LEASE


def read(reply: Any) -> Description | None:
    """Return the description in a reply to GET, None where there is none."""
    if reply is None:
        return None
    try:
        values = json.loads(reply)
        probe = tuple(float(number) for number in values["probe"])
        if not all(math.isfinite(number) for number in probe):
            raise ValueError("its probe")
        return Description(str(values["vector"]), values["embedder"], probe, values["ids_from"])
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(
            f"the description that podium keeps of the index cannot be read ({type(error).__name__}); delete the key that "
            f"ends in {DESCRIPTION!r} to go on without it"
        ) from error


def check_embedder(description: Description | None, vector: str, probe: Any, index: str) -> None:
    """Refuse an embedder other than the one the index was made with: its vectors mean something else."""
    if description is None or not description.probe or description.vector != vector:
        return
    if not is_same_embedder(description.probe, probe):
        raise SourceError(
            f"index {index!r} was made with another embedder ({description.embedder or 'a callable'}, "
            f"{len(description.probe)} dimensions); use that one, or index the documents again under another name"
        )
