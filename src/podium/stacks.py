"""Configuration files of rerankers, in TOML: compositions, models, their options, and the source of a search.

    candidates = 50

    [source]
    place = "redis://localhost:6379/products"

    [reranker]
    use = "Cascade"
    keep = 20
    cheap = "podium-mini"
    strong = { model = "org/model", precision = "int8" }

A scorer is a table with `model`, a table with `use` (the name of a composition in `podium.compose.table`), or the name of a
model. Everything is checked before a model is loaded. Errors name the file and the line.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.compose.components import Component
from podium.compose.table import COMPONENTS
from podium.errors import Argument, InvalidInput, PodiumError
from podium.inputs import checked_fields
from podium.load import HOSTED_OPTIONS, LOCAL_OPTIONS, check_name, hosted_scorer, local_scorer, provider_of
from podium.options import Option
from podium.places import SourceOptions, embedder
from podium.ranking import Reranker
from podium.scorers import BaseScorer
from podium.sources.fusion import Fusion, Mode
from podium.toml_files import KeyPath, TomlFile, read_toml
from podium.types import Embed

__all__ = ["EmbedderLoader", "ModelLoader", "Stack", "model_scorer", "read_stack", "stack_of"]

ModelLoader = Callable[[str, Mapping[str, Any]], BaseScorer]
"""A function from a model's name and options to its scorer."""
EmbedderLoader = Callable[[str], Embed | None]
"""A function from an embedder's name to the embedder."""
Wrap = Callable[[BaseScorer], BaseScorer]
"""A function from a composition to the scorer that is used in its place."""

STACK_OPTIONS = (
    Option("limit", int, minimum=1),
    Option("candidates", int, minimum=1),
    Option("rank_by", str | tuple[str, ...]),
)
PLACE_OPTION = Option("place", str)
SOURCE_OPTIONS = (  # the fields of SourceOptions
    Option("text", tuple[str, ...]),
    Option("embed", str),
    Option("mode", Mode),
    Option("fusion", Fusion),
    Option("text_weight", float, minimum=0, maximum=1),
    Option("vector", str),
    Option("filter", str),
    Option("return_fields", tuple[str, ...]),
    Option("ef_runtime", int, minimum=1),
    Option("timeout", float, above=0),
)
MODEL_KEY = "model"
COMPONENT_KEY = "use"
EXAMPLE_SCORER = '"podium-mini", or a table with a composition'
EXAMPLES = {
    "embed": '"./folder" or "org/model", an embedder',
    "calibration": '"calibration.json", a file written by podium calibrate',
    "place": '"redis://localhost:6379/products", or the path of an index or of a file',
    "scorers": '["podium-mini"], a list with models or tables of compositions',
}
"""Key → an example of its value, for the message that it is missing. Other keys have a scorer."""


def _unchanged(scorer: BaseScorer) -> BaseScorer:
    return scorer


