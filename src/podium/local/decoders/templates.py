"""Chat templates, which are programs in the language Jinja, as Prompts.

A template is not run as a program. Jinja only parses it, and `_Evaluation` evaluates the syntax tree with slots in the place of
the texts, so that the result is a Prompt. A template can therefore not execute code, its steps and the length of its result are
limited, and no text of a user is ever part of a template's evaluation. Templates that use anything else of the language, or
whose result depends on what the texts contain, are refused.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium.errors import PodiumError, UnsupportedModel
from podium.extras import import_optional
from podium.local.decoders.prompts import Part, Slot, SlotName, joined

__all__ = ["render"]

MAX_TEMPLATE = 100_000  # characters; the longest chat templates have about 20,000
MAX_STEPS = 5_000  # nodes of the syntax tree that are evaluated; a template of a reranker needs about 100
MAX_LENGTH = 100_000  # characters of a text while a template is evaluated
MAX_ITEMS = 1_000  # parts of a text, or entries of a list, while a template is evaluated
OTHER_LAYOUT = "use the model's original repository, or a conversion whose template renders the roles query and document"


class _Undefined:
    """The value of a name that a template does not have."""

    def __bool__(self) -> bool:
        return False


UNDEFINED = _Undefined()


@dataclass(frozen=True, slots=True)
class _Text:
    """A text in which slots are the positions of texts that are not known."""

    parts: tuple[Part, ...]

    @property
    def is_known(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)


@dataclass(slots=True)
class _Namespace:
    """The result of namespace(…), whose fields a template can set."""

    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Loop:
    """The variable `loop` in a loop over `items`: the item at `position`."""

    items: Sequence[Any]
    position: int

    def field(self, name: Any) -> Any:
        """Return a field. Raises _TemplateError for others, such as the methods cycle and changed."""
        following_count = len(self.items) - self.position - 1
        fields = {
            "index": self.position + 1,
            "index0": self.position,
            "revindex": following_count + 1,
            "revindex0": following_count,
            "first": self.position == 0,
            "last": following_count == 0,
            "length": len(self.items),
            "depth": 1,  # Only loops with `recursive` are deeper.
            "depth0": 0,
            "previtem": self.items[self.position - 1] if self.position else UNDEFINED,
            "nextitem": self.items[self.position + 1] if following_count else UNDEFINED,
        }
        if name not in fields:
            raise _TemplateError(f"reads loop.{str(name)[:40]}, which podium does not evaluate")
        return fields[name]


class _LoopControl(Exception):
    """The statement break or continue in a loop. `output` is the text that the loop's body has produced before it."""

    def __init__(self, *, ends_loop: bool) -> None:
        super().__init__()
        self.ends_loop = ends_loop
        self.output = _Text(())


class _TemplateError(Exception):
    """A template that cannot be evaluated. The message completes "its chat template …"."""


def render(
    template: str, roles: Mapping[str, SlotName], *, is_structured: bool, variables: Mapping[str, Any]
) -> tuple[Part, ...]:
    """Return what a chat template renders for messages of these roles, in this order.

    - `roles`: the role of each message, and the slot in the place of its content.
    - `is_structured`: whether a message's content is a list with an object, {"type": "text", "text": …}, and not a string.
    - `variables`: the other variables of the template, such as bos_token.

    Raises UnsupportedModel if the template cannot be evaluated, and MissingPackage without the package jinja2.
    """
    messages = [{"role": role, "content": _content(name, is_structured)} for role, name in roles.items()]
    try:
        if len(template) > MAX_TEMPLATE:
            raise _TemplateError(f"has {len(template):,} characters, more than {MAX_TEMPLATE:,}")
        evaluation = _Evaluation({**variables, "messages": messages})
        return evaluation.body(_parsed(template).body).parts
    except PodiumError:
        raise
    except _TemplateError as error:
        raise UnsupportedModel(f"its chat template {error}; {OTHER_LAYOUT}") from error
    except Exception as error:  # a template can be wrong in many ways, and can be nested more deeply than Python's stack
        raise UnsupportedModel(f"its chat template is not valid ({type(error).__name__}); {OTHER_LAYOUT}") from error


