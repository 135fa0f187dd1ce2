"""Who may ask: keys as hashes in a file, read again whenever it changes.

A line is a name and the SHA-256 of a key. Keys are 256 random bits, so that no salt or slow hash would add anything.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path

from podium.errors import InvalidInput
from podium.server.dialects.call import Refusal
from podium.server.telemetry.logs import log

__all__ = ["Keys", "add_key", "offered"]

_LINE = re.compile(r"(\S+)\s+([0-9a-f]{64})")


class Keys:
    """The keys of a file. While it cannot be read, or says nonsense, those that were good before stay good."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, _state(path)
        self._complained_of: object = ()
        self._hashes = _read(path)
        if not self._hashes:
            raise InvalidInput(f"{path} has no key in it; make one with podium key NAME --file {path}")

    def check(self, authorization: str | None) -> str:
        """Return the name of the key that a request offers. Raises Refusal."""
        self._read_again()
        asked = _hash(offered(authorization))
        found = [name for name, known in self._hashes.items() if hmac.compare_digest(known, asked)]  # all, to take equally long
        if not found:
            raise Refusal(401, "no valid API key; send one as Authorization: Bearer …")
        return found[0]

    def _read_again(self) -> None:
        if (state := _state(self._path)) == self._seen:
            return
        try:
            self._hashes, self._seen = _read(self._path), state
            log("keys", keys=len(self._hashes))
        except InvalidInput as error:
            if state != self._complained_of:  # once; but it is tried again on each request
                log("keys", level=logging.ERROR, error=f"{error}; the keys from before stay")
            self._complained_of = state


def add_key(path: Path, name: str) -> str:
    """Make a key, add its hash to the file, and return the key, which is written nowhere."""
    if not re.fullmatch(r"[^\s#]\S{0,63}", name):
        raise InvalidInput("a key's name is one word of at most 64 letters, such as who will use it")
    if path.exists() and name in _read(path):
        raise InvalidInput(f"{path} has a key named {name} already; delete its line first")
    separator = "" if not path.exists() or path.read_bytes()[-1:] in (b"", b"\n") else "\n"
    key = f"podium-{secrets.token_urlsafe(32)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}; name a file in a folder that is there") from error
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(f"{separator}{name} {_hash(key)}\n")
    return key


def offered(authorization: str | None) -> str:
    """Return the key of an Authorization header; some clients send it without the word Bearer."""
    said = (authorization or "").strip()
    scheme, _, key = said.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else said


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file does. A copy can keep size and modification time; st_ctime nobody can set."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the keys in {path} cannot be read ({type(error).__name__}); make one with podium key") from error
    hashes = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (found := _LINE.fullmatch(line.strip())):
            raise InvalidInput(f"{path}, line {number}: must be a name and a key's SHA-256; podium key writes such lines")
        if found[1] in hashes:
            raise InvalidInput(f"{path}, line {number}: a second key has the name {found[1]}; rename or delete one of them")
        hashes[found[1]] = found[2]
    return hashes
