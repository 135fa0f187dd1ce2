"""Decode the bodies of responses, with a limit on their size before and after decompression. No I/O.

httpx decodes as many layers of compression as a server names, and decodes every block completely. So a few hundred bytes can
become gigabytes before their size is known. Therefore podium requests replies without compression and reads their raw bytes.
If a server compresses nevertheless, podium decodes gzip itself.
"""

from __future__ import annotations

import zlib

from podium.errors import BadResponse

__all__ = ["ACCEPTED_ENCODING", "check_size", "decode", "reply_limit"]

ACCEPTED_ENCODING = "identity"
# A reply has some numbers per document. It may also repeat the documents, in which JSON's escapes take up to six bytes each.
BASE_REPLY_BYTES = 8 << 20
REPLY_BYTES_PER_REQUEST_BYTE = 8
MAX_REPLY_BYTES = 64 << 20
GZIP_BITS = zlib.MAX_WBITS | 16  # adding 16 tells zlib to expect the header of gzip


def reply_limit(request_size: int) -> int:
    """Return the maximum number of bytes of the reply to a request of `request_size` bytes."""
    return min(MAX_REPLY_BYTES, BASE_REPLY_BYTES + REPLY_BYTES_PER_REQUEST_BYTE * request_size)


def check_size(title: str, size: int, limit: int) -> None:
    """Raise BadResponse if a reply of `size` bytes is larger than `limit`. `title` is the provider's name in messages."""
    if size > limit:
        raise BadResponse(f"{title}'s reply is larger than {limit >> 20} MB; check base_url")


def decode(title: str, encoding: str, body: bytes, limit: int) -> bytes:
    """Return the content of a body whose Content-Encoding is `encoding`.

    Raises BadResponse if the encoding is neither identity nor gzip, or if the content is damaged, incomplete or larger than
    `limit` bytes.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip"):
        raise BadResponse(
            f"{title} answered with the content encoding {encoding[:40]!r}, although podium asks for none; check base_url"
        )
    decoder = zlib.decompressobj(GZIP_BITS)
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise BadResponse(f"{title} answered with damaged gzip; check base_url, or a proxy in front of it") from None
    check_size(title, len(content), limit)
    if not decoder.eof:
        raise BadResponse(f"{title}'s gzip reply is incomplete; check base_url, or a proxy in front of it")
    return content