def _content(name: SlotName, is_structured: bool) -> Any:
    text = _Text((Slot(name),))
    return [{"type": "text", "text": text}] if is_structured else text


def _parsed(template: str) -> Any:
    """Return the syntax tree of a template, with the settings of transformers. Parsing does not evaluate anything."""
    jinja2 = import_optional("jinja2", "decoders")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    return environment.parse(template)


class _Evaluation:
    """The evaluation of one template. A method whose name is that of a class of Jinja's nodes evaluates such nodes."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = dict(variables)
        self._steps = itertools.count(1)

    def body(self, nodes: Iterable[Any]) -> _Text:
        """Return the text that statements produce."""
        outputs: list[Any] = []
        try:
            for node in nodes:
                outputs.append(self._evaluate(node))  # not a comprehension: the outputs before a break are kept
        except _LoopControl as control:
            control.output = _concatenated([*outputs, control.output])
            raise
        return _concatenated(outputs)

    def _scoped_body(self, nodes: Iterable[Any]) -> _Text:
        """Return the text that statements produce. Names that are set in them do not exist after them."""
        outer = self._variables
        self._variables = dict(outer)
        try:
            return self.body(nodes)
        finally:
            self._variables = outer

    def _evaluate(self, node: Any) -> Any:
        """Return the value of an expression, or the text that a statement produces."""
        if next(self._steps) > MAX_STEPS:
            raise _TemplateError(f"takes more than {MAX_STEPS:,} steps")
        method = getattr(self, f"_{type(node).__name__.lower()}_node", None)
        if method is None:
            raise _TemplateError(f"uses {type(node).__name__}, which podium does not evaluate")
        return method(node)

    # Statements

    def _output_node(self, node: Any) -> _Text:
        return _concatenated([_output(self._evaluate(item)) for item in node.nodes])

    def _templatedata_node(self, node: Any) -> str:
        return str(node.data)

    def _if_node(self, node: Any) -> _Text:
        for branch in (node, *node.elif_):
            if _truth(self._evaluate(branch.test)):
                return self.body(branch.body)
        return self.body(node.else_)

    def _for_node(self, node: Any) -> _Text:
        """Evaluate a loop. As in Jinja, names that are set in the loop do not exist after it."""
        if node.test is not None or node.recursive:
            raise _TemplateError("has a loop with a condition, which podium does not evaluate")
        items = _list(self._evaluate(node.iter))
        outer = self._variables
        outputs: list[_Text] = []
        for position, item in enumerate(items):
            self._variables = {**outer, "loop": _Loop(items, position)}
            self._assign(node.target, item)
            try:
                outputs.append(self.body(node.body))
            except _LoopControl as control:
                outputs.append(control.output)
                if control.ends_loop:
                    break
        self._variables = outer
        return _concatenated(outputs) if items else self._scoped_body(node.else_)

    def _break_node(self, node: Any) -> None:
        raise _LoopControl(ends_loop=True)

    def _continue_node(self, node: Any) -> None:
        raise _LoopControl(ends_loop=False)

    def _assign_node(self, node: Any) -> _Text:
        self._assign(node.target, self._evaluate(node.node))
        return _Text(())

    def _assignblock_node(self, node: Any) -> _Text:
        if node.filter is not None:
            raise _TemplateError("uses a block with a filter, which podium does not evaluate")
        try:
            text = self._scoped_body(node.body)
        except _LoopControl:
            raise _TemplateError("ends a loop in a block, which podium does not evaluate") from None
        self._assign(node.target, text)
        return _Text(())

    def _assign(self, target: Any, value: Any) -> None:
        kind = type(target).__name__
        if kind == "Name":
            self._variables[target.name] = value
        elif kind == "NSRef" and isinstance(self._variables.get(target.name), _Namespace):
            self._variables[target.name].fields[target.attr] = value
        else:
            raise _TemplateError(f"assigns to {kind}, which podium does not evaluate")

    # Expressions

    def _const_node(self, node: Any) -> Any:
        return node.value

    def _name_node(self, node: Any) -> Any:
        return self._variables.get(node.name, UNDEFINED)

    def _list_node(self, node: Any) -> Any:
        return _checked_list([self._evaluate(item) for item in node.items])

    _tuple_node = _list_node

    def _dict_node(self, node: Any) -> dict[Any, Any]:
        return {_known(self._evaluate(pair.key)): self._evaluate(pair.value) for pair in node.items}

    def _getattr_node(self, node: Any) -> Any:
        value = self._evaluate(node.node)
        if isinstance(value, dict) and hasattr(value, node.attr):
            raise _TemplateError(f"reads the method {node.attr}, which podium does not evaluate")
        return _item(value, node.attr)

    def _getitem_node(self, node: Any) -> Any:
        value = self._evaluate(node.node)
        if type(node.arg).__name__ == "Slice":
            bounds = (node.arg.start, node.arg.stop, node.arg.step)
            return _list(value)[slice(*(None if bound is None else _known(self._evaluate(bound)) for bound in bounds))]
        return _item(value, _known(self._evaluate(node.arg)))

    def _compare_node(self, node: Any) -> bool:
        left = self._evaluate(node.expr)
        for operand in node.ops:
            right = self._evaluate(operand.expr)
            if not _comparison(operand.op, left, right):
                return False
            left = right
        return True

    def _and_node(self, node: Any) -> Any:
        left = self._evaluate(node.left)
        return self._evaluate(node.right) if _truth(left) else left

    def _or_node(self, node: Any) -> Any:
        left = self._evaluate(node.left)
        return left if _truth(left) else self._evaluate(node.right)

    def _not_node(self, node: Any) -> bool:
        return not _truth(self._evaluate(node.node))

    def _neg_node(self, node: Any) -> Any:
        return -_number(self._evaluate(node.node))

    def _condexpr_node(self, node: Any) -> Any:
        if _truth(self._evaluate(node.test)):
            return self._evaluate(node.expr1)
        return UNDEFINED if node.expr2 is None else self._evaluate(node.expr2)

    def _add_node(self, node: Any) -> Any:
        left = self._evaluate(node.left)
        right = self._evaluate(node.right)
        if _is_text(left) and _is_text(right):
            return _concatenated([left, right])
        if isinstance(left, list) and isinstance(right, list):
            return _checked_list(left + right)
        return _number(left) + _number(right)

    def _sub_node(self, node: Any) -> Any:
        return _number(self._evaluate(node.left)) - _number(self._evaluate(node.right))

    def _concat_node(self, node: Any) -> _Text:
        return _concatenated([_output(self._evaluate(item)) for item in node.nodes])

    def _filter_node(self, node: Any) -> Any:
        """Apply a filter. A filter of a block, which has no input, is not evaluated."""
        if node.node is None or node.name not in FILTERS:
            raise _TemplateError(f"uses the filter {node.name}, which podium does not evaluate")
        arguments, keywords = self._arguments(node)
        return FILTERS[node.name](self._evaluate(node.node), *arguments, **keywords)

    def _test_node(self, node: Any) -> bool:
        arguments, _ = self._arguments(node)
        return _test(node.name, self._evaluate(node.node), *arguments)

    def _call_node(self, node: Any) -> Any:
        """Call a method of a text or an object, or a function of transformers."""
        arguments, keywords = self._arguments(node)
        kind = type(node.node).__name__
        if kind == "Getattr" and node.node.attr in METHODS:
            return _method_result(node.node.attr, self._evaluate(node.node.node), *arguments, **keywords)
        name = node.node.name if kind == "Name" else "a function"
        if name == "namespace":
            return _Namespace(_fields(*arguments) | keywords)
        if name == "raise_exception":
            raise _TemplateError(f"refuses a query with a document: {str(arguments[:1])[:200]}")
        raise _TemplateError(f"calls {name}, which podium does not evaluate")

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the named arguments of a filter, a test or a call."""
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise _TemplateError("uses * or ** in a call, which podium does not evaluate")
        return [self._evaluate(item) for item in node.args], {item.key: self._evaluate(item.value) for item in node.kwargs}


