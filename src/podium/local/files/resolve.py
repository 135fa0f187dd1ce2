"""find_model, which returns the files of a model by its name: a bundled one, or one in a package, a folder, or on the hub."""

from __future__ import annotations

import os
from pathlib import Path

from podium.bundled import BUNDLED
from podium.errors import InvalidInput
from podium.inputs import refuse
from podium.local.files import distributions, folder, hub
from podium.local.files.folder import ModelFiles

__all__ = ["find_model"]


def find_model(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> ModelFiles | None:
    """Return the files of the model with this name, None if no model can have the name.

    A name is, in this order: that of a bundled model; that of a model in an installed package; a folder, if it is a Path,
    begins with ".", "~" or a separator, or is the path of a folder with a model; or else that of a model on the Hugging Face
    hub (org/model), whose missing files are downloaded.

    Raises ModelNotFound if there is no such folder or hub model, or if the package of one of podium's models is not installed;
    ModelError if a download fails or a package is damaged; and InvalidInput for `revision`, `cache_dir` or `token` with a model
    that is not on the hub.
    """
    model_name = os.fspath(name) if isinstance(name, str | os.PathLike) else None
    if not isinstance(model_name, str):  # os.fspath can also return bytes
        raise InvalidInput(f"a model is named by a string or a path, not by a {type(name).__name__}")
    hub_options = {"revision": revision, "cache_dir": cache_dir, "token": token}
    if model_name in BUNDLED:
        refuse(hub_options, f"{model_name} is part of podium and does not have the option")
        return folder.bundled(model_name)
    is_path = isinstance(name, Path) or model_name.startswith((".", "~", os.sep))
    if not is_path and "/" not in model_name and (files := distributions.installed(model_name)):
        refuse(hub_options, f"{model_name} is in an installed package and does not have the option")
        return files
    if is_path or folder.is_model_folder(model_name):
        refuse(hub_options, f"{model_name} is a folder and does not have the option")
        return folder.from_folder(model_name)
    if hub.is_hub_name(model_name):
        return hub.from_hub(model_name, revision=revision, cache_dir=cache_dir, token=token)
    return None
