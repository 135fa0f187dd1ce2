"""The keys of an index on Redis, and podium's description of the index.

The keys of the description, the lease and the encodings begin with the prefix of the documents, so that a user whose ACL allows
the documents may access them. Their values are strings, so searches never find them: RediSearch indexes only hashes and JSON.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from podium.embedding import is_same_embedder
from podium.errors import SourceError
from podium.json_values import parse_json
from podium.sources.encodings import KeptModel, models_from_json

__all__ = [
    "Description",
    "check_embedder",
    "default_prefix",
    "description_key",
    "encoding_prefix",
    "is_reserved",
    "keys_pattern",
    "lease_key",
    "prefixes_overlap",
    "read_description",
    "with_separator",
]

DESCRIPTION_ID = ".podium"
LEASE_ID = ".podium-lease"
ENCODING_ID = ".podium-encoding:"  # the beginning of the ids of encodings


@dataclass(frozen=True, slots=True)
class Description:
    """The embedder and the source of ids that an index was made with.

    - `vector`: the field of the vectors, "" without an embedder.
    - `embedder`: the name of the embedder's model. `probe`: its vector of embedding.PROBE, () without an embedder.
    - `ids_from`: the field that ids are taken from, "" if they are digests of the documents, None if unknown.
    - `models`: the models whose encodings of the documents are stored.
    """

    vector: str = ""
    embedder: str | None = None
    probe: tuple[float, ...] = ()
    ids_from: str | None = None
    models: tuple[KeptModel, ...] = ()

    def to_json(self) -> str:
        values = asdict(self)
        models = values.pop("models")
        return json.dumps(values | {"models": models} if models else values)


def read_description(reply: Any) -> Description | None:
    """Return the description in a reply to GET, None if the key does not exist. Raises SourceError if it cannot be read."""
    if reply is None:
        return None
    try:
        values = parse_json(reply)
        probe = tuple(float(number) for number in values["probe"])
        if not all(math.isfinite(number) for number in probe):
            raise ValueError("a number in probe is not finite")
        models = models_from_json(values.get("models", ()))
        return Description(str(values["vector"]), values["embedder"], probe, values["ids_from"], models)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise SourceError(
            f"podium's description of the index cannot be read ({type(error).__name__}); delete the key that ends in "
            f"{DESCRIPTION_ID!r} to continue without it"
        ) from error


def check_embedder(description: Description | None, vector_field: str, probe: Any, index: str) -> None:
    """Raise SourceError if the index was made with another embedder than the one that computed `probe`.

    Does nothing if the embedder of the index is unknown.
    """
    if description is None or not description.probe or description.vector != vector_field:
        return
    if not is_same_embedder(description.probe, probe):
        raise SourceError(
            f"index {index!r} was made with another embedder ({description.embedder or 'a callable'}, "
            f"{len(description.probe)} dimensions); use that one, or index the documents again under another name"
        )


def default_prefix(index: str) -> str:
    """Return the default prefix of an index's keys. Its only colon is the last character, so no default prefix begins another.

    >>> default_prefix("wiki"), default_prefix("wiki:en")
    ('wiki:', 'wiki%3Aen:')
    """
    return index.replace("%", "%25").replace(":", "%3A") + ":"


def with_separator(prefix: str) -> str:
    """Return a prefix with the colon that redisvl puts between prefix and id. An empty prefix stays empty."""
    return prefix if prefix.endswith(":") or not prefix else f"{prefix}:"


def prefixes_overlap(prefix: str, other: str) -> bool:
    """Whether keys that begin with `prefix` may also belong to an index whose prefix is `other`.

    The owner of an index whose prefix is empty knows that it has all keys. So an empty `other` overlaps only with an empty
    prefix.
    """
    return other.startswith(prefix) or (other != "" and prefix.startswith(other))


def description_key(prefix: str) -> str:
    return with_separator(prefix) + DESCRIPTION_ID


def lease_key(prefix: str) -> str:
    return with_separator(prefix) + LEASE_ID


def encoding_prefix(prefix: str) -> str:
    """Return the prefix of the keys of an index's encodings."""
    return with_separator(prefix) + ENCODING_ID


def is_reserved(document_id: str) -> bool:
    """Whether podium reserves the key of a document with this id for itself."""
    return document_id in (DESCRIPTION_ID, LEASE_ID) or document_id.startswith(ENCODING_ID)


def keys_pattern(prefix: str) -> str:
    """Return the pattern with which SCAN finds the keys that begin with a prefix.

    >>> keys_pattern("a*b:")
    'a\\\\*b:*'
    """
    return re.sub(r"([*?\[\]^\\])", r"\\\1", prefix) + "*"
