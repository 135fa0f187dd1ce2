"""A model's name → its files: bundled, a folder, or on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from podium.bundled import BUNDLED
from podium.errors import InvalidInput
from podium.inputs import refuse
from podium.local.files import folder, hub
from podium.local.files.folder import ModelFiles

__all__ = ["find_model"]


def find_model(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> ModelFiles | None:
    """Return the files of a bundled model, a folder or a hub model, None if no model can have this name.

    A folder takes precedence over a hub model of the same name. Raises ModelNotFound if there is no such model, and
    InvalidInput for `revision`, `cache_dir` or `token` with a model that is not on the hub.
    """
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else None
    if not isinstance(path, str):
        raise InvalidInput(f"a model is named by a string or a path, not by a {type(name).__name__}")
    hub_options = {"revision": revision, "cache_dir": cache_dir, "token": token}
    if path in BUNDLED:
        refuse(hub_options, f"{path} is part of podium and does not have the option")
        return folder.bundled(path)
    if isinstance(name, Path) or path.startswith((".", "~", os.sep)) or folder.is_model_folder(path):
        refuse(hub_options, f"{path} is a folder and does not have the option")
        return folder.from_folder(path)
    if hub.is_hub_name(path):
        return hub.from_hub(path, revision=revision, cache_dir=cache_dir, token=token)
    return None
