"""The store of encodings that the argument `keep` of `podium.load` describes."""

from __future__ import annotations

import os
from typing import Any

from podium.encodings import EncodingStore
from podium.encodings.folder import FolderEncodings
from podium.encodings.layered import LayeredEncodings
from podium.encodings.memory import MemoryEncodings
from podium.errors import Argument, InvalidInput
from podium.inputs import checked_path

__all__ = ["DEFAULT_BYTES", "store_for"]

DEFAULT_BYTES = 64_000_000  # about 5,000 texts of 83 tokens
MAX_DIGITS = 19  # as many as sys.maxsize has
REDIS_SCHEMES = ("redis", "rediss", "unix")
SWITCHES = {"yes", "no", "true", "false", "on", "off", "none"}
"""Strings that are probably not meant as the name of a folder."""


def store_for(keep: Any = DEFAULT_BYTES) -> EncodingStore:
    """Return the store that `keep` describes.

    - a number, or a string of digits as on the command line: this many bytes of memory
    - the URL of a Redis: that Redis, with DEFAULT_BYTES of memory in front of it
    - another string or a path: a folder, which is created when an encoding is first written

    Raises InvalidInput for anything else, and for the strings yes, no, true, false, on, off and none.
    """
    if isinstance(keep, str) and keep.isdecimal():
        if not keep.isascii() or len(keep) > MAX_DIGITS:  # int would accept digits of other scripts, but no long numbers
            raise _invalid(keep)
        keep = int(keep)
    if isinstance(keep, int) and not isinstance(keep, bool):
        if keep < 0:
            raise _invalid(keep)
        return MemoryEncodings(keep)
    if isinstance(keep, str) and "://" in keep:
        if keep.partition("://")[0] not in REDIS_SCHEMES:
            # The message does not have the URL, which may contain a password.
            raise InvalidInput(Argument("keep"), " can be a folder, or the URL of a Redis: redis://…, rediss://… or unix://…")
        from podium.encodings.redis import redis_encodings

        return LayeredEncodings(MemoryEncodings(DEFAULT_BYTES), redis_encodings(keep))
    if not isinstance(keep, str | os.PathLike) or not os.fspath(keep).strip():
        raise _invalid(keep)
    if isinstance(keep, str) and keep.lower() in SWITCHES:
        raise InvalidInput(
            Argument("keep", keep),
            f" is not a number of bytes, a folder or a URL; leave it out to keep {DEFAULT_BYTES / 1e6:.0f} MB in memory, use 0 "
            f"to keep nothing, or ./{keep} for a folder with this name",
        )
    folder = checked_path(os.fspath(keep))
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(Argument("keep", str(folder)), " is a file; name a folder, which is created if it does not exist")
    return FolderEncodings(folder.absolute())  # so that os.chdir does not change it


def _invalid(keep: object) -> InvalidInput:
    return InvalidInput(
        Argument("keep"),
        f" must be a number of bytes of memory (0 for none), a folder, or the URL of a Redis, not {keep!r:.40}",
    )
