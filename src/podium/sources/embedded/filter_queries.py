"""Queries of tantivy for the documents that meet a condition, and checks of the fields that it names."""

from __future__ import annotations

import collections
import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podium.errors import InvalidInput, SourceError
from podium.sources.embedded.filter_syntax import And, Condition, Missing, Not, Number, Or, Tag, fields_of, parsed_filter
from podium.sources.embedded.filter_terms import (
    LONGEST_TAG,
    NAMES,
    TERMS,
    column_of,
    name_of,
    number_range,
    tag_of,
    tag_pattern,
    tag_term,
)
from podium.sources.embedded.tantivy_calls import tantivy
from podium.sources.filters import filter_text

if TYPE_CHECKING:
    from podium.sources.embedded.snapshot import Snapshot

__all__ = ["Selection", "checked_filter", "selection"]

MAX_NAMES = 20  # how many names of fields an error message lists


@dataclass(frozen=True, slots=True)
class Selection:
    """The documents of a snapshot that meet a filter.

    `query`: tantivy's query for them. `count`: how many they are. `notes`: warnings about the filter for the user.
    """

    query: Any
    count: int
    notes: tuple[str, ...] = ()


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> Condition:
    return parsed_filter(text)


def checked_filter(value: Any) -> Condition | None:
    """Return the condition of a filter, None if it matches every document. Raises InvalidInput."""
    text = filter_text(value)
    return None if text is None else _parsed(text)


def selection(condition: Condition, snapshot: Snapshot) -> Selection:
    """Return the documents that meet a condition.

    Raises SourceError if no document has a field of the condition, or if a number is compared with a field without numbers.
    """
    query = _query(condition, snapshot)
    notes = _notes_about_fields(condition, snapshot) if len(snapshot) else ()  # an empty index has no fields
    return Selection(query, snapshot.count(query), notes)


def _notes_about_fields(condition: Condition, snapshot: Snapshot) -> tuple[str, ...]:
    """Return warnings about the fields of a condition. Raises SourceError, as `selection` does."""
    notes = []
    condition_types = collections.defaultdict(set)
    for part in fields_of(condition):
        condition_types[part.field].add(type(part))
    for name, types in condition_types.items():
        kinds = snapshot.field_kinds(name)
        if not kinds:
            raise _unknown_field(name, snapshot)
        if Number in types and "number" not in kinds:
            raise SourceError(f"the field {name!r} of the filter has no numbers; write @{name}:{{value}}")
        if Tag in types and "long" in kinds:
            notes.append(
                f"the filter does not find values of {name!r} with more than {LONGEST_TAG} characters; some documents have one"
            )
    return tuple(notes)


def _unknown_field(name: str, snapshot: Snapshot) -> SourceError:
    """Return the error for a field that no document has, which suggests a similar name if there is one."""
    names = snapshot.field_names()
    names_by_folded = {field_name.casefold(): field_name for field_name in names}
    if similar := difflib.get_close_matches(name[:LONGEST_TAG].casefold(), names_by_folded, n=1):
        remedy = f"did you mean {names_by_folded[similar[0]]!r}?"
    else:
        others = " and others" if len(names) > MAX_NAMES else ""
        remedy = f"the documents have {', '.join(names[:MAX_NAMES])}{others}"
    return SourceError(f"no document has the field {name[:80]!r} of the filter; {remedy}")


def _query(condition: Condition, snapshot: Snapshot) -> Any:
    """Return the query for the documents that meet a condition. All of them have the same score."""
    query = tantivy().Query
    match condition:
        case Tag():
            terms = [tag_term(condition.field, _valid_tag(value)) for value in condition.values]
            patterns = [tag_pattern(condition.field, _valid_prefix(prefix)) for prefix in condition.prefixes]
            queries = [query.regex_query(snapshot.schema, TERMS, pattern) for pattern in patterns]
            if terms:
                queries.append(query.term_set_query(snapshot.schema, TERMS, terms))
            return _any_of(queries)
        case Number():
            low, high = number_range(condition)
            return snapshot.number_query(column_of(condition.field), low, high) if low <= high else query.empty_query()
        case Missing():
            names = [name_of(kind, condition.field) for kind in ("tag", "long")]  # a number is also a tag
            return _without(query.term_set_query(snapshot.schema, NAMES, names))
        case Not():
            return _without(_query(condition.condition, snapshot))
        case Or():
            return _any_of([_query(part, snapshot) for part in condition.conditions])
        case And():
            must = tantivy().Occur.Must
            parts = [(must, _query(part, snapshot)) for part in condition.conditions]
            return query.boolean_query(parts) if parts else query.all_query()


def _any_of(queries: Sequence[Any]) -> Any:
    return tantivy().Query.boolean_query([(tantivy().Occur.Should, query) for query in queries])


def _without(query: Any) -> Any:
    """Return the query for all documents that `query` does not match."""
    occur = tantivy().Occur
    return tantivy().Query.boolean_query([(occur.Must, tantivy().Query.all_query()), (occur.MustNot, query)])


def _valid_prefix(value: str) -> str:
    """Return the beginning of a value as that of a tag. White space at its end is part of it, unlike that of a value."""
    return _valid_tag(value) + value[len(value.rstrip()) :]


def _valid_tag(value: str) -> str:
    """Return a value of a filter as a tag. Raises InvalidInput if no document can have it."""
    tag = tag_of(value)
    if not tag:
        raise InvalidInput("the filter has an empty value, which no document has; write ismissing(@field) for missing values")
    if len(tag) > LONGEST_TAG:
        raise InvalidInput(
            f"the filter has a value of {len(tag)} characters; only values of at most {LONGEST_TAG} are indexed, so filter by "
            "another field"
        )
    return tag
