"""Write documents as JSON, for every index that stores them."""

from __future__ import annotations

import json
from typing import Any

from podium.documents import as_json
from podium.errors import InvalidInput

__all__ = ["json_text"]

MAX_DEPTH = 100
"""How deeply the lists and dicts of a stored document may be nested. Parsers of JSON have various limits, which are higher."""


def json_text(value: Any, number: int, field: str | None = None, *, keep_nan: bool = False) -> str:
    """Return the JSON of a document, or of its field `field`.

    NaN and infinite numbers, which JSON does not have, become null. `keep_nan` keeps them, for parsers that accept them. Raises
    InvalidInput if the value cannot be written or is nested too deeply. The error names the document's number and the field.
    """
    subject = f"document {number}" if field is None else f"document {number}: field {field!r}"
    nested_too_deeply = InvalidInput(
        f"{subject} is nested more than {MAX_DEPTH} levels deep; leave its inner lists and dicts out"
    )
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise nested_too_deeply from None
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{subject} cannot be written as JSON ({str(error)[:100]}); use strings, numbers, lists and dicts"
        ) from None
    if _is_nested_too_deeply(value):
        raise nested_too_deeply
    if not keep_nan and ("NaN" in text or "Infinity" in text):  # the words may also be in a string, which stays the same
        return json.dumps(as_json(value), ensure_ascii=False)
    return text


def _is_nested_too_deeply(value: Any) -> bool:
    """Whether a value is nested more than MAX_DEPTH levels deep. This goes through it level by level."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        containers = [item for item in level if isinstance(item, dict | list | tuple)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, dict | list | tuple) for item in level)