def _is_text(value: Any) -> bool:
    return isinstance(value, str | _Text)


def _parts(value: Any) -> tuple[Part, ...]:
    return value.parts if isinstance(value, _Text) else (value,)


def _concatenated(values: Iterable[Any]) -> _Text:
    """Return the concatenation of texts. Raises _TemplateError if it is too long."""
    parts = [part for value in values for part in _parts(value)]
    _check_length(sum(len(part) for part in parts if isinstance(part, str)))
    text = _Text(joined(parts))
    _checked_list(text.parts)
    return text


def _check_length(length: int) -> None:
    """Raise _TemplateError for a text of so many characters if it is too long. Call it before the text is made."""
    if length > MAX_LENGTH:
        raise _TemplateError(f"makes a text of more than {MAX_LENGTH:,} characters")


def _output(value: Any) -> Any:
    """Return a value as a template writes it."""
    if isinstance(value, _Undefined):
        return ""
    if _is_text(value):
        return value
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    raise _TemplateError("writes a list or an object, which podium does not evaluate")


def _known(value: Any) -> Any:
    """Return a value that does not depend on a text that is not known: a text as str. Raises _TemplateError for others."""
    if not isinstance(value, _Text):
        return value
    if not value.is_known:
        raise _TemplateError("depends on what the texts contain")
    return "".join(part for part in value.parts if isinstance(part, str))


