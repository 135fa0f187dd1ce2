"""What counts as a document, and how it becomes text.

A document is a string, a mapping, or an object that other packages pass around. It is read here, once, for every
scorer; it is never changed and never replaced. What a scorer does with the text is not this module's business.
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

__all__ = ["TEXT_KEYS", "as_json", "first_stage", "has_field", "id_of", "texts_of", "valid_unicode"]

# The first of these that a mapping has (and an object: its own three first) is what it says.
TEXT_KEYS = ("content", "text", "page_content", "passage")
TEXT_ATTRIBUTES = ("page_content", "content", "text")
_ABSENT = object()


def texts_of(documents: Sequence[Any], fields: tuple[str, ...] | None = None, *, argument: str = "rank_by") -> list[str | None]:
    """Read each document's text, in order; None stands for a document without any (None, empty, only white space).

    With `fields`, mappings and objects are read by those fields, in that order: one field gives its text, several give
    YAML of them, which is what Cohere recommends for models that take only strings. Strings stay as they are. A field
    that a document lacks is left out as long as the document has another of them and some other document has that one.
    A dotted name such as "body.text" reads a field of a nested record. `argument` is what errors call `fields`.

        >>> texts_of(["a", {"content": "b"}, {"title": "c", "year": 1999}, None], ("title", "year", "content"))
        ['a', 'content: b\\n', 'title: c\\nyear: 1999\\n', None]

    Raises InvalidInput, naming the document by its index and the keys it has, never its text.
    """
    found: set[str] = set()
    texts = [_text(document, index, fields, found, argument) for index, document in enumerate(documents)]
    unknown = [field for field in fields or () if field not in found]
    if unknown and any(not isinstance(document, str | None) for document in documents):
        first = next((document for document in documents if isinstance(document, Mapping)), {})
        says = f" names {_listed(unknown)}, which no document has; the first has {_listed(first)}"
        raise InvalidInput(Argument(argument), says + _suggestion(unknown, documents))
    return texts


def has_field(document: Any, name: str) -> bool:
    """Say whether a mapping or an object has a field; a dotted name is a field of a nested record."""
    return _field(document, name) is not _ABSENT


MAX_UNKNOWN_NAMES, MAX_KNOWN_NAMES, MAX_NAME = 3, 100, 100  # compared for a suggestion: every one with every other


def first_stage(document: Any) -> tuple[float | None, int | None]:
    """Read what a source said of a document: `source_score` and `source_rank`, None where absent or no number."""
    if not isinstance(document, Mapping):
        return None, None
    score, rank = (_plain_number(_get(document, name)) for name in ("source_score", "source_rank"))
    if isinstance(score, int) and abs(score) > 1e308:
        score = None  # a number of JSON's, but no float
    return (
        float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None,
        rank if isinstance(rank, int) and not isinstance(rank, bool) else None,
    )


def id_of(document: Any) -> str | None:
    """Return a document's id: its own field `_id` or `id`, else the key its source gave it; None where it has none."""
    if not isinstance(document, Mapping):
        return None
    ids = (_plain_number(_get(document, name)) for name in ("_id", "id", "source_key"))
    found = next((each for each in ids if isinstance(each, str | int) and not isinstance(each, bool) and each != ""), None)
    return None if found is None else str(found)


def _get(document: Mapping[Any, Any], name: str) -> Any:
    """Return a mapping's value, None where it is absent; a mapping of one's own may say that in its own way."""
    try:
        return document.get(name)
    except Exception:
        return None


def as_json(document: Any) -> Any:
    """Return the document as something `json.dumps` takes: strings and mappings in full, other objects as their text."""
    document = _plain_number(document)
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


def _text(document: Any, index: int, fields: tuple[str, ...] | None, found: set[str], argument: str) -> str | None:
    try:
        text = str.__str__(_read(document, index, fields, found, argument))  # a subclass may change what methods do
    except InvalidInput:
        raise
    except Exception as error:  # a property of the document's own, a number too long to write, a loop
        raise InvalidInput(f"document {index} cannot be read ({type(error).__name__})") from None
    return valid_unicode(text) if any(map(_is_visible, text)) else None


def _read(document: Any, index: int, fields: tuple[str, ...] | None, found: set[str], argument: str) -> str:
    if document is None or isinstance(document, str):
        return document or ""
    if _is_empty(document):  # a missing cell of a data frame
        return ""
    if fields is not None:
        return _fields_text(document, index, fields, found)
    return _plain(_own_text(document, index, argument), index)


def _is_visible(letter: str) -> bool:
    """Say whether a letter says anything: no space, no control, nothing that only shapes what is beside it."""
    return unicodedata.category(letter) not in ("Zs", "Zl", "Zp", "Cc", "Cf")


