"""The fields of requests. Each dialect has a table of its fields, which defines how requests are read, and their JSON Schema.

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
    "Field", "Kind", "is_string_list", "list_schema", "object_schema", "read_fields", "request_schema",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of JSON value. `name` completes the sentence "the field must be …".

    `convert` returns the Python value, or None for a value that means the same as an absent field. It raises ValueError for
    a value of another kind. It is not called for null, which always means the same as an absent field.
    """

    name: str
    schema: Mapping[str, Any]
    convert: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request.

    - `argument`: the argument of `Dialect.make_call` that gets the value, None if the value is checked and not used.
    - `default`: the value if the field is absent. If it is None, too, the argument is left out.
    - `aliases`: other names of the field in requests. The first name with a value is used.
    """

    name: str
    kind: Kind
    argument: str | None = None
    description: str = ""
    required: bool = False
    default: Any = None
    aliases: tuple[str, ...] = ()

    def value(self, body: Mapping[str, Any]) -> Any:
        """Return the field's value, or its default if the field is absent, null, or means the same as an absent one.

        Raises Refusal if the value is of another kind, or if a required field is missing.
        """
        present_names = [name for name in (self.name, *self.aliases) if body.get(name) is not None]
        if not present_names:
            if self.required:
                raise Refusal(400, f"{self.name} is missing; it must be {self.kind.name}")
            return self.default
        name = present_names[0]
        try:
            value = self.kind.convert(body[name])
        except ValueError:
            raise Refusal(400, f"{name} must be {self.kind.name}, not {_type_name(body[name])}") from None
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
    """Return the values of the fields by the arguments that get them, without fields that have neither a value nor a default.

    If several fields have the same argument, the first one with a value is used. Raises Refusal if a field is missing or wrong.
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
    """Return the JSON Schema of an object. Without `required`, all properties are required."""
    return {"type": "object", "required": list(properties if required is None else required), "properties": dict(properties)}


def list_schema(items: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """Return the JSON Schema of a list in the format of OpenAI's API.

    `items` is the schema of each entry of `data`. `properties` are schemas of fields that OpenAI's lists do not have.
    """
    common = {"id": {"type": "string"}, "object": {"const": "list"}, "model": {"type": "string"}, "usage": {"type": "object"}}
    return object_schema({**common, "data": {"type": "array", "items": items}, **properties})


def is_string_list(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    """Return a boolean. Some clients write it as a string, such as "true" or "False"."""
    booleans = {"true": True, "false": False}
    value = booleans.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError
    return value


def _count(value: Any) -> int | None:
    """Return a whole number, written as 2 or 2.0. 0 is None: in some APIs it means "all", and no API needs a limit of 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        raise ValueError
    return int(value) or None


def _list(value: Any) -> list[Any]:
    """Return a list with at least one item."""
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def _strings(value: Any) -> list[str]:
    """Return a list with at least one item, and only strings."""
    if not is_string_list(value):
        raise ValueError
    return _list(value)


def _names(value: Any) -> list[str] | None:
    """Return a list of strings, and None for an empty list, which means the same as an absent field."""
    return None if value == [] else _strings(value)


STRING = Kind("a string", {"type": "string"}, _string)
FLAG = Kind("true or false", {"type": "boolean"}, _flag)
COUNT = Kind("a whole number from 0", {"type": "integer", "minimum": 0}, _count)
NAMES = Kind("a list of strings", {"type": "array", "items": {"type": "string"}}, _names)
STRINGS = Kind(
    "a list with at least one string, and only strings", {"type": "array", "minItems": 1, "items": {"type": "string"}}, _strings
)
DOCUMENTS = Kind(
    "a list with at least one document", {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}}, _list
)

QUERY = Field("query", Kind("a string", {"type": "string", "minLength": 1}, _string), "query", required=True)
MODEL = Field("model", STRING, "model", "A name from /v1/models. If absent, the server's first model is used.")


def _type_name(value: Any) -> str:
    """Return the type of a JSON value in words, for a message that must not quote the value."""
    if isinstance(value, list):  # which is refused only if it is empty, or if an item is of another kind
        return "a list with other values" if value else "an empty list"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", dict: "an object"}
    return names[type(value)]
