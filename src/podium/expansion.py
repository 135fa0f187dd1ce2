"""Expansion: counts the memory that the documents of a compressed file take, and refuses a file that expands too much.

A file of a few kilobytes can expand to gigabytes, because repeated values take almost no space in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from podium.errors import InvalidInput

__all__ = ["DOCUMENT_BYTES", "VALUE_BYTES", "Expansion"]

DOCUMENT_BYTES = 128  # about how many bytes of memory a document takes, besides its characters and values
VALUE_BYTES = 64  # about how many bytes of memory a value in a document takes, besides its characters

# A file may expand to MAX_BYTES, or to MAX_EXPANSION times its own size if that is more.
MAX_BYTES = 1 << 29  # 512 MB
MAX_EXPANSION = 100


@dataclass(slots=True)
class Expansion:
    """How many bytes of memory the documents of a file take so far. Error messages call the file `source`.

    `file_bytes` is the size of the compressed file. `remedy` is what a user can do about a file that expands too much.
    """

    source: str
    file_bytes: int
    remedy: str
    _counted_bytes: int = field(default=0, init=False)

    def add(self, byte_count: int) -> None:
        """Add to the counted bytes. Raises InvalidInput if their sum is too large."""
        self._counted_bytes += byte_count
        self.check(self._counted_bytes)

    def check(self, byte_count: int) -> None:
        """Raise InvalidInput if this number of bytes is too large by itself. It is not added to the counted bytes."""
        if byte_count > max(MAX_BYTES, MAX_EXPANSION * self.file_bytes):
            raise InvalidInput(
                f"{self.source} expands to more than {MAX_BYTES >> 20} MB and {MAX_EXPANSION} times its own size, as a damaged "
                f"or hostile file does; {self.remedy}"
            )
