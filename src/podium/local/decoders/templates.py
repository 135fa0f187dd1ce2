"""Chat templates, which are programs in the language Jinja, as Prompts.

A template is not run as a program. Jinja only parses it, and `_Evaluation` evaluates the syntax tree with slots in the place of
the texts, so that the result is a Prompt. A template can therefore not execute code, its steps and the length of its result are
limited, and no text of a user is ever part of a template's evaluation. Templates that use anything else of the language, or
whose result depends on what the texts contain, are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from podium.errors import PodiumError, UnsupportedModel
from podium.extras import import_optional
from podium.local.decoders.prompts import Part, Slot, SlotName
from podium.local.decoders.template_functions import (
    FILTERS,
    METHODS,
    comparison_result,
    method_result,
    namespace_fields,
    passes_test,
)
from podium.local.decoders.template_values import (
    UNDEFINED,
    Loop,
    Namespace,
    TemplateError,
    TemplateText,
    checked_items,
    concatenated,
    is_text,
    item_of,
    known_value,
    list_value,
    number_value,
    output_value,
    truth_value,
)

__all__ = ["MAX_TEMPLATE", "render"]

MAX_TEMPLATE = 100_000  # characters; the longest chat templates have about 20,000
MAX_STEPS = 5_000  # nodes of the syntax tree that are evaluated; a template of a reranker needs about 100
OTHER_LAYOUT = "use the model's original repository, or a conversion whose template renders the roles query and document"


class _LoopControl(Exception):
    """The statement break or continue in a loop. `output` is the text that the loop's body has produced before it."""

    def __init__(self, *, ends_loop: bool) -> None:
        super().__init__()
        self.ends_loop = ends_loop
        self.output = TemplateText(())


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
            raise TemplateError(f"has {len(template):,} characters, more than {MAX_TEMPLATE:,}")
        evaluation = _Evaluation({**variables, "messages": messages})
        return evaluation.body(_parsed(template).body).parts
    except PodiumError:
        raise
    except TemplateError as error:
        raise UnsupportedModel(f"its chat template {error}; {OTHER_LAYOUT}") from error
    except Exception as error:  # a template can be wrong in many ways, and can be nested more deeply than Python's stack
        raise UnsupportedModel(f"its chat template is not valid ({type(error).__name__}); {OTHER_LAYOUT}") from error


