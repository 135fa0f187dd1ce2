"""Documents → text, → JSON.

A document is a string, a mapping, or a document object of another package. Documents are read here for every scorer, and
never modified.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from podium.errors import Argument, InvalidInput

__all__ = ["TEXT_KEYS", "as_json", "has_field", "id_of", "source_score_and_rank", "texts_of", "valid_unicode"]

TEXT_KEYS = ("content", "text", "page_content", "passage")
"""A mapping's text is the first of these keys whose value is not empty."""
TEXT_ATTRIBUTES = ("page_content", "content", "text")
"""An object's text is the first of these attributes that is not empty, else what its `get_content()` returns."""

MAX_DEPTH = 32
"""How deeply lists and dicts that are read as text may be nested. YAML indents each line by its depth, so that a small
document could become a huge text."""

# Bounds for suggestions of field names: every unknown name is compared with every known one.
MAX_UNKNOWN_NAMES, MAX_KNOWN_NAMES, MAX_NAME_LENGTH = 3, 100, 100

_ABSENT = object()


def texts_of(
    documents: Sequence[Any], fields: tuple[str, ...] | None = None, *, argument: str = "rank_by", start: int = 0
) -> list[str | None]:
    """Return each document's text, in order. None stands for a document without text (None, empty, only white space).

    With `fields`, mappings and objects are read by those fields, in that order. One field gives its text. Several give YAML,
    as Cohere recommends for models that take only strings. Strings stay as they are. A document may lack some of the
    fields, but not all, and each field must be in some document. A dotted name such as "body.text" reads a field of a nested
    record. In error messages, `argument` is the name of `fields`, and `start` the index of the first document.

        >>> texts_of(["a", {"content": "b"}, {"title": "c", "year": 1999}, None], ("title", "year", "content"))
        ['a', 'content: b\\n', 'title: c\\nyear: 1999\\n', None]

    Raises InvalidInput, which names the document by its index and the keys it has, never its text.
    """
    seen_fields: set[str] = set()
    texts = [_text(document, index, fields, seen_fields, argument) for index, document in enumerate(documents, start)]
    unknown = [field for field in fields or () if field not in seen_fields]
    if unknown and any(not isinstance(document, str | None) for document in documents):
        first = next((document for document in documents if isinstance(document, Mapping)), {})
        problem = f" names {_quoted(unknown)}, which no document has; the first has {_quoted(first)}"
        raise InvalidInput(Argument(argument), problem + _suggestion(unknown, documents))
    return texts


def has_field(document: Any, name: str) -> bool:
    """Whether a mapping or an object has a field. A dotted name is a field of a nested record."""
    return _field(document, name) is not _ABSENT


def source_score_and_rank(document: Any) -> tuple[float | None, int | None]:
    """Return the `source_score` and `source_rank` that a source added to a document, None if absent or not a number."""
    if not isinstance(document, Mapping):
        return None, None
    score, rank = (_python_number(_get(document, name)) for name in ("source_score", "source_rank"))
    if isinstance(score, int) and abs(score) > 1e308:
        score = None  # JSON allows such an integer, float does not
    return (
        float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None,
        rank if isinstance(rank, int) and not isinstance(rank, bool) else None,
    )


def id_of(document: Any) -> str | None:
    """Return a document's id: its field `_id` or `id`, else the key that its source added, None if it has none of them."""
    if not isinstance(document, Mapping):
        return None
    ids = (_python_number(_get(document, name)) for name in ("_id", "id", "source_key"))
    valid = (value for value in ids if isinstance(value, str | int) and not isinstance(value, bool) and value != "")
    first = next(valid, None)
    return None if first is None else str(first)


def _get(document: Mapping[Any, Any], name: str) -> Any:
    """Return a mapping's value, None if it is absent. A user's mapping may raise any exception for an absent key."""
    try:
        return document.get(name)
    except Exception:
        return None


def as_json(document: Any) -> Any:
    """Return the document as a value that `json.dumps` takes: strings and mappings in full, other objects as their text."""
    document = _python_number(document)
    if isinstance(document, str):
        return valid_unicode(document)
    if document is None or isinstance(document, bool | int):
        return document
    if _is_missing(document):
        return None
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, bytes):
        return document.decode("utf-8", "replace")
    if isinstance(document, Mapping):
        return {str(key): as_json(value) for key, value in document.items()}
    if isinstance(document, set | frozenset):
        return [as_json(item) for item in _sorted(document)]
    if isinstance(document, list | tuple):
        return [as_json(item) for item in document]
    if (text := _first_attribute(document)) is not _ABSENT:
        return {"text": as_json(text)}
    return str(document)


