"""API keys, whose hashes are in a file. The file is read again whenever it changes.

A line of the file is a name and the SHA-256 of a key. Keys have 256 random bits, so a salt or a slow hash would add nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path
from typing import TextIO

from podium.errors import InvalidInput
from podium.server.dialects.call import Refusal
from podium.server.telemetry.logs import log

__all__ = ["Keys", "add_key"]

_LINE = re.compile(r"(\S+)\s+([0-9a-f]{64})")


class Keys:
    """The keys in a file. If the file becomes unreadable or invalid later, its last valid keys are used.

    At the start, the file has at least one key. If all keys are deleted later, every request is refused.
    """

    def __init__(self, path: Path) -> None:
        """Read the keys. Raises InvalidInput if the file is unreadable or invalid, or has no keys."""
        self._path = path
        self._stat = _stat_of(path)
        self._logged_stat: tuple[int, ...] | None = ()  # the stat of the file for which an error was logged last
        self._hashes = _read_hashes(path)
        if not self._hashes:
            raise InvalidInput(f"{path} has no keys; create one with podium key NAME --file {path}")

    def key_name(self, authorization: str | None) -> str:
        """Return the name of the key in an Authorization header. Raises Refusal if the key is not in the file."""
        self._reload()
        key_hash = _hash_of(_key_in(authorization))
        # Every hash is compared, so that the time does not reveal which hash is similar.
        names = [name for name, known_hash in self._hashes.items() if hmac.compare_digest(known_hash, key_hash)]
        if not names:
            raise Refusal(401, "no valid API key; send one as Authorization: Bearer …")
        return names[0]

    def _reload(self) -> None:
        """Read the file again if it has changed. If it is not valid, keep the last valid keys and log an error."""
        if (stat := _stat_of(self._path)) == self._stat:
            return
        try:
            self._hashes = _read_hashes(self._path)
            self._stat = stat
            log("keys", keys=len(self._hashes))
        except InvalidInput as error:
            if stat != self._logged_stat:  # every request tries again, but the error is logged once
                log("keys", level=logging.ERROR, error=f"{error}; the last valid keys are used")
            self._logged_stat = stat


def add_key(path: Path, name: str) -> str:
    """Create a key, append its hash to the file, and return the key, which is stored nowhere else.

    Raises InvalidInput if the name is not valid or exists, or if the file cannot be written.
    """
    if not re.fullmatch(r"[^\s#]\S{0,63}", name):  # a line that begins with # is a comment
        raise InvalidInput("the name of a key must be one word of at most 64 characters, for example the team that will use it")
    key = f"podium-{secrets.token_urlsafe(32)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}; name a file in an existing folder") from error
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        _lock(file)  # until it is closed; another process could add a key of the same name
        if name in _read_hashes(path):
            raise InvalidInput(f"{path} already has a key named {name}; delete its line first")
        separator = "" if path.read_bytes()[-1:] in (b"", b"\n") else "\n"  # ends an unfinished last line
        file.write(f"{separator}{name} {_hash_of(key)}\n")
    return key


def _lock(file: TextIO) -> None:
    """Wait until no other process has locked the file, and lock it. Does nothing on Windows, which has no such locks."""
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _key_in(authorization: str | None) -> str:
    """Return the key in an Authorization header. Some clients leave out the word Bearer."""
    header = (authorization or "").strip()
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else header


def _hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _read_hashes(path: Path) -> dict[str, str]:
    """Return the hashes in the file by the names of the keys. Raises InvalidInput for an invalid line or a repeated name."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the keys in {path} cannot be read ({type(error).__name__}); create one with podium key") from error
    hashes: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (match := _LINE.fullmatch(line.strip())):
            raise InvalidInput(f"{path}, line {number}: must be a name and a key's SHA-256; podium key writes such lines")
        name, key_hash = match.groups()
        if name in hashes:
            raise InvalidInput(f"{path}, line {number}: a second key is named {name}; rename or delete one of them")
        hashes[name] = key_hash
    return hashes


def _stat_of(path: Path) -> tuple[int, ...] | None:
    """Return numbers of which at least one changes whenever the file changes, None if there is no file.

    A program can give a changed file its old size and time of modification (mtime), but cannot set the time of change (ctime).
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
