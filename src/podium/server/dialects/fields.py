"""The fields of requests: one table per dialect, from which requests are read and their JSON Schema is made. Pure.

>>> fields = (QUERY, Field("texts", STRINGS, "documents", required=True), Field("top_n", COUNT, "limit", "How many."))
>>> read_fields(fields, {"query": "a", "texts": ["b"], "top_n": 3})
{'query': 'a', 'documents': ['b'], 'limit': 3}
>>> request_schema(fields)["properties"]["top_n"]
{'type': ['integer', 'null'], 'minimum': 0, 'description': 'How many.'}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.server.dialects.call import Refusal

__all__ = [
    "COUNT", "DOCUMENTS", "FLAG", "MODEL", "NAMES", "QUERY", "STRING", "STRINGS",
    "Field", "Kind", "is_strings", "list_schema", "object_schema", "read_fields", "request_schema",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of JSON value. `name` completes the sentence "the field must be …".

    `convert` returns the Python value, or None for a value that means the same as an absent field. It raises ValueError for
    a value of another kind. It never gets null.
    """

    name: str
    schema: Mapping[str, Any]
    convert: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request. `argument` is the argument of Call that it becomes; None if the value is checked and ignored."""

    name: str
    kind: Kind
    argument: str | None = None
    description: str = ""
    required: bool = False
    default: Any = None
    aliases: tuple[str, ...] = ()

    def value(self, body: Mapping[str, Any]) -> Any:
        """Return the field's value, its default if it is absent or null. Raises Refusal."""
        name = next((name for name in (self.name, *self.aliases) if body.get(name) is not None), None)
        if name is None:
            if self.required:
                raise Refusal(400, f"{self.name} is missing; it must be {self.kind.name}")
            return self.default
        try:
            value = self.kind.convert(body[name])
        except ValueError:
            raise Refusal(400, f"{name} must be {self.kind.name}, not {_description(body[name])}") from None
        return self.default if value is None else value

    @property
    def schema(self) -> dict[str, Any]:
        """The field's JSON Schema. Optional fields may be null."""
        schema = dict(self.kind.schema)
        if not self.required:
            if "type" in schema:
                schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
            if "anyOf" in schema:
                schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
        if self.default is not None:
            schema["default"] = self.default
        if self.description:
            schema["description"] = self.description
        return schema


def read_fields(fields: Sequence[Field], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the fields that are present, by argument. The first of several fields for an argument is used.

    Raises Refusal.
    """
    values: dict[str, Any] = {}
    for field in fields:
        value = field.value(body)
        if value is not None and field.argument is not None:
            values.setdefault(field.argument, value)
    return values


def request_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """Return the JSON Schema of requests that have these fields."""
    required = [field.name for field in fields if field.required]
    return object_schema({field.name: field.schema for field in fields}, required)


def object_schema(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of an object. All properties are required unless `required` names those that are."""
    return {"type": "object", "required": list(properties if required is None else required), "properties": dict(properties)}


def list_schema(items: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """Return the JSON Schema of a list reply, as OpenAI defines it: its `items` are in `data`. `properties` are added."""
    names = {"id": {"type": "string"}, "object": {"const": "list"}, "model": {"type": "string"}, "usage": {"type": "object"}}
    return object_schema({**names, "data": {"type": "array", "items": items}, **properties})


def is_strings(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    """Some clients write a boolean as the string "true" or "false"."""
    booleans = {"true": True, "false": False}
    value = booleans.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError
    return value


def _count(value: Any) -> int | None:
    """JSON has one type for numbers: 2.0 is a whole number. APIs differ in whether 0 means all or is not allowed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        raise ValueError
    return int(value) or None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def _strings(value: Any) -> list[str]:
    if not is_strings(value):
        raise ValueError
    return _list(value)


def _names(value: Any) -> list[str] | None:
    return None if value == [] else _strings(value)


STRING = Kind("a string", {"type": "string"}, _string)
FLAG = Kind("true or false", {"type": "boolean"}, _flag)
COUNT = Kind("a whole number from 0", {"type": "integer", "minimum": 0}, _count)
NAMES = Kind("a list of strings", {"type": "array", "items": {"type": "string"}}, _names)
STRINGS = Kind(
    "a list with at least one string, and only strings",
    {"type": "array", "minItems": 1, "items": {"type": "string"}},
    _strings,
)
DOCUMENTS = Kind(
    "a list with at least one document", {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}}, _list
)

QUERY = Field("query", Kind("a string", {"type": "string", "minLength": 1}, _string), "query", required=True)
MODEL = Field("model", STRING, "model", "A name from /v1/models. If absent, the server's first model is used.")


def _description(value: Any) -> str:
    """Return what a JSON value is, without the text of strings."""
    if isinstance(value, list):
        return "a list with other values" if value else "an empty list"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", dict: "an object"}
    return names[type(value)]
