"""A name → a model's files: bundled, a folder, or on the hub. What they say is models.py's business."""

from __future__ import annotations

import os
from pathlib import Path

from podium.bundled import BUNDLED
from podium.errors import InvalidInput
from podium.inputs import refuse
from podium.local.files import folder as files
from podium.local.files import hub

__all__ = ["find_model"]


def find_model(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> files.ModelFiles | None:
    """Return the files of a bundled model, a folder or a hub model, None where a name can be none of them.

    Folders win over hub models of the same name. Raises ModelNotFound where a name could be a model and there is none,
    InvalidInput where `revision`, `cache_dir` or `token` are given for what is not on the hub.
    """
    if not isinstance(name, str | os.PathLike) or not isinstance(said := os.fspath(name), str):
        raise InvalidInput(f"a model is named by a string or a path, not by a {type(name).__name__}")
    from_hub = {"revision": revision, "cache_dir": cache_dir, "token": token}
    if said in BUNDLED:
        refuse(from_hub, f"{said} comes with podium; it takes no")
        return files.bundled(said)
    if isinstance(name, Path) or said.startswith((".", "~", os.sep)) or files.is_model_folder(said):
        refuse(from_hub, f"{said} is a folder; it takes no")
        return files.from_folder(said)
    if hub.is_hub_name(said):
        return hub.from_hub(said, revision=revision, cache_dir=cache_dir, token=token)
    return None
