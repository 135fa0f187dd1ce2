"""The fields of requests. Each dialect has a table of them. The table defines how requests are read, and their JSON Schema.

>>> fields = (QUERY, Field("texts", STRINGS, argument="documents"), Field("top_n", COUNT, "How many.", argument="limit"))
>>> read_fields(fields, {"query": "a", "texts": ["b"], "top_n": 3})
{'query': 'a', 'documents': ['b'], 'limit': 3}
>>> request_schema(fields)["properties"]["top_n"]
{'type': ['integer', 'null'], 'minimum': 0, 'description': 'How many.'}
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from podium.server.dialects.call import Refusal

__all__ = [
    "COUNT", "DOCUMENTS", "FIELD_NAMES", "FLAG", "INSTRUCTION", "MODEL", "QUERY", "STRING", "STRINGS",
    "Field", "Kind", "check_names", "is_string_list", "list_schema", "object_schema", "read_fields", "request_schema",
]  # fmt: skip

MAX_NAME_LENGTH = 60  # characters of an unknown field's name in a message
FOREIGN_NAMES = {"top_n": ("limit", "candidates"), "top_k": ("limit", "candidates"), "texts": ("documents",)}
"""A field's name in other APIs → podium's names."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of JSON value. `name` completes the sentence "the field must be …".

    `convert` returns the Python value, or None for a value that means the same as an absent field, such as a limit of 0. It
    raises ValueError for a value of another kind. It is never called with null, because a field that is null counts as absent.
    """

    name: str
    schema: Mapping[str, Any]
    convert: Callable[[Any], Any]

    @property
    def accepts_lists(self) -> bool:
        """Whether some values of this kind are lists."""
        return any(schema.get("type") == "array" for schema in self.schema.get("anyOf", [self.schema]))


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request.

    - `argument`: the argument of `Dialect.make_call` that gets the value, or None if the value is only checked and not used.
    - `default`: the value if the field is absent. If `default` is None, `make_call` does not get the argument.
    - `aliases`: other names of the field in requests. If several names have values, the first name is used.
    """

    name: str
    kind: Kind
    description: str = ""
    _: KW_ONLY
    argument: str | None = None
    required: bool = False
    default: Any = None
    aliases: tuple[str, ...] = ()

    def value(self, body: Mapping[str, Any]) -> Any:
        """Return the field's value, or its default if the field is absent, null, or has a value that means the same.

        Raises Refusal if the value is of another kind, or if the field is required and is absent or null.
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
            refused_value = _description(body[name], self.kind)
            raise Refusal(400, f"{name} must be {self.kind.name}, not {refused_value}") from None
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
    """Return the values of the fields by the names of the arguments that get them.

    A field that is absent and has no default is left out. If several fields have the same argument, the first of these fields
    with a value or a default is used. Raises Refusal if a required field is absent, or a value is of another kind.
    """
    values: dict[str, Any] = {}
    for field in fields:
        value = field.value(body)
        if value is not None and field.argument is not None:
            values.setdefault(field.argument, value)
    return values


def check_names(fields: Sequence[Field], body: Mapping[str, Any]) -> None:
    """Raise Refusal if a request has a field that is not one of these. The message suggests a field that exists."""
    known = [name for field in fields for name in (field.name, *field.aliases)]
    unknown = next((name[:MAX_NAME_LENGTH] for name in body if name not in known), None)
    if unknown is None:
        return
    similar = [name for name in FOREIGN_NAMES.get(unknown, ()) if name in known] or difflib.get_close_matches(
        unknown, known, n=1
    )
    remedy = f"did you mean {similar[0]}?" if similar else f"a request can have {', '.join(known)}"
    raise Refusal(400, f"there is no field {unknown!r}; {remedy}")


def request_schema(fields: Sequence[Field], *, is_complete: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of requests that have these fields. If `is_complete`, they cannot have others."""
    required = [field.name for field in fields if field.required]
    schema = object_schema({field.name: field.schema for field in fields}, required)
    return schema | {"additionalProperties": False} if is_complete else schema


def object_schema(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of an object. If `required` is None, all properties are required."""
    return {"type": "object", "required": list(properties if required is None else required), "properties": dict(properties)}


def list_schema(items: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """Return the JSON Schema of a list in the format of OpenAI's API.

    `items` is the schema of the entries of `data`. `properties` are schemas of additional fields, which OpenAI does not have.
    """
    openai = {"id": {"type": "string"}, "object": {"const": "list"}, "model": {"type": "string"}, "usage": {"type": "object"}}
    return object_schema({**openai, "data": {"type": "array", "items": items}, **properties})


def is_string_list(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _instruction(value: Any) -> str | None:
    """Return an instruction, None for an empty string, which means the same as an absent field."""
    text = _string(value)
    return text if text.strip() else None


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
    """Return a whole number, written as 2 or 2.0. For 0, return None: in some APIs a limit of 0 means "all"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        raise ValueError
    return int(value) or None


def _nonempty_list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def _strings(value: Any) -> list[str]:
    if not is_string_list(value):
        raise ValueError
    return _nonempty_list(value)


def _field_names(value: Any) -> list[str] | None:
    """Return the names of document fields, or None for an empty list, which means the same as an absent field."""
    return None if value == [] else _strings(value)


STRING = Kind("a string", {"type": "string"}, _string)
INSTRUCTION = Kind("a string", {"type": "string"}, _instruction)
FLAG = Kind("true or false", {"type": "boolean"}, _flag)
COUNT = Kind("a whole number from 0", {"type": "integer", "minimum": 0}, _count)
FIELD_NAMES = Kind("a list of strings", {"type": "array", "items": {"type": "string"}}, _field_names)
STRINGS = Kind(
    "a list with at least one string, and only strings",
    {"type": "array", "minItems": 1, "items": {"type": "string"}},
    _strings,
)
DOCUMENTS = Kind(
    "a list with at least one document",
    {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}},
    _nonempty_list,
)

QUERY = Field("query", Kind("a string", {"type": "string", "minLength": 1}, _string), argument="query", required=True)
MODEL = Field("model", STRING, "A name from /v1/models. If absent, the server's first model is used.", argument="model")


def _description(value: Any, kind: Kind) -> str:
    """Describe a JSON value that is not of this kind, for a message that must not quote the value."""
    if value == []:
        return "an empty list"
    if isinstance(value, list) and kind.accepts_lists:
        return "a list with other values"
    type_names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return type_names[type(value)]