def _own_text(document: Any, index: int, argument: str) -> Any:
    if isinstance(document, Mapping):
        has = [key for key in TEXT_KEYS if key in document]
        if has:
            return next((document[key] for key in has if not _is_empty(document[key])), None)
        example = [name for name, value in document.items() if isinstance(value, str) and name not in ("_id", "id")][:3]
        raise InvalidInput(
            f"document {index} has none of the fields {_listed(TEXT_KEYS)}; it has {_listed(document)}. "
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
    """Return what the object says is its text: LangChain, Haystack and LlamaIndex each have their own name for it."""
    values = [getattr(document, name, _ABSENT) for name in TEXT_ATTRIBUTES]
    values = [value for value in values if value is None or isinstance(value, str | bytes)]
    if any(values):
        return next(value for value in values if value)
    get_content = getattr(document, "get_content", None)
    return get_content() if callable(get_content) else values[0] if values else _ABSENT


def _fields_text(document: Any, index: int, fields: tuple[str, ...], found: set[str]) -> str:
    values = {name: value for name in fields if (value := _field(document, name)) is not _ABSENT}
    if not values:
        has = document if isinstance(document, Mapping) else vars(document) if hasattr(document, "__dict__") else ()
        says = f"document {index} has no field {_listed(fields)}; it has {_listed(has)}"
        raise InvalidInput(says + _suggestion(fields, [document]))
    found.update(values)
    said = {name: value for name, value in values.items() if not _is_empty(value)}
    if len(fields) == 1 or not said:
        return _plain(next(iter(said.values()), None), index)
    return _yaml(said, index)


def _field(document: Any, name: str) -> Any:
    """Return a field by its name: the document's own, else that of a nested record where the name is dotted."""
    value = _own_field(document, name)
    outer, dot, inner = name.partition(".")
    if value is not _ABSENT or not dot:
        return value
    record = _own_field(document, outer)
    return _field(record, inner) if isinstance(record, Mapping) else _ABSENT


def _has_keys(document: Any) -> bool:
    """Say whether an object has fields by key, such as a row of a data frame, whose attributes are something else."""
    return not isinstance(document, Mapping) and all(
        callable(getattr(document, name, None)) for name in ("keys", "__getitem__")
    )


def _own_field(document: Any, name: str) -> Any:
    """Return a mapping's field, or an object's attribute or entry of its `metadata`."""
    if isinstance(document, Mapping):
        return document.get(name, _ABSENT)
    if _has_keys(document):
        return document[name] if name in document.keys() else _ABSENT  # noqa: SIM118  `in` may look at values
    value = getattr(document, name, _ABSENT)
    metadata = getattr(document, "metadata", None)
    return metadata.get(name, _ABSENT) if value is _ABSENT and isinstance(metadata, Mapping) else value


def _suggestion(unknown: Iterable[str], documents: Sequence[Any]) -> str:
    """Return "; did you mean …?" with the fields of the first record that are closest to unknown names, or nothing."""
    record = next((document for document in documents if isinstance(document, Mapping)), {})
    known = [name for name in itertools.islice(_field_names(record), MAX_KNOWN_NAMES) if len(name) <= MAX_NAME]
    names = [name for name in itertools.islice(unknown, MAX_UNKNOWN_NAMES) if len(name) <= MAX_NAME]
    nearest = [near for name in names if (near := _nearest(name, known)) is not None]
    return f"; did you mean {_listed(nearest)}?" if nearest else ""


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that differs only in case, that is nested under another field, or that is spelt most alike."""
    folded = name.casefold()
    same = [each for each in known if each.casefold() == folded or each.casefold().endswith(f".{folded}")]
    return next(iter(same or difflib.get_close_matches(name, known, n=1)), None)


def _field_names(record: Mapping[Any, Any], depth: int = 3) -> Iterator[str]:
    """Yield the names of a record's fields, those of nested records with dots between."""
    for name, value in record.items():
        yield str(name)
        if isinstance(value, Mapping) and depth > 1:
            yield from (f"{name}.{inner}" for inner in _field_names(value, depth - 1))


def _is_empty(value: Any) -> bool:
    if value is None or isinstance(value, str | bytes):
        return not value
    return _is_missing(value)


def _is_missing(value: Any) -> bool:
    """Say whether a value is what a data frame or an array has where nothing is: NaN, pandas' NA, or no moment."""
    value = _plain_number(value)
    if value is None or isinstance(value, float):
        return value is None or math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.partition(".")[0] == "pandas"


def _sorted(items: Iterable[Any]) -> list[Any]:
    """Return a set's items in an order that is the same in every process: the order of a set is not."""
    listed = list(items)
    if all(isinstance(item, str) for item in listed) or all(isinstance(item, int | float) for item in listed):
        return sorted(listed)
    return sorted(listed, key=_sort_key)


def _sort_key(item: Any) -> tuple[str, str]:
    return type(item).__name__, repr(_sorted(item) if isinstance(item, frozenset) else item)


def _plain_number(value: Any) -> Any:
    """Return a number of numpy's as Python's own, anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def _plain(value: Any, index: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if _is_empty(value):
        return ""
    value = _plain_number(value)
    return str(value) if isinstance(value, bool | int | float) else _yaml(value, index)


def _yaml(value: Any, index: int) -> str:
    import yaml

    readable = {name: _readable(item) for name, item in value.items()} if isinstance(value, dict) else value
    try:  # one line a field, letters as they are: a model reads this
        return str(yaml.dump(readable, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=2**31 - 1))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(
            f"document {index} has a field of a kind that has no text; name fields of text, numbers, dates, lists or dicts"
        ) from error


@functools.cache
def _dumper() -> Any:
    """Return YAML's safe dumper, by libyaml where the wheel has it (ten times faster), with sets as sorted lists."""
    import yaml

    dumper: Any = type("Dumper", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {})
    for kind in (set, frozenset):
        dumper.add_representer(kind, lambda writer, items: writer.represent_list(_sorted(items)))
    return dumper


def _readable(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else _plain_number(value)


def valid_unicode(text: str) -> str:
    """Put U+FFFD for halves of surrogate pairs, which neither a tokenizer nor UTF-8 can take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _listed(names: Iterable[Any]) -> str:
    shown = [repr(str(name)[:40]) for name in names]
    return ", ".join(shown[:20]) + (" …" if len(shown) > 20 else "") if shown else "no fields"