@dataclass(frozen=True, slots=True)
class _Node:
    """A checked table of a scorer: a model, or a component. `path` is the way to the table in the file.

    `scorers` are the scorers of a component by their keys: a node, or a list of nodes.
    """

    path: KeyPath
    options: Mapping[str, Any]
    model: str = ""
    component: Component | None = None
    scorers: Mapping[str, _Node | list[_Node]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stack:
    """The checked content of a configuration file. `scorer` loads its models.

    `place` is that of the source of a search, None if the file has none, and `source` are its options. `candidates` is the
    number of documents that are requested from the source, and that an evaluation reranks.
    """

    file: TomlFile
    root: _Node = field(repr=False)
    limit: int | None = None
    candidates: int | None = None
    rank_by: str | list[str] | None = None
    place: str | None = None
    source: SourceOptions = field(default_factory=SourceOptions)

    def scorer(
        self,
        *,
        threads: int | None = None,
        load_model: ModelLoader | None = None,
        load_embedder: EmbedderLoader = embedder,
        wrap: Wrap = _unchanged,
    ) -> BaseScorer:
        """Load the models and return the scorer. `threads` is the default for models on this machine.

        `load_model` and `load_embedder` load models in another way, for example to store their scores, and `wrap` is applied
        to each composition. Raises the errors of podium.load and of the compositions, with the file and the line.
        """
        return self._created(self.root, load_model or functools.partial(model_scorer, threads=threads), load_embedder, wrap)

    def reranker(self, scorer: BaseScorer) -> Reranker:
        """Return the reranker with a scorer that this stack loaded, and with the defaults of the file."""
        reranker = Reranker(scorer, limit=self.limit, rank_by=self.rank_by)
        reranker.candidates = self.candidates
        return reranker

    def _created(self, node: _Node, load_model: ModelLoader, load_embedder: EmbedderLoader, wrap: Wrap) -> BaseScorer:
        """Return the scorer of a node. The other arguments are those of `scorer`."""
        if node.component is None:
            with _located(self.file, node.path):
                return load_model(node.model, node.options)
        create = functools.partial(self._created, load_model=load_model, load_embedder=load_embedder, wrap=wrap)
        scorers = {
            key: [create(item) for item in value] if isinstance(value, list) else create(value)
            for key, value in node.scorers.items()
        }
        with _located(self.file, node.path):
            embedders = {name: load_embedder(node.options[name]) for name in node.component.embedders if name in node.options}
            return wrap(node.component.create(**scorers, **{**node.options, **embedders}))


def read_stack(path: str | os.PathLike[str], components: Sequence[Component] = COMPONENTS) -> Stack:
    """Return the checked content of a configuration file. Raises InvalidInput, and ModelNotFound if a name is not a model's."""
    return stack_of(read_toml(Path(path)), components)


def stack_of(file: TomlFile, components: Sequence[Component] = COMPONENTS) -> Stack:
    """Return the checked content of a file that was read. Raises the errors of `read_stack`."""
    reader = _Reader(file, {component.name: component for component in components})
    options = reader.options(file.table, (), STACK_OPTIONS, extra=("reranker", "source"))
    if "reranker" not in file.table:
        raise InvalidInput(f"{file.path} has no reranker; name a model or a composition under [reranker]")
    try:
        root = reader.node(file.table["reranker"], ("reranker",))
    except RecursionError as error:
        raise InvalidInput(f"{file.path} is nested too deeply") from error
    if isinstance(names := options.get("rank_by"), tuple):
        options["rank_by"] = list(names)
    with _located(file, ("rank_by",)):
        checked_fields(options.get("rank_by"))
    if "source" in file.table:
        source = reader.table(file.table["source"], ("source",))
        source_options = reader.options(source, ("source",), (PLACE_OPTION, *SOURCE_OPTIONS), required=("place",))
        options["place"] = _resolved(file, source_options.pop("place"))
        if "embed" in source_options:
            source_options["embed"] = _model_name(file, source_options["embed"])
        options["source"] = SourceOptions(**source_options)
    return Stack(file, root, **options)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks the tables of a file."""

    file: TomlFile
    components: Mapping[str, Component]

    def node(self, value: Any, path: KeyPath) -> _Node:
        """Return the checked scorer in a table or in the name of a model."""
        table = {MODEL_KEY: value} if isinstance(value, str) else self.table(value, path, "the name of a model, or a table")
        if (MODEL_KEY in table) == (COMPONENT_KEY in table):
            number = "both" if MODEL_KEY in table else "neither"
            remedy = "remove one of them" if MODEL_KEY in table else "add one of them"
            raise self.error(
                path, f"a scorer has the key {MODEL_KEY}, or {COMPONENT_KEY} for a composition; this has {number}; {remedy}"
            )
        return self._component(table, path) if COMPONENT_KEY in table else self._model(table, path)

    def table(self, value: Any, path: KeyPath, expected: str = "a table") -> dict[str, Any]:
        if not isinstance(value, dict):
            name = path[-1] if isinstance(path[-1], str) else f"scorer {path[-1] + 1} of the list"
            raise self.error(path, f"{name} must be {expected}, not {_kind_of(value)}")
        return value

    def options(
        self,
        table: Mapping[str, Any],
        path: KeyPath,
        rows: Iterable[Option],
        *,
        extra: Sequence[str] = (),
        required: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return the checked options in a table. `extra` are its keys that are not options."""
        rows_by_name = {row.attribute: row for row in rows}
        known = [*extra, *rows_by_name]
        for name in table:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1)
                remedy = f"did you mean {similar[0]}?" if similar else f"this table can have {', '.join(known)}"
                raise self.error((*path, name), f"there is no key {name} here; {remedy}")
        if missing := [name for name in required if name not in table]:
            raise self.error(path, f"{missing[0]} is missing; add {missing[0]} = {EXAMPLES.get(missing[0], EXAMPLE_SCORER)}")
        checked = {}
        for name, row in rows_by_name.items():
            if name in table:
                with _located(self.file, (*path, name)):
                    checked[name] = row.checked(table[name])
        return checked

    def error(self, path: KeyPath, message: str) -> InvalidInput:
        return InvalidInput(self.file.location(path) + message)

    def _model(self, table: Mapping[str, Any], path: KeyPath) -> _Node:
        name = table[MODEL_KEY]
        with _located(self.file, (*path, MODEL_KEY)):
            model = _model_name(self.file, name)
            is_hosted = provider_of(model) is not None
            check_name(model)
        rows, foreign = (HOSTED_OPTIONS, LOCAL_OPTIONS) if is_hosted else (LOCAL_OPTIONS, HOSTED_OPTIONS)
        if refused := [row.attribute for row in foreign if row.attribute in table]:
            kind = "models on this machine" if is_hosted else "hosted models"
            raise self.error((*path, refused[0]), f"{refused[0]} is only for {kind}, and {model} is not one; leave it out")
        return _Node(path, self.options(table, path, rows, extra=(MODEL_KEY,)), model=model)

    def _component(self, table: Mapping[str, Any], path: KeyPath) -> _Node:
        name = table[COMPONENT_KEY]
        if not isinstance(name, str) or name not in self.components:
            similar = difflib.get_close_matches(str(name), self.components, n=1)
            remedy = f"did you mean {similar[0]}?" if similar else f"known are {', '.join(self.components)}"
            raise self.error((*path, COMPONENT_KEY), f"there is no composition {str(name)!r:.40}; {remedy}")
        component = self.components[name]
        keys = (COMPONENT_KEY, *component.scorers, *component.scorer_lists)
        required = (*component.scorers, *component.scorer_lists, *component.required)
        options = self.options(table, path, component.options, extra=keys, required=required)
        for resolve, names in ((_resolved, component.files), (_model_name, component.embedders)):
            for option in names:
                if option in options:
                    options[option] = resolve(self.file, options[option])
        scorers: dict[str, _Node | list[_Node]] = {key: self.node(table[key], (*path, key)) for key in component.scorers}
        for key in component.scorer_lists:
            if not isinstance(table[key], list) or not table[key]:
                kind = "an empty list" if table[key] == [] else _kind_of(table[key])
                raise self.error((*path, key), f"{key} must be a list with at least one scorer, not {kind}")
            scorers[key] = [self.node(item, (*path, key, index)) for index, item in enumerate(table[key])]
        return _Node(path, options, component=component, scorers=scorers)