def _text(document: Any, index: int, fields: tuple[str, ...] | None, seen_fields: set[str], argument: str) -> str | None:
    try:
        text = str.__str__(_read(document, index, fields, seen_fields, argument))  # a str subclass may override methods
    except InvalidInput:
        raise
    except Exception as error:  # a property that raises, an integer too long to print, a cycle
        raise InvalidInput(f"document {index} cannot be read ({type(error).__name__})") from None
    return valid_unicode(text) if any(map(_is_visible, text)) else None


def _read(document: Any, index: int, fields: tuple[str, ...] | None, seen_fields: set[str], argument: str) -> str:
    if document is None or isinstance(document, str):
        return document or ""
    if _is_empty(document):  # a missing cell of a data frame
        return ""
    if fields is not None:
        return _fields_text(document, index, fields, seen_fields)
    return _value_text(_own_text(document, index, argument), index)


def _is_visible(character: str) -> bool:
    """Whether a character is neither white space nor a control or formatting character."""
    return unicodedata.category(character) not in ("Zs", "Zl", "Zp", "Cc", "Cf")


def _own_text(document: Any, index: int, argument: str) -> Any:
    if isinstance(document, Mapping):
        present_keys = [key for key in TEXT_KEYS if key in document]
        if present_keys:
            return next((document[key] for key in present_keys if not _is_empty(document[key])), None)
        example = [name for name, value in document.items() if isinstance(value, str) and name not in ("_id", "id")][:3]
        raise InvalidInput(
            f"document {index} has none of the fields {_quoted(TEXT_KEYS)}; it has {_quoted(document)}. "
            "Name the fields to read, for example with ",
            Argument(argument, [str(name) for name in example or [*document][:1]] or ["title"]),
        )
    if (text := _first_attribute(document)) is not _ABSENT:
        return text
    raise InvalidInput(
        f"document {index} is a {type(document).__name__}; pass a string, a mapping, or an object with "
        "page_content, content, text or get_content()"
    )


def _first_attribute(document: Any) -> Any:
    """Return an object's text. LangChain, Haystack and LlamaIndex each have their own attribute for it."""
    values = [getattr(document, name, _ABSENT) for name in TEXT_ATTRIBUTES]
    values = [value for value in values if value is None or isinstance(value, str | bytes)]
    if any(values):
        return next(value for value in values if value)
    get_content = getattr(document, "get_content", None)
    return get_content() if callable(get_content) else values[0] if values else _ABSENT


def _fields_text(document: Any, index: int, fields: tuple[str, ...], seen_fields: set[str]) -> str:
    values = {name: value for name in fields if (value := _field(document, name)) is not _ABSENT}
    if not values:
        names = document if isinstance(document, Mapping) else vars(document) if hasattr(document, "__dict__") else ()
        problem = f"document {index} has no field {_quoted(fields)}; it has {_quoted(names)}"
        raise InvalidInput(problem + _suggestion(fields, [document]))
    seen_fields.update(values)
    non_empty = {name: value for name, value in values.items() if not _is_empty(value)}
    if len(fields) == 1 or not non_empty:
        return _value_text(next(iter(non_empty.values()), None), index)
    return _yaml(non_empty, index)


def _field(document: Any, name: str) -> Any:
    """Return the field of that name, else, for a dotted name, the field of a nested record."""
    value = _own_field(document, name)
    outer, dot, inner = name.partition(".")
    if value is not _ABSENT or not dot:
        return value
    record = _own_field(document, outer)
    return _field(record, inner) if isinstance(record, Mapping) else _ABSENT


def _has_keys(document: Any) -> bool:
    """Whether an object's fields are keys, as in a data frame's row, whose attributes are something else."""
    return not isinstance(document, Mapping) and all(
        callable(getattr(document, name, None)) for name in ("keys", "__getitem__")
    )


