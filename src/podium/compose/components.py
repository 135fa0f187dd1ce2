"""Component, the description of a composition for configuration files: its name there, its scorers and its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from podium.options import Option
from podium.scorers import BaseScorer

__all__ = ["Component"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A composition that a configuration file can have. `podium.compose.table` lists the components.

    - `name`: the value of the key `use` in the table of a component.
    - `create`: returns the scorer. Its keyword arguments are the scorers and the options that the table has.
    - `scorers`: the keys that have a scorer: a table, or the name of a model. `scorer_lists`: those with a list of them.
    - `options`: the other keys, with the types and limits of their values. `required`: the options that must be there.
    - `files`: the options whose values are paths. A relative path starts at the folder of the configuration file, and an
      option's value may also be a URL.
    - `embedders`: the options whose values are names of embedders. `create` gets the loaded embedder.
    """

    name: str
    create: Callable[..., BaseScorer]
    scorers: tuple[str, ...] = ()
    scorer_lists: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    required: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    embedders: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that a table of this component can have besides `use`."""
        return (*self.scorers, *self.scorer_lists, *(option.attribute for option in self.options))

    def checked(self, name: str, value: Any) -> Any:
        """Return the value of an option, converted to its type. Raises InvalidInput."""
        return next(option for option in self.options if option.attribute == name).checked(value)
