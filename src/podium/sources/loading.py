"""Load documents into an index in batches.

If a run is interrupted, the next run continues it: documents get the same ids in every run, and documents that the index
already has are skipped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from podium.documents import valid_unicode
from podium.errors import InvalidInput
from podium.ranking import Reranker
from podium.types import Embed, Progress

__all__ = ["Loaded", "Target", "check_ids_from", "load_into", "with_ids"]

ENCODED_AT_ONCE = 500  # documents of a batch whose encodings are computed; more would delay the display of progress


class Target(Protocol):
    """An index that documents are loaded into.

    - `batch`: the largest number of documents that `add` takes. `embed`: the embedder of the index, None without vectors.
    - `check`: raise InvalidInput if `add` would refuse this document. The error names the document's number.
    - `prepare`: create the index for about `count` documents if it does not exist, and prevent other processes from loading
      documents into it. While it waits for the server, it calls `progress` with the additional percentage that is done.
    - `unchanged`: return the ids of those documents that the index already has in exactly this form.
    - `add`: write documents. A document replaces the one that has its id.
    - `kept_models`: the names of the models whose encodings the index has.
    - `keep`: store a reranker's encodings of documents that the index has, and return how many were computed.
    - `finish`: raise SourceError if searches cannot find some of the documents. After it, `notes` are warnings for the user.
    - `close`: let other processes load documents, and close connections.
    """

    @property
    def batch(self) -> int: ...
    @property
    def embed(self) -> Embed | None: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def kept_models(self) -> Sequence[str]: ...

    def check(self, document: Any, document_id: str, number: int) -> None: ...
    def prepare(self, count: int, progress: Progress) -> None: ...
    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]: ...
    def add(self, documents: Sequence[Any], *, ids: Sequence[str]) -> Any: ...
    def keep(self, documents: Sequence[Any], reranker: Reranker) -> int: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


def with_ids(documents: Iterable[Any], field: str | None) -> Iterator[tuple[str, Any]]:
    """Yield (id, document) for each document. The id is the value of `field`, or a digest of the document if `field` is None.

    The second of equal documents has "-2" after the digest, the third has "-3". Raises InvalidInput if a document lacks the
    field, or if two documents have the same value.
    """
    counts: Counter[str] = Counter()
    for number, document in enumerate(documents):
        document_id = _digest(document) if field is None else _field_value(document, field, number)
        counts[document_id] += 1
        if counts[document_id] > 1 and field is not None:
            raise InvalidInput(
                f"document {number} has the same {field}, {document_id[:80]!r}, as one before it, and would replace it; name a "
                "field that is unique with --id"
            )
        yield (document_id if counts[document_id] == 1 else f"{document_id}-{counts[document_id]}"), document


class Loaded(NamedTuple):
    """How many documents were added, how many the index had already, and how many encodings were computed."""

    added: int
    skipped: int
    encoded: int


def load_into(
    target: Target, documents_with_ids: Iterable[tuple[str, Any]], progress: Progress, keep: Reranker | None = None
) -> Loaded:
    """Add the documents that the index does not have in this form. An item of `documents_with_ids` is (id, document).

    With a reranker `keep`, also store its encodings of all these documents, except those that the index has already. `progress`
    is called with the number of documents of each batch.
    """
    added = 0
    skipped = 0
    encoded = 0
    remaining = iter(documents_with_ids)
    batch_size = target.batch if keep is None else min(target.batch, ENCODED_AT_ONCE)
    while batch := list(itertools.islice(remaining, batch_size)):
        unchanged = target.unchanged([document for _, document in batch], [document_id for document_id, _ in batch])
        new = [(document_id, document) for document_id, document in batch if document_id not in unchanged]
        if new:
            target.add([document for _, document in new], ids=[document_id for document_id, _ in new])
        if keep is not None:
            encoded += target.keep([document for _, document in batch], keep)
        added += len(new)
        skipped += len(unchanged)
        progress(len(batch))
    return Loaded(added, skipped, encoded)


def check_ids_from(index: str, created_with: str | None, ids_from: str | None) -> None:
    """Raise InvalidInput if ids would be taken from another field than when the index was created.

    `created_with` and `ids_from` are names of fields, or "" if ids are digests of documents. If one of them is None, it is
    unknown, and nothing is checked.
    """
    if created_with is None or ids_from is None or created_with == ids_from:
        return
    if created_with:
        message = f"{index} was created with --id {created_with}; use --id {created_with} again"
    else:
        message = f"{index} was created with digests of the documents as ids; leave out --id"
    raise InvalidInput(f"{message}, or its documents would be in the index twice")


def _field_value(document: Any, field: str, number: int) -> str:
    value = document.get(field) if isinstance(document, dict) else None
    if value is None or value == "" or isinstance(value, list | dict):
        raise InvalidInput(
            f"document {number} has no {field!r} to use as its id; leave out --id to have ids computed from the documents"
        )
    return valid_unicode(str(value))


def _digest(document: Any) -> str:
    content = json.dumps(document, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=12).hexdigest()