def _comparison(name: str, left: Any, right: Any) -> bool:
    """Return the result of a comparison. Texts that are not known, lists in lists, and objects cannot be compared."""
    if name in ("in", "notin") and isinstance(right, list | dict):
        return COMPARISONS[name](_scalar(left), [_scalar(item) for item in right])
    return COMPARISONS[name](_scalar(left), _scalar(right))


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict | _Namespace | _Loop):
        raise _TemplateError("compares a list or an object, which podium does not evaluate")
    return _known(value)


def _truth(value: Any) -> bool:
    """Return whether a condition is true. Texts that are not known are not empty."""
    return bool(value.parts) if isinstance(value, _Text) else bool(value)


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float):
        raise _TemplateError("calculates with a value that is not a number")
    return value


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _TemplateError("iterates over a value that is not a list")


def _checked_list(values: Any) -> Any:
    """Return a list or a text's parts. Raises _TemplateError if there are too many."""
    if len(values) > MAX_ITEMS:
        raise _TemplateError(f"makes a list of more than {MAX_ITEMS:,} entries")
    return values


def _item(value: Any, key: Any) -> Any:
    """Return a field of an object or an entry of a list, UNDEFINED if it is missing."""
    if isinstance(value, _Loop):
        return value.field(key)
    if isinstance(value, _Namespace):
        value = value.fields
    if isinstance(value, dict):
        return value.get(key, UNDEFINED)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else UNDEFINED
    raise _TemplateError(f"reads {str(key)[:40]!r} of a value that does not have fields")


def _attribute(value: Any, path: Any) -> Any:
    """Return the value at a path of fields and positions, such as content.0.text."""
    for name in str(_known(path)).split("."):
        value = _item(value, int(name) if name.isdecimal() else name)
    return value


def _fields(values: Any = None, *others: Any) -> dict[str, Any]:
    """Return the fields of namespace(…) that are those of an object."""
    if others or not isinstance(values, dict | None):
        raise _TemplateError("calls namespace with a value that is not an object")
    return dict(values or {})


def _stripped(value: Any, *, starts: bool = True, ends: bool = True) -> _Text:
    """Return a text without whitespace at its start, at its end, or both. A slot at an end gets the property."""
    parts = list(_parts(_output(value)))
    if starts:
        parts = _stripped_start(parts)
    if ends:
        mirrored = _stripped_start([_mirrored(part) for part in reversed(parts)])
        parts = [_mirrored(part) for part in reversed(mirrored)]
    return _Text(tuple(parts))


def _stripped_start(parts: Sequence[Part]) -> list[Part]:
    for index, part in enumerate(parts):
        if isinstance(part, Slot):
            return [replace(part, strips_start=True), *parts[index + 1 :]]
        if part.strip():
            return [part.lstrip(), *parts[index + 1 :]]
    return []


