"""Convert documents to text and to JSON.

A document is a string, a mapping, or a document object of another package. Documents are never modified.
"""

from __future__ import annotations

import difflib
import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from podium.errors import Argument, InvalidInput
from podium.field_values import is_empty, is_missing, python_scalar, sorted_items, value_text, yaml_text

__all__ = ["TEXT_KEYS", "TextReader", "as_json", "has_field", "id_of", "source_score_and_rank", "texts_of", "valid_unicode"]

TEXT_KEYS = ("content", "text", "page_content", "passage")
"""A mapping's text is the first of these keys whose value is not empty."""
TEXT_ATTRIBUTES = ("page_content", "content", "text")
"""An object's text is the first of these attributes that is not empty, else what its `get_content()` returns."""

# Limits for suggestions of field names, which compare every unknown name with every known one.
MAX_UNKNOWN_NAMES = 3
MAX_KNOWN_NAMES = 100
MAX_NAME_LENGTH = 100

_ABSENT = object()  # a field that a document lacks; None is a value that it may have


def texts_of(
    documents: Sequence[Any], fields: tuple[str, ...] | None = None, *, argument: str = "rank_by", start: int = 0
) -> list[str | None]:
    """Return each document's text, in order. A document that is None, empty or only white space has the text None.

    With `fields`, the text of a mapping or object is the text of those fields, in that order. One field is returned as it
    is, several as YAML, which Cohere recommends for models that take only strings. A document that is a string is its own
    text. A document may lack some of the fields, but not all, and each field must be in some document. A dotted name such as
    "body.text" is a field of a nested record. Error messages call `fields` by the name `argument`, and count documents from
    `start`.

        >>> texts_of(["a", {"content": "b"}, {"title": "c", "year": 1999}, None], ("title", "year", "content"))
        ['a', 'content: b\\n', 'title: c\\nyear: 1999\\n', None]

    Raises InvalidInput. Its message has the document's index and the names of its fields, never its text.
    """
    reader = TextReader(documents, fields, argument=argument, start=start)
    reader.read(range(len(documents)))
    reader.check_fields()
    return reader.texts


class TextReader:
    """Converts documents to text in parts. `texts_of` describes the arguments, and converts all documents at once."""

    def __init__(
        self, documents: Sequence[Any], fields: tuple[str, ...] | None = None, *, argument: str = "rank_by", start: int = 0
    ) -> None:
        self.documents = documents
        self._fields = fields
        self._argument = argument
        self._start = start
        self._seen_fields: set[str] = set()
        self._texts: dict[int, str | None] = {}

    def read(self, indices: range) -> None:
        """Convert a range of documents, which may end after the last one. Raises InvalidInput."""
        part = self.documents[indices.start : indices.stop]
        for index, document in enumerate(part, start=indices.start):
            self._texts[index] = _text(document, self._start + index, self._fields, self._seen_fields, self._argument)

    @property
    def texts(self) -> list[str | None]:
        """The text of every document. All documents must have been read."""
        return [self._texts[index] for index in range(len(self.documents))]

    def check_fields(self) -> None:
        """Raise InvalidInput if there is a field that no document has. All documents must have been read."""
        documents = self.documents
        unknown = [field for field in self._fields or () if field not in self._seen_fields]
        if unknown and not all(map(_is_text_or_missing, documents)):
            raise unknown_fields(unknown, documents, argument=self._argument)


def unknown_fields(names: Sequence[str], documents: Sequence[Any], *, argument: str = "rank_by") -> InvalidInput:
    """Return the error for fields that none of the documents has. It may suggest names that the first mapping has."""
    first = next(document for document in documents if not _is_text_or_missing(document))
    problem = f" names {_quoted_names(names)}, which no document has; the first has {_quoted_names(_own_names(first))}"
    return InvalidInput(Argument(argument), problem + _suggestion(names, documents))


def missing_field(name: str, documents: Sequence[Any], consequence: str) -> str:
    """Return the note about an optional field that none of the documents has. It may suggest a name that the first one has."""
    return f"no document has the field {name!r:.60}, so {consequence}{_suggestion([name], documents)}"


def has_field(document: Any, name: str) -> bool:
    """Whether a mapping or an object has a field. A dotted name is a field of a nested record."""
    return _field(document, name) is not _ABSENT


