"""Bodies of replies, within a bound on their size both as sent and as decoded. Pure: blocks of bytes in, content out.

httpx decodes as many layers of compression as a server names, each block as a whole: a few hundred bytes can become
gigabytes before anyone can look. So podium asks for no compression, reads the raw bytes, and undoes one gzip itself.
"""

from __future__ import annotations

import zlib

from podium.errors import BadResponse

__all__ = ["ACCEPTED_ENCODING", "MAX_REPLY_BYTES", "check_size", "decode"]

ACCEPTED_ENCODING = "identity"
MAX_REPLY_BYTES = 64 << 20
GZIP = zlib.MAX_WBITS | 16


def check_size(title: str, size: int) -> None:
    """Raise BadResponse where a reply of `size` bytes is too large. `title` is the provider's."""
    if size > MAX_REPLY_BYTES:
        raise BadResponse(f"{title}'s reply is larger than {MAX_REPLY_BYTES >> 20} MB; check base_url")


def decode(title: str, encoding: str, raw: bytes) -> bytes:
    """Return the content of a body with this Content-Encoding. Raises BadResponse for any but none and one gzip."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return raw
    if name not in ("gzip", "x-gzip"):
        raise BadResponse(f"{title} answered with the content encoding {encoding[:40]!r}; podium asks for none, check base_url")
    decoder = zlib.decompressobj(GZIP)
    try:
        content = decoder.decompress(raw, MAX_REPLY_BYTES + 1)
    except zlib.error:
        raise BadResponse(f"{title} answered with damaged gzip; check base_url, or a proxy before it") from None
    check_size(title, len(content))
    if not decoder.eof:
        raise BadResponse(f"{title}'s gzip reply is cut short; check base_url, or a proxy before it")
    return content
