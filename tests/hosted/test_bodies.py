"""Compressed replies, and the memory that they may take."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib

import pytest

from contracts import COHERE, QUERY, TEXTS
from loopback import Answer, as_json
from podium.errors import BadResponse

REPLY = json.dumps(COHERE.reply).encode()

MEMORY_SCRIPT = """
import asyncio, resource, sys, podium
url, mode = sys.argv[1:]
reranker = podium.load("cohere:m", base_url=url, api_key="k", retries=0, timeout=60)
def rank():
    return reranker.rank("q", ["a"]) if mode == "sync" else asyncio.run(reranker.arank("q", ["a"]))
rank()  # imports everything that a call needs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    rank()
    print("success", end=" ")
except podium.PodiumError as error:
    print(type(error).__name__, end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def gzipped_zeros(megabytes: int) -> bytes:
    """Return that many megabytes of zero bytes, compressed to a small part of their size."""
    compressor = zlib.compressobj(9, wbits=31)
    return b"".join([*(compressor.compress(bytes(1 << 20)) for _ in range(megabytes)), compressor.flush()])


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_compressed_reply_takes_limited_memory(server, mode, layers):
    """The second of two replies would be 400 MB. It is compressed once or several times."""
    content = gzipped_zeros(400)
    for _ in range(layers - 1):
        content = gzip.compress(content)
    bomb = Answer(200, content, {"Content-Encoding": ", ".join(["gzip"] * layers)})
    answers = iter([as_json({"results": [{"index": 0, "relevance_score": 0.5}]}), bomb])
    server.answer = lambda request: next(answers)
    script = [sys.executable, "-c", MEMORY_SCRIPT, server.url, mode]
    outcome, kilobytes = subprocess.run(script, capture_output=True, check=True, text=True, timeout=300).stdout.split()
    assert outcome == "BadResponse"
    assert int(kilobytes) < 180_000, "the call took more memory than twice the maximum of 64 MB and a reserve"


def test_gzip_is_decoded_although_no_compression_is_requested(server, rerank):
    server.answer = lambda request: Answer(200, gzip.compress(REPLY), {"Content-Encoding": "gzip"})
    assert [result.index for result in rerank(COHERE.load(server.url), QUERY, TEXTS)] == [1, 2, 0]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("encoding", "content", "message"),
    [
        ("br", REPLY, "content encoding 'br'"),
        ("gzip, gzip", gzip.compress(gzip.compress(REPLY)), "content encoding"),
        ("gzip", REPLY, "damaged gzip"),
        ("gzip", gzip.compress(REPLY)[:-10], "is incomplete"),
    ],
    ids=["brotli", "gzip twice", "not gzip", "incomplete gzip"],
)
def test_other_compression_is_a_bad_response(server, rerank, encoding, content, message):
    server.answer = lambda request: Answer(200, content, {"Content-Encoding": encoding})
    with pytest.raises(BadResponse, match=message):
        rerank(COHERE.load(server.url), QUERY, TEXTS)
