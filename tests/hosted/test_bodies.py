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

# The resource module's ru_maxrss of a new process begins with the memory of its parent.
PEAK_FUNCTION = """
def peak_kilobytes():
    with open("/proc/self/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM")))
"""
MEMORY_SCRIPT = (
    PEAK_FUNCTION
    + """
import asyncio, sys, podium
url, mode = sys.argv[1:]
reranker = podium.load("cohere:m", base_url=url, api_key="k", retries=0, timeout=60)
def rank():
    return reranker.rank("q", ["a"]) if mode == "sync" else asyncio.run(reranker.arank("q", ["a"]))
rank()  # imports everything that a call needs
before = peak_kilobytes()
try:
    rank()
    print("success", end=" ")
except podium.PodiumError as error:
    print(type(error).__name__, end=" ")
print(peak_kilobytes() - before)
"""
)


def gzipped_zeros(megabytes: int) -> bytes:
    """Return that many megabytes of zero bytes, compressed to a small part of their size."""
    compressor = zlib.compressobj(9, wbits=31)
    return b"".join([*(compressor.compress(bytes(1 << 20)) for _ in range(megabytes)), compressor.flush()])


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_compressed_reply_takes_limited_memory(server, mode, layers):
    """The second of two replies would be 400 MB. It is compressed once or several times. The maximum is 8 MB."""
    content = gzipped_zeros(400)
    for _ in range(layers - 1):
        content = gzip.compress(content)
    bomb = Answer(200, content, {"Content-Encoding": ", ".join(["gzip"] * layers)})
    answers = iter([as_json({"results": [{"index": 0, "relevance_score": 0.5}]}), bomb])
    server.answer = lambda request: next(answers)
    script = [sys.executable, "-c", MEMORY_SCRIPT, server.url, mode]
    outcome, kilobytes = subprocess.run(script, capture_output=True, check=True, text=True, timeout=300).stdout.split()
    assert outcome == "BadResponse"
    assert int(kilobytes) < 50_000, "the call took more memory than twice the maximum and a reserve"


REQUEST_SCRIPT = (
    PEAK_FUNCTION
    + """
import asyncio, sys, podium
url, mode = sys.argv[1:]
reranker = podium.load("cohere:m", base_url=url, api_key="k", retries=0, timeout=60, max_documents=1)
query, texts = "x" * 500_000, ["a"] * 400
def rank(texts):
    return reranker.rank(query, texts) if mode == "sync" else asyncio.run(reranker.arank(query, texts))
rank(texts[:8])
before = peak_kilobytes()
rank(texts)
print(peak_kilobytes() - before)
"""
)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_only_bodies_of_running_requests_are_in_memory(server, mode):
    """All 400 bodies have 200 MB, because each has the query."""
    server.answer = lambda request: as_json({"results": [{"index": 0, "relevance_score": 0.5}]})
    script = [sys.executable, "-c", REQUEST_SCRIPT, server.url, mode]
    kilobytes = subprocess.run(script, capture_output=True, check=True, text=True, timeout=300).stdout
    assert int(kilobytes) < 60_000


FAILURE_SCRIPT = (
    PEAK_FUNCTION
    + """
import asyncio, gc, sys, podium
gc.disable()
url, mode = sys.argv[1:]
reranker = podium.load("cohere:m", base_url=url, api_key="k", retries=0, timeout=60)
async def arank(count):
    for _ in range(count):
        try:
            await reranker.arank("q", ["a"])
        except podium.PodiumError:
            pass
def rank(count):
    for _ in range(count):
        try:
            reranker.rank("q", ["a"])
        except podium.PodiumError:
            pass
def run(count):
    rank(count) if mode == "sync" else asyncio.run(arank(count))
run(2)
before = peak_kilobytes()
run(20)
print(peak_kilobytes() - before)
"""
)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("length", [None, 7_000_000], ids=["not JSON", "incomplete"])
def test_replies_of_failed_calls_are_freed_without_garbage_collection(server, mode, length):
    server.answer = lambda request: Answer(200, b" " * 6_000_000, length=length)
    script = [sys.executable, "-c", FAILURE_SCRIPT, server.url, mode]
    kilobytes = subprocess.run(script, capture_output=True, check=True, text=True, timeout=300).stdout
    assert int(kilobytes) < 30_000


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
