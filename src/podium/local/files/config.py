"""The JSON files of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from podium.errors import ModelError, ModelNotFound
from podium.json_values import load_json

__all__ = ["read_json", "read_settings"]


def read_json(path: Path, *, required: bool = False) -> Any:
    """Return the value in a JSON file, {} if the file is missing and not required.

    Raises ModelNotFound if a required file is missing, and ModelError if the file is not JSON.
    """
    try:
        return load_json(path)
    except FileNotFoundError:
        if required:
            raise ModelNotFound(f"{path} is missing; this folder is not a complete Hugging Face model") from None
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not valid JSON; download it again") from error


def read_settings(path: Path, *, required: bool = False) -> dict[str, Any]:
    """Return the JSON object in a file as `read_json` does. Raises ModelError if the file has another value."""
    settings = read_json(path, required=required)
    if not isinstance(settings, dict):
        raise ModelError(f"{path} is not a JSON object; download it again")
    return settings