def _content(name: SlotName, is_structured: bool) -> Any:
    text = TemplateText((Slot(name),))
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

    def body(self, nodes: Iterable[Any]) -> TemplateText:
        """Return the text that statements produce."""
        outputs: list[Any] = []
        try:
            for node in nodes:
                outputs.append(self._evaluate(node))  # not a comprehension: the outputs before a break are kept
        except _LoopControl as control:
            control.output = concatenated([*outputs, control.output])
            raise
        return concatenated(outputs)

    def _scoped_body(self, nodes: Iterable[Any]) -> TemplateText:
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
            raise TemplateError(f"takes more than {MAX_STEPS:,} steps")
        method = getattr(self, f"_{type(node).__name__.lower()}_node", None)
        if method is None:
            raise TemplateError(f"uses {type(node).__name__}, which podium does not evaluate")
        return method(node)

    # Statements

    def _output_node(self, node: Any) -> TemplateText:
        return concatenated([output_value(self._evaluate(item)) for item in node.nodes])

    def _templatedata_node(self, node: Any) -> str:
        return str(node.data)

    def _if_node(self, node: Any) -> TemplateText:
        for branch in (node, *node.elif_):
            if truth_value(self._evaluate(branch.test)):
                return self.body(branch.body)
        return self.body(node.else_)

    def _for_node(self, node: Any) -> TemplateText:
        """Evaluate a loop. As in Jinja, names that are set in the loop do not exist after it."""
        if node.test is not None or node.recursive:
            raise TemplateError("has a loop with a condition, which podium does not evaluate")
        items = list_value(self._evaluate(node.iter))
        outer = self._variables
        outputs: list[TemplateText] = []
        for position, item in enumerate(items):
            self._variables = {**outer, "loop": Loop(items, position)}
            self._assign(node.target, item)
            try:
                outputs.append(self.body(node.body))
            except _LoopControl as control:
                outputs.append(control.output)
                if control.ends_loop:
                    break
        self._variables = outer
        return concatenated(outputs) if items else self._scoped_body(node.else_)

    def _break_node(self, node: Any) -> None:
        raise _LoopControl(ends_loop=True)

    def _continue_node(self, node: Any) -> None:
        raise _LoopControl(ends_loop=False)

    def _assign_node(self, node: Any) -> TemplateText:
        self._assign(node.target, self._evaluate(node.node))
        return TemplateText(())

    def _assignblock_node(self, node: Any) -> TemplateText:
        if node.filter is not None:
            raise TemplateError("uses a block with a filter, which podium does not evaluate")
        try:
            text = self._scoped_body(node.body)
        except _LoopControl:
            raise TemplateError("ends a loop in a block, which podium does not evaluate") from None
        self._assign(node.target, text)
        return TemplateText(())

    def _assign(self, target: Any, value: Any) -> None:
        kind = type(target).__name__
        if kind == "Name":
            self._variables[target.name] = value
        elif kind == "NSRef" and isinstance(self._variables.get(target.name), Namespace):
            self._variables[target.name].fields[target.attr] = value
        else:
            raise TemplateError(f"assigns to {kind}, which podium does not evaluate")

    # Expressions

    def _const_node(self, node: Any) -> Any:
        return node.value

    def _name_node(self, node: Any) -> Any:
        return self._variables.get(node.name, UNDEFINED)

    def _list_node(self, node: Any) -> Any:
        return checked_items([self._evaluate(item) for item in node.items])

    _tuple_node = _list_node

    def _dict_node(self, node: Any) -> dict[Any, Any]:
        return {known_value(self._evaluate(pair.key)): self._evaluate(pair.value) for pair in node.items}

    def _getattr_node(self, node: Any) -> Any:
        value = self._evaluate(node.node)
        if isinstance(value, dict) and hasattr(value, node.attr):
            raise TemplateError(f"reads the method {node.attr}, which podium does not evaluate")
        return item_of(value, node.attr)

    def _getitem_node(self, node: Any) -> Any:
        value = self._evaluate(node.node)
        if type(node.arg).__name__ == "Slice":
            bounds = (node.arg.start, node.arg.stop, node.arg.step)
            positions = [None if bound is None else known_value(self._evaluate(bound)) for bound in bounds]
            return list_value(value)[slice(*positions)]
        return item_of(value, known_value(self._evaluate(node.arg)))

    def _compare_node(self, node: Any) -> bool:
        left = self._evaluate(node.expr)
        for operand in node.ops:
            right = self._evaluate(operand.expr)
            if not comparison_result(operand.op, left, right):
                return False
            left = right
        return True

    def _and_node(self, node: Any) -> Any:
        left = self._evaluate(node.left)
        return self._evaluate(node.right) if truth_value(left) else left

    def _or_node(self, node: Any) -> Any:
        left = self._evaluate(node.left)
        return left if truth_value(left) else self._evaluate(node.right)

    def _not_node(self, node: Any) -> bool:
        return not truth_value(self._evaluate(node.node))

    def _neg_node(self, node: Any) -> Any:
        return -number_value(self._evaluate(node.node))

    def _condexpr_node(self, node: Any) -> Any:
        if truth_value(self._evaluate(node.test)):
            return self._evaluate(node.expr1)
        return UNDEFINED if node.expr2 is None else self._evaluate(node.expr2)

    def _add_node(self, node: Any) -> Any:
        left = self._evaluate(node.left)
        right = self._evaluate(node.right)
        if is_text(left) and is_text(right):
            return concatenated([left, right])
        if isinstance(left, list) and isinstance(right, list):
            return checked_items(left + right)
        return number_value(left) + number_value(right)

    def _sub_node(self, node: Any) -> Any:
        return number_value(self._evaluate(node.left)) - number_value(self._evaluate(node.right))

    def _concat_node(self, node: Any) -> TemplateText:
        return concatenated([output_value(self._evaluate(item)) for item in node.nodes])

    def _filter_node(self, node: Any) -> Any:
        """Apply a filter. A filter of a block, which has no input, is not evaluated."""
        if node.node is None or node.name not in FILTERS:
            raise TemplateError(f"uses the filter {node.name}, which podium does not evaluate")
        arguments, keywords = self._arguments(node)
        return FILTERS[node.name](self._evaluate(node.node), *arguments, **keywords)

    def _test_node(self, node: Any) -> bool:
        arguments, _ = self._arguments(node)
        return passes_test(node.name, self._evaluate(node.node), *arguments)

    def _call_node(self, node: Any) -> Any:
        """Call a method of a text or an object, or a function of transformers."""
        arguments, keywords = self._arguments(node)
        kind = type(node.node).__name__
        if kind == "Getattr" and node.node.attr in METHODS:
            return method_result(node.node.attr, self._evaluate(node.node.node), *arguments, **keywords)
        name = node.node.name if kind == "Name" else "a function"
        if name == "namespace":
            return Namespace(namespace_fields(*arguments) | keywords)
        if name == "raise_exception":
            raise TemplateError(f"refuses a query with a document: {str(arguments[:1])[:200]}")
        raise TemplateError(f"calls {name}, which podium does not evaluate")

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the named arguments of a filter, a test or a call."""
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise TemplateError("uses * or ** in a call, which podium does not evaluate")
        return [self._evaluate(item) for item in node.args], {item.key: self._evaluate(item.value) for item in node.kwargs}
