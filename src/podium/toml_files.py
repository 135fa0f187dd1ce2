"""Read a TOML file and find the lines of its keys, so that errors can name them; and write a table as TOML."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from podium.errors import InvalidInput, unreadable

__all__ = ["KeyPath", "TomlFile", "read_toml", "toml_text"]

_toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""The way to a value: the names of tables and keys, and the indices (from 0) of tables in an array."""

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_NAMES = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(?P<brackets>\[\[?)\s*(?P<names>{_NAMES})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*(?P<names>{_NAMES})\s*=")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """The content of a TOML file, and the line (from 1) of each key and table.

    A table that was not read from a file has the path "". Then locations are empty.
    """

    path: Path
    table: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)

    def location(self, path: KeyPath) -> str:
        """Return the file and the line of a value, for the beginning of a message.

        For a value without a line of its own, such as one in an inline table, this is the line of the table around it.
        """
        if not self.path.name:
            return ""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path}, line {self.lines[path]}: " if path else f"{self.path}: "


def read_toml(path: Path) -> TomlFile:
    """Return the content of a file. Raises InvalidInput if it cannot be read or is not TOML. The message has the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors on Windows write a byte order mark
        table = _toml.loads(text)
    except (OSError, UnicodeError) as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise InvalidInput(f"{path} is nested too deeply") from error
    return TomlFile(path, table, dict(reversed(list(_lines(text)))))  # the first line of a key counts


def _lines(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path and the line of each key and table of a file. A line of a multi-line string may look like a key, too."""
    header: KeyPath = ()
    counts: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _HEADER.match(line):
            names = _parts(match["names"])
            if match["brackets"] == "[[":
                counts[names] += 1
            header = _indexed(names, counts)
            yield header, number
        elif match := _KEY.match(line):
            yield (*header, *_parts(match["names"])), number


def _indexed(names: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> KeyPath:
    """Return the path of a table. After the name of an array of tables, it has the index of the array's last table."""
    path: list[str | int] = []
    for end in range(1, len(names) + 1):
        path.append(names[end - 1])
        if count := counts.get(names[:end]):
            path.append(count - 1)
    return tuple(path)


def _parts(names: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in re.findall(_NAME, names))


def toml_text(table: Mapping[str, Any], path: Sequence[str] = ()) -> str:
    """Return a table as TOML. Its values are strings, numbers, booleans, lists of these, tables, and lists of tables.

    >>> print(toml_text({"limit": 3, "reranker": {"use": "Cascade", "cheap": {"model": "podium-mini"}}}), end="")
    limit = 3
    <BLANKLINE>
    [reranker]
    use = "Cascade"
    <BLANKLINE>
    [reranker.cheap]
    model = "podium-mini"
    """
    return "\n\n".join(_blocks(table, tuple(path), "")) + "\n"


def _blocks(table: Mapping[str, Any], path: tuple[str, ...], header: str) -> Iterator[str]:
    """Yield a table's own keys below its header, and then the blocks of its tables."""
    lines = [header] if header else []
    lines += [f"{_key(name)} = {_value(value)}" for name, value in table.items() if not _is_table(value)]
    if lines:
        yield "\n".join(lines)
    for name, value in table.items():
        if not _is_table(value):
            continue
        names = (*path, name)
        dotted = ".".join(map(_key, names))
        if isinstance(value, Mapping):
            yield from _blocks(value, names, f"[{dotted}]")
        else:
            for item in value:
                yield from _blocks(item, names, f"[[{dotted}]]")


def _is_table(value: Any) -> bool:
    is_list_of_tables = isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping) or is_list_of_tables


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(str(value), ensure_ascii=False)