@contextmanager
def _located(file: TomlFile, path: KeyPath) -> Iterator[None]:
    """Begin the message of an error in the block with the file and the line of a value, unless an inner block did."""
    try:
        yield
    except PodiumError as error:
        if not str(error).startswith(str(file.path)):
            parts = [_as_key(part) if isinstance(part, Argument) and file.path.name else part for part in error.args]
            error.args = (file.location(path), *parts)
        raise


def _as_key(argument: Argument) -> str:
    """Return an argument as a file has it, such as `price = "0.05/Mtokens"`, or `price` without a value."""
    is_example = argument.value is not None and argument.value is not ...
    return f"{argument.name} = {json.dumps(argument.value)}" if is_example else argument.name


def _resolved(file: TomlFile, location: str) -> str:
    """Return a URL as it is, and a path so that a relative one starts at the folder of the file."""
    return location if "://" in location else str(file.path.parent / location)


def _model_name(file: TomlFile, name: Any) -> Any:
    """Return the path of a folder (./ or ../), which starts at the folder of the file, as an absolute one; others as they are.

    It is absolute, because without its "./" it could be the name of a model on the hub.
    """
    is_path = isinstance(name, str) and name.startswith(("./", "../"))
    return os.path.abspath(_resolved(file, name)) if is_path else name


def model_scorer(name: str, options: Mapping[str, Any], threads: int | None = None) -> BaseScorer:
    """Return the scorer of a model, with the default number of threads for a model on this machine."""
    if provider := provider_of(name):
        return hosted_scorer(provider, name.partition(":")[2], **options)
    defaults = {} if threads is None else {"threads": threads}
    return local_scorer(name, **{**defaults, **options})


def _kind_of(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date")
