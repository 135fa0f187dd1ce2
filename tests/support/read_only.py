"""Folders that another process can only read."""

from __future__ import annotations

import os
from pathlib import Path

DROP_PRIVILEGES = """
import os
if os.geteuid() == 0:  # root may write everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""
"""The part of a script after which its process cannot write to folders with the mode READ_ONLY."""
WRITABLE = 0o755
# If this process is root, the reader becomes another user. Otherwise this user must not write to the folders.
READ_ONLY = 0o755 if hasattr(os, "geteuid") and os.geteuid() == 0 else 0o555


def set_modes(folder: Path, mode: int) -> None:
    """Set the permissions of a folder and of the folders in it, not of their files."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            os.chmod(path, mode)
