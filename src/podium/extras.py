"""Import optional packages on first use. If one is missing, the error has the command that installs it."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

from podium.errors import MissingPackage

__all__ = ["import_optional", "requirements"]


def import_optional(module: str, extra: str, *, user: str = "this") -> Any:
    """Import and return a module of an optional package. Raises MissingPackage with the command that installs the extra.

    `user` is how the error calls what needs the package.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise  # the package is installed, but a package that it needs is missing
        packages = " ".join(f"'{requirement}'" for requirement in requirements(extra)) or error.name
        raise MissingPackage(
            f"{user} needs {error.name}, which is not installed: pip install {packages} (podium's extra {extra!r})"
        ) from None


def requirements(extra: str) -> list[str]:
    """Return the requirements of an extra, such as "tantivy>=0.24", from podium's metadata, [] if there are none.

    A command with these requirements works whether podium was installed from an index, a checkout or a wheel.
    """
    from importlib import metadata

    try:
        declared = metadata.requires("podium") or []
    except metadata.PackageNotFoundError:
        return []
    packages: list[str] = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        if f"extra == {extra}" not in re.sub("[\"']", "", marker) or not _is_for_this_python(marker):
            continue
        nested = re.fullmatch(r"podium\[([\w,-]+)\]", requirement.strip())
        if nested:
            packages += [package for name in nested[1].split(",") for package in requirements(name)]
        else:
            packages.append(requirement.strip())
    return list(dict.fromkeys(packages))


def _is_for_this_python(marker: str) -> bool:
    upper_bound = re.search(r"python_version < ['\"](\d+)\.(\d+)", marker)
    return not upper_bound or sys.version_info < (int(upper_bound[1]), int(upper_bound[2]))