def _own_field(document: Any, name: str) -> Any:
    """Return a mapping's field, or an object's attribute, or an entry of its `metadata`."""
    if isinstance(document, Mapping):
        return document.get(name, _ABSENT)
    if _has_keys(document):
        return document[name] if name in document.keys() else _ABSENT  # noqa: SIM118  `in` may look at values
    value = getattr(document, name, _ABSENT)
    metadata = getattr(document, "metadata", None)
    return metadata.get(name, _ABSENT) if value is _ABSENT and isinstance(metadata, Mapping) else value


def _suggestion(unknown: Iterable[str], documents: Sequence[Any]) -> str:
    """Return "; did you mean …?" with the first record's fields that are most similar to unknown names, or ""."""
    record = next((document for document in documents if isinstance(document, Mapping)), {})
    known = [name for name in itertools.islice(_field_names(record), MAX_KNOWN_NAMES) if len(name) <= MAX_NAME_LENGTH]
    names = [name for name in itertools.islice(unknown, MAX_UNKNOWN_NAMES) if len(name) <= MAX_NAME_LENGTH]
    similar = [best for name in names if (best := _most_similar(name, known)) is not None]
    return f"; did you mean {_quoted(similar)}?" if similar else ""


def _most_similar(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that differs only in case, is nested in another field, or is spelled most similarly."""
    folded = name.casefold()
    same = [other for other in known if other.casefold() == folded or other.casefold().endswith(f".{folded}")]
    return next(iter(same or difflib.get_close_matches(name, known, n=1)), None)


def _field_names(record: Mapping[Any, Any], depth: int = 3) -> Iterator[str]:
    """Yield the names of a record's fields, and dotted names for fields of nested records."""
    for name, value in record.items():
        yield str(name)
        if isinstance(value, Mapping) and depth > 1:
            yield from (f"{name}.{inner}" for inner in _field_names(value, depth - 1))


def _is_empty(value: Any) -> bool:
    if value is None or isinstance(value, str | bytes):
        return not value
    return _is_missing(value)


def _is_missing(value: Any) -> bool:
    """Whether a value marks a missing entry of a data frame or an array: NaN, or pandas' NA or NaT."""
    value = _python_number(value)
    if value is None or isinstance(value, float):
        return value is None or math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.partition(".")[0] == "pandas"


def _sorted(items: Iterable[Any]) -> list[Any]:
    """Return a set's items in an order that is the same in every process. The iteration order of a set is not."""
    values = list(items)
    if all(isinstance(item, str) for item in values) or all(isinstance(item, int | float) for item in values):
        return sorted(values)
    return sorted(values, key=_sort_key)


def _sort_key(item: Any) -> tuple[str, str]:
    return type(item).__name__, repr(_sorted(item) if isinstance(item, frozenset) else item)


def _python_number(value: Any) -> Any:
    """Return a numpy scalar as a Python number, and anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def _value_text(value: Any, index: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if _is_empty(value):
        return ""
    value = _python_number(value)
    return str(value) if isinstance(value, bool | int | float) else _yaml(value, index)


def _yaml(value: Any, index: int) -> str:
    import yaml

    readable = {name: _readable(item) for name, item in value.items()} if isinstance(value, dict) else value
    try:  # one line per field, and characters as they are, because a model reads this
        return str(yaml.dump(readable, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=2**31 - 1))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(
            f"document {index} has a field that cannot be written as text, or is nested more than {MAX_DEPTH} levels deep; "
            "name fields of text, numbers, dates, lists or dicts"
        ) from error


@functools.cache
def _dumper() -> Any:
    """Return YAML's safe dumper, with libyaml if the wheel has it (ten times faster)."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        """Writes sets as sorted lists, and limits the nesting."""

        depth = 0

        def represent_data(self, data: Any) -> Any:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise RecursionError
            node = super().represent_data(data)
            self.depth -= 1
            return node

    for kind in (set, frozenset):
        Dumper.add_representer(kind, lambda writer, items: writer.represent_list(_sorted(items)))
    return Dumper


def _readable(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else _python_number(value)


def valid_unicode(text: str) -> str:
    """Replace unpaired surrogates, which neither a tokenizer nor UTF-8 accepts, with U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _quoted(names: Iterable[Any]) -> str:
    """Return up to 20 names in quotation marks, separated by commas."""
    shown = [repr(str(name)[:40]) for name in names]
    return ", ".join(shown[:20]) + (" …" if len(shown) > 20 else "") if shown else "no fields"