def _mirrored(part: Part) -> Part:
    """Return a part read from its end, so that one function can strip both ends."""
    if isinstance(part, Slot):
        return replace(part, strips_start=part.strips_end, strips_end=part.strips_start)
    return part[::-1]


def _first(values: Any) -> Any:
    return _item(_list(values), 0)


def _last(values: Any) -> Any:
    return _item(_list(values), -1)


def _default(value: Any, default: Any = "", boolean: bool = False) -> Any:
    return default if isinstance(value, _Undefined) or (boolean and not _truth(value)) else value


def _join(values: Any, separator: Any = "") -> _Text:
    texts = [_output(item) for item in _list(values)]
    return _concatenated([text for index, item in enumerate(texts) for text in ((separator, item) if index else (item,))])


def _mapped(values: Any, *, attribute: str) -> list[Any]:
    return [_attribute(item, attribute) for item in _list(values)]


def _selected(values: Any, attribute: str, test: str | None = None, *arguments: Any) -> list[Any]:
    return [item for item in _list(values) if _passes(item, attribute, test, *arguments)]


def _rejected(values: Any, attribute: str, test: str | None = None, *arguments: Any) -> list[Any]:
    return [item for item in _list(values) if not _passes(item, attribute, test, *arguments)]


def _passes(item: Any, attribute: str, test: str | None, *arguments: Any) -> bool:
    value = _attribute(item, attribute)
    return _truth(value) if test is None else _test(test, value, *arguments)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else len(_known(value))


def _replaced(value: Any, old: Any, new: Any) -> str:
    text: str = _known(_output(value))
    searched: str = _known(old)
    replacement: str = _known(new)
    _check_length(len(text) + text.count(searched) * len(replacement))
    return text.replace(searched, replacement)


FILTERS: dict[str, Callable[..., Any]] = {
    "trim": lambda value: _stripped(value),
    "first": _first,
    "last": _last,
    "default": _default,
    "d": _default,
    "join": _join,
    "list": _list,
    "map": _mapped,
    "selectattr": _selected,
    "rejectattr": _rejected,
    "length": _length,
    "count": _length,
    "string": _output,
    "replace": _replaced,
}
METHODS: dict[str, Callable[..., Any]] = {
    "strip": lambda value: _stripped(value),
    "lstrip": lambda value: _stripped(value, ends=False),
    "rstrip": lambda value: _stripped(value, starts=False),
    "startswith": lambda value, start: _known(value).startswith(_known(start)),
    "endswith": lambda value, end: _known(value).endswith(_known(end)),
    "get": lambda value, key, default=None: _default(_item(value, _known(key)), default),
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
TESTS: dict[str, Callable[..., bool]] = {
    "defined": lambda value: not isinstance(value, _Undefined),
    "undefined": lambda value: isinstance(value, _Undefined),
    "none": lambda value: value is None,
    "string": _is_text,
    "mapping": lambda value: isinstance(value, dict),
    "iterable": lambda value: isinstance(value, str | _Text | list | dict | _Undefined | _Loop),
    "sequence": lambda value: isinstance(value, str | _Text | list | dict | _Undefined),
    "number": lambda value: isinstance(value, int | float),
    "boolean": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
}


def _method_result(name: str, value: Any, *arguments: Any, **keywords: Any) -> Any:
    """Return the result of a method: get is one of objects, and the others are of texts."""
    if not (isinstance(value, dict) if name == "get" else _is_text(value)):
        raise _TemplateError(f"calls {name} of a value that does not have this method")
    return METHODS[name](value, *arguments, **keywords)


def _test(name: str, value: Any, *arguments: Any) -> bool:
    """Return the result of a test, which is a comparison or a property of the value."""
    comparison = {"==": "eq", "equalto": "eq", "!=": "ne"}.get(name, name)
    if comparison in COMPARISONS:
        (argument,) = arguments
        return _comparison(comparison, value, argument)
    if name not in TESTS:
        raise _TemplateError(f"uses the test {str(name)[:40]}, which podium does not evaluate")
    return TESTS[name](value)
