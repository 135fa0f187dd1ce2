"""The parts of a document that an index stores and searches, and checks of ids. Errors name a document by its number."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from podium.documents import has_field, texts_of, valid_unicode
from podium.errors import InvalidInput
from podium.sources.serialization import json_text

__all__ = ["checked_ids", "document_ids", "searched_texts", "stored_json"]

LONGEST_ID = 1_000


def stored_json(document: Any, number: int, text_field: str) -> bytes:
    """Return the JSON of a document; a string becomes {text_field: string}.

    Raises InvalidInput if the document is neither a string nor a mapping, or cannot be written as JSON.
    """
    if not isinstance(document, str | Mapping):
        raise InvalidInput(f"document {number} is a {type(document).__name__}; an index takes strings and mappings")
    if isinstance(document, Mapping) and not all(isinstance(name, str) for name in document):
        raise InvalidInput(f"document {number} has a field whose name is not a string, which JSON does not allow")
    record = {text_field: document} if isinstance(document, str) else dict(document)
    return valid_unicode(json_text(record, number, keep_nan=True)).encode()


def searched_texts(document: Any, number: int, fields: Mapping[str, float] | None) -> tuple[str | None, ...]:
    """Return the text of each field in `fields`, which maps names to weights; None for a field that the document lacks.

    If `fields` is None, return the document's own text, as a tuple of one. If the document is a string, that
    string is the text of every field. Raises InvalidInput if a document has none of the fields.
    """
    if fields is None or isinstance(document, str):
        text = texts_of([document], argument="text", start=number)[0]
        return (text,) * (1 if fields is None else len(fields))
    if not any(has_field(document, name) for name in fields):
        names = ", ".join(map(str, document))
        raise InvalidInput(f"document {number} has no field {', '.join(fields)}; it has {names}; name one that it has")
    return tuple(_field_text(document, number, name) for name in fields)


def _field_text(document: Any, number: int, name: str) -> str | None:
    if not has_field(document, name):
        return None
    return texts_of([document], (name,), argument="text", start=number)[0]


def document_ids(ids: Any, count: int) -> list[str]:
    """Return the ids of `count` new documents, or random ids if `ids` is None.

    Raises InvalidInput if an id is invalid or repeated, or if there are not `count` ids.
    """
    if ids is None:
        return [uuid.uuid4().hex for _ in range(count)]
    valid = checked_ids(ids)
    if len(valid) != count:
        raise InvalidInput(f"there are {len(valid)} ids for {count} documents; pass one id for each document, or none at all")
    if len(set(valid)) < count:
        repeated = Counter(valid).most_common(1)[0][0]
        raise InvalidInput(f"two documents have the id {repeated[:80]!r}; the second would replace the first")
    return valid


def checked_ids(ids: Any) -> list[str]:
    """Return the ids as a list, with unpaired surrogates replaced. Raises InvalidInput for an empty or too long one."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInput(f"ids must be a list of strings, not {ids!r:.40}")
    values = list(ids)
    if not all(isinstance(value, str) and value for value in values):
        raise InvalidInput("ids must be a list of strings, none of them empty")
    if too_long := next((value for value in values if len(value) > LONGEST_ID), None):
        raise InvalidInput(f"the id {too_long[:40]!r}… has {len(too_long)} characters; an id has at most {LONGEST_ID}")
    return [valid_unicode(value) for value in values]
