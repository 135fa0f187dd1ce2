"""Models in Python packages of their own. An entry point of the group "podium.models" has a model's name and its folder.

A package that adds a model has this in its pyproject.toml, and FOLDER is the Path of the model's folder:

    [project.entry-points."podium.models"]
    name-of-the-model = "package:FOLDER"

The version of the package is the model's revision.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from podium.errors import ModelError, ModelNotFound
from podium.local.files.folder import ModelFiles

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["EXTRAS", "GROUP", "installed", "installed_models"]

GROUP = "podium.models"
EXTRAS = {"podium-multi": "multilingual"}
"""The names of podium's own models that are in packages of their own → the extra that installs the package."""


def installed(name: str) -> ModelFiles | None:
    """Return the files of the model with this name in an installed package, None if there is no such package.

    Raises ModelNotFound for one of podium's own models, and ModelError if the package is damaged or does not name a folder.
    """
    damaged_packages: list[Distribution] = []
    for entry_point in _entry_points(damaged_packages):
        if entry_point.name == name:
            return _files(entry_point)
    for package in damaged_packages:
        if re.search(rf"^\s*{re.escape(name)}\b", _entry_points_text(package), re.MULTILINE):
            raise ModelError(f"the entry_points.txt of the package with the model {name} is damaged; install the package again")
    if name not in EXTRAS:
        return None
    raise ModelNotFound(
        f"the model {name} is in podium's extra {EXTRAS[name]!r}, which is not installed; in a checkout of podium, run "
        f"pip install ./models/{name}"
    )


def installed_models() -> list[ModelFiles]:
    """Return the files of all models in installed packages, sorted by name. Damaged packages are left out."""
    models: dict[str, ModelFiles] = {}
    for entry_point in _entry_points([]):
        try:
            models.setdefault(entry_point.name, _files(entry_point))
        except ModelError:
            continue  # loading the model says why
    return [models[name] for name in sorted(models)]


def _entry_points(damaged_packages: list[Distribution]) -> Iterator[EntryPoint]:
    """Yield the entry points of all packages, those of the first folder in sys.path first.

    Packages whose entry points cannot be read are appended to `damaged_packages`.
    """
    from importlib import metadata  # imported here, because the import takes a hundredth of a second

    for package in metadata.distributions():
        try:
            entry_points = list(package.entry_points.select(group=GROUP))
        except Exception:  # an invalid line of entry_points.txt can raise anything
            damaged_packages.append(package)
            continue
        yield from entry_points


def _entry_points_text(package: Distribution) -> str:
    """Return the text of a package's entry_points.txt, "" if it cannot be read."""
    with contextlib.suppress(OSError, UnicodeError):
        return package.read_text("entry_points.txt") or ""
    return ""


def _files(entry_point: EntryPoint) -> ModelFiles:
    """Return the files of the model that an entry point names. Raises ModelError if the package does not name a folder."""
    package = entry_point.value.partition(":")[0]
    try:
        folder = entry_point.load()
    except (Exception, SystemExit) as error:  # a package can fail in any way when it is imported
        raise ModelError(
            f"the model {entry_point.name} cannot be read from the package {package} ({type(error).__name__}); install the "
            "package again"
        ) from error
    if not isinstance(folder, Path) or not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"the package {package} has no files of the model {entry_point.name}; install the package again, as a folder and "
            "not as a zip file"
        )
    version = entry_point.dist.version if entry_point.dist else None
    return ModelFiles(entry_point.name, folder, f"v{version}" if version else None)