def source_score_and_rank(document: Any) -> tuple[float | None, int | None]:
    """Return the `source_score` and `source_rank` that a source added to a document, None for a missing or another value.

    A score is a float, also NaN, and a rank is an int. Numbers that are too large for a float count as other values.
    """
    if isinstance(document, str) or not isinstance(document, Mapping):  # the second check is slow
        return None, None
    score, rank = (python_scalar(_get(document, name)) for name in ("source_score", "source_rank"))
    if isinstance(score, int) and abs(score) > 1e308:
        score = None  # an integer that is too large for a float
    return (
        float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None,
        rank if isinstance(rank, int) and not isinstance(rank, bool) and abs(rank) < 1e308 else None,
    )


def id_of(document: Any) -> str | None:
    """Return the first of a document's `_id`, `id` and `source_key` (added by its source) that is an integer or a string.

    Empty strings are skipped. Returns None if there is no id.
    """
    if not isinstance(document, Mapping):
        return None
    ids = (python_scalar(_get(document, name)) for name in ("_id", "id", "source_key"))
    valid_ids = (value for value in ids if isinstance(value, str | int) and not isinstance(value, bool) and value != "")
    first = next(valid_ids, None)
    return None if first is None else str(first)


def _get(document: Mapping[Any, Any], name: str) -> Any:
    """Return a mapping's value, None if it is absent. A mapping that a user wrote may raise any exception."""
    try:
        return document.get(name)
    except Exception:
        return None


def as_json(document: Any) -> Any:
    """Return the document as a value that `json.dumps` takes. Of an object of another package, that is {"text": its text}."""
    document = python_scalar(document)
    if isinstance(document, str):
        return valid_unicode(document)
    if document is None or isinstance(document, bool | int):
        return document
    if is_missing(document):
        return None
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, bytes):
        return document.decode("utf-8", "replace")
    if isinstance(document, Mapping):
        return {str(key): as_json(value) for key, value in document.items()}
    if isinstance(document, set | frozenset):
        return [as_json(item) for item in sorted_items(document)]
    if isinstance(document, list | tuple):
        return [as_json(item) for item in document]
    if (text := _attribute_text(document)) is not _ABSENT:
        return {"text": as_json(text)}
    return str(document)


def _text(document: Any, index: int, fields: tuple[str, ...] | None, seen_fields: set[str], argument: str) -> str | None:
    """Return a document's text, None if it is blank. The fields that the document has are added to `seen_fields`."""
    if type(document) is str and document.isascii() and document[:1].isalnum():
        return document  # what the code below would return, but a microsecond sooner
    try:
        text = str.__str__(_raw_text(document, index, fields, seen_fields, argument))  # a str subclass may override methods
    except InvalidInput:
        raise
    except Exception as error:  # a property that raises, an integer too long to print, a cycle
        raise InvalidInput(f"document {index} cannot be read ({type(error).__name__})") from None
    # Most texts begin with a letter or a digit, which is visible.
    is_visible = text[:1].isalnum() or any(map(_is_visible, text))
    return valid_unicode(text) if is_visible else None


def _raw_text(document: Any, index: int, fields: tuple[str, ...] | None, seen_fields: set[str], argument: str) -> str:
    if document is None or isinstance(document, str):
        return document or ""
    if is_empty(document):  # a missing cell of a data frame
        return ""
    if fields is not None:
        return _fields_text(document, index, fields, seen_fields)
    return value_text(_default_text(document, index, argument), index)


def _is_visible(character: str) -> bool:
    """Whether a character is neither white space nor a control or formatting character."""
    return unicodedata.category(character) not in ("Zs", "Zl", "Zp", "Cc", "Cf")


def _default_text(document: Any, index: int, argument: str) -> Any:
    """Return the value that is the text if no fields are named: one of TEXT_KEYS or, for objects, TEXT_ATTRIBUTES."""
    if isinstance(document, Mapping):
        present_keys = [key for key in TEXT_KEYS if key in document]
        if present_keys:
            return next((document[key] for key in present_keys if not is_empty(document[key])), None)
        raise InvalidInput(
            f"document {index} has none of the fields {_quoted_names(TEXT_KEYS)}; it has {_quoted_names(document)}. "
            "Name the fields to read, for example with ",
            Argument(argument, _example_fields(document)),
        )
    if (text := _attribute_text(document)) is not _ABSENT:
        return text
    raise InvalidInput(
        f"document {index} is a {type(document).__name__}; pass a string, a mapping, or an object with "
        "page_content, content, text or get_content()"
    )


def _example_fields(document: Mapping[Any, Any]) -> list[str]:
    """Return names of a document's fields for an example in a message: those with strings, else the first, else "title"."""
    string_fields = [name for name, value in document.items() if isinstance(value, str) and name not in ("_id", "id")]
    examples = string_fields[:3] or list(document)[:1] or ["title"]
    return [str(name) for name in examples]


