"""Filters as users write them: strings in RediSearch's query syntax, or expressions of redisvl, which become such strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from podium.errors import InvalidInput

if TYPE_CHECKING:
    from redisvl.query.filter import FilterExpression

__all__ = ["Filter", "filter_text"]

Filter: TypeAlias = "FilterExpression | str | None"


def filter_text(value: Any) -> str | None:
    """Return a filter as a string, None if it matches every document. The syntax is not checked.

    Raises InvalidInput for another object and for an incomplete expression of redisvl.
    """
    if value is None:
        return None
    if not isinstance(value, str) and type(value).__name__ != "FilterExpression":
        raise InvalidInput(f"filter must be a redisvl filter expression or a string, not a {type(value).__name__}")
    try:
        text = str(value).strip()
    except (TypeError, ValueError):  # redisvl raises these for an expression without an operator
        raise InvalidInput("the filter expression is not complete; compare a field, as in Num('year') > 2000") from None
    return None if text in ("", "*") else text