def _attribute_text(document: Any) -> Any:
    """Return an object's text, _ABSENT if it has none. LangChain, Haystack and LlamaIndex name the attribute differently."""
    values = [getattr(document, name, _ABSENT) for name in TEXT_ATTRIBUTES]
    values = [value for value in values if value is None or isinstance(value, str | bytes)]
    if any(values):
        return next(value for value in values if value)
    if callable(get_content := getattr(document, "get_content", None)):
        return get_content()
    return values[0] if values else _ABSENT


def _fields_text(document: Any, index: int, fields: tuple[str, ...], seen_fields: set[str]) -> str:
    """Return the text of a document's `fields`, and add those that it has to `seen_fields`."""
    values = {name: value for name in fields if (value := _field(document, name)) is not _ABSENT}
    if not values:
        problem = f"document {index} has no field {_quoted_names(fields)}; it has {_quoted_names(_own_names(document))}"
        raise InvalidInput(problem + (_suggestion(fields, [document]) or "; name one of its fields"))
    seen_fields.update(values)
    non_empty = {name: value for name, value in values.items() if not is_empty(value)}
    if len(fields) == 1 or not non_empty:
        return value_text(next(iter(non_empty.values()), None), index)
    return yaml_text(non_empty, index)


def _field(document: Any, name: str) -> Any:
    """Return a document's field, or the field of a nested record if the name is dotted; _ABSENT if there is neither."""
    value = _direct_field(document, name)
    outer, dot, inner = name.partition(".")
    if value is not _ABSENT or not dot:
        return value
    record = _direct_field(document, outer)
    return _field(record, inner) if isinstance(record, Mapping) else _ABSENT


def _own_names(document: Any) -> Iterable[Any]:
    """Return the names of a document's fields, for messages."""
    if isinstance(document, Mapping):
        return document
    return document.keys() if _has_keys(document) else getattr(document, "__dict__", ())


def _is_text_or_missing(document: Any) -> bool:
    return isinstance(document, str) or is_empty(document)


def _has_keys(document: Any) -> bool:
    """Whether an object's fields are its keys, not its attributes, as in a row of a data frame."""
    return not isinstance(document, Mapping) and all(
        callable(getattr(document, name, None)) for name in ("keys", "__getitem__")
    )


def _direct_field(document: Any, name: str) -> Any:
    """Return a mapping's field, a row's column, or an object's attribute or entry of `metadata`; _ABSENT if it has none."""
    if isinstance(document, Mapping):
        return document.get(name, _ABSENT)
    if _has_keys(document):
        return document[name] if name in document.keys() else _ABSENT  # noqa: SIM118  `in` may look at values
    value = getattr(document, name, _ABSENT)
    metadata = getattr(document, "metadata", None)
    return metadata.get(name, _ABSENT) if value is _ABSENT and isinstance(metadata, Mapping) else value


def _suggestion(unknown: Iterable[str], documents: Sequence[Any]) -> str:
    """Return "; did you mean …?" with the fields of the first mapping that are similar to unknown names, or ""."""
    record = next((document for document in documents if isinstance(document, Mapping)), {})
    known = [name for name in itertools.islice(_field_names(record), MAX_KNOWN_NAMES) if len(name) <= MAX_NAME_LENGTH]
    names = [name for name in itertools.islice(unknown, MAX_UNKNOWN_NAMES) if len(name) <= MAX_NAME_LENGTH]
    similar = [best for name in names if (best := _most_similar(name, known)) is not None]
    return f"; did you mean {_quoted_names(similar)}?" if similar else ""


def _most_similar(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that differs only in case, is nested in another field, or is spelled most similarly."""
    folded = name.casefold()
    exact = [other for other in known if other.casefold() == folded or other.casefold().endswith(f".{folded}")]
    return next(iter(exact or difflib.get_close_matches(name, known, n=1)), None)


def _field_names(record: Mapping[Any, Any], depth: int = 3) -> Iterator[str]:
    """Yield the names of a record's fields, and dotted names for fields of nested records."""
    for name, value in record.items():
        yield str(name)
        if isinstance(value, Mapping) and depth > 1:
            yield from (f"{name}.{inner}" for inner in _field_names(value, depth - 1))


def valid_unicode(text: str) -> str:
    """Replace unpaired surrogates, which neither a tokenizer nor UTF-8 accepts, with U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _quoted_names(names: Iterable[Any]) -> str:
    """Return the first 20 names in quotation marks, separated by commas."""
    shown = [repr(str(name)[:40]) for name in names]
    return ", ".join(shown[:20]) + (" …" if len(shown) > 20 else "") if shown else "no fields"
