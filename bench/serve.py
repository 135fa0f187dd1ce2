"""Measure podium serve: throughput and latency compared with the same work offline, fairness, memory, and another server.

    make bench-serve                        about five minutes
    python bench/serve.py --soak 600        and memory over ten minutes
    python bench/serve.py --beside          and Infinity, which installs PyTorch (2 GB, several minutes)

The offline process does the same work without a server. Client, server and offline process share one machine, and the rounds
with and without the server alternate. The client sends bytes that were prepared before, so it takes little time. Every reply is
compared with the offline result. Writes docs/serve.json, which docs/serving.md shows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from work import QUERY, passages

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".bench"
RESULTS = ROOT / "docs" / "serve.json"
CONNECTIONS = (1, 8, 32, 128)
INFINITY = ["torch==2.13.0", "infinity-emb[server,torch]==0.0.78", "click<8.2"]  # Its command line needs this click.


def requests(count: int) -> list[dict[str, Any]]:
    """Return `count` different requests, each with 5 to 15 passages. They are the same on every machine."""
    generator = random.Random(0)
    pool = passages("short", 2000)
    return [
        {"query": f"{QUERY} {number}", "documents": generator.sample(pool, generator.randint(5, 15))} for number in range(count)
    ]


# The client: HTTP over sockets that stay open


class UnexpectedReply(Exception):
    """A reply without a ranking."""


class Client:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def send(self, request: bytes) -> tuple[bytes, float]:
        """Return the body of the reply, and the seconds until it was complete."""
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise UnexpectedReply(f"the server answered {head[:60]!r} {body[:300]!r}")
        return body, time.perf_counter() - began

    def close(self) -> None:
        self._writer.close()


def http_request(body: dict[str, Any], path: str) -> bytes:
    content = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        len(content),
        content,
    )


async def load(port: int, http_requests: Sequence[bytes], connections: int) -> tuple[list[bytes], list[float], float]:
    """Send all requests, with `connections` requests in progress at a time.

    Return the bodies of the replies, the seconds of every request, and the total seconds.
    """
    clients = [await Client(port).open() for _ in range(connections)]
    indices = iter(range(len(http_requests)))
    replies = [b""] * len(http_requests)
    times = [0.0] * len(http_requests)

    async def send_next(client: Client) -> None:
        for index in indices:
            replies[index], times[index] = await client.send(http_requests[index])

    began = time.perf_counter()
    await asyncio.gather(*map(send_next, clients))
    seconds = time.perf_counter() - began
    for client in clients:
        client.close()
    return replies, times, seconds


# The servers, and the offline process


@contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server during the block, which begins when the server answers. Yield the id of the server's process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                asyncio.run(load(port, [http_request({"query": "a", "documents": ["b"]}, "/rerank")], 1))
                break
            except (OSError, UnexpectedReply):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit(f"{command[0]} does not answer; run it by hand to see the reason") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def podium_command(port: int, *options: str) -> list[str]:
    return [str(HOME / "serve" / "bin" / "podium"), "serve", "--port", str(port), *options]


OFFLINE = """
import json, sys, time, podium
requests = json.load(open(sys.argv[1]))
reranker = podium.load(sys.argv[2])
queries, texts = [request["query"] for request in requests], [request["documents"] for request in requests]
reranker.rerank(queries[0], texts[0])
for line in sys.stdin:
    began = time.perf_counter()
    rankings = reranker.rerank_many(queries, texts)
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, [[[r.index, r.score] for r in ranking] for ranking in rankings]]), flush=True)
"""


class Offline:
    """A process that does the work of the requests in a JSON file with one call of rerank_many."""

    def __init__(self, requests_file: Path, model: str) -> None:
        python = str(HOME / "serve" / "bin" / "python")
        self._process = subprocess.Popen(
            [python, "-c", OFFLINE, str(requests_file), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> tuple[float, list[list[list[float]]]]:
        """Do the work once. Return its seconds, and for each request the [index, score] of each result."""
        print("go", file=self._process.stdin, flush=True)
        seconds, rankings = json.loads(self._process.stdout.readline())
        return seconds, rankings

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


# Measurements


def throughput(port: int, count: int, rounds: int) -> dict[str, Any]:
    """Measure the rate of the offline process, and the server's share of it and its latencies by the number of connections."""
    all_requests = requests(count)
    file = HOME / "requests.json"
    file.write_text(json.dumps(all_requests))
    pair_count = sum(len(request["documents"]) for request in all_requests)
    http_requests = [http_request(request, "/v2/rerank") for request in all_requests]
    offline = Offline(file, "podium-mini")
    rows: dict[int, dict[str, list[float]]] = {connections: {"share": [], "times": []} for connections in CONNECTIONS}
    rates = []
    differing_count = 0
    for is_measured in [False] + [True] * rounds:  # The first round is a warm-up.
        offline_seconds, expected = offline.run()
        if is_measured:
            rates.append(pair_count / offline_seconds)
        for connections in CONNECTIONS:
            replies, times, total_seconds = asyncio.run(load(port, http_requests, connections))
            differing_count += sum(scores(reply) != ranking for reply, ranking in zip(replies, expected, strict=True))
            if is_measured:
                rows[connections]["share"].append(offline_seconds / total_seconds)
                rows[connections]["times"] += times
    offline.close()
    return {
        "requests": count,
        "pairs": pair_count,
        "offline_pairs_s": statistics.median(rates),
        "differing": differing_count,
        "connections": {
            str(connections): {"share": statistics.median(row["share"]), **quantiles(row["times"])}
            for connections, row in rows.items()
        },
    }


def scores(reply: bytes) -> list[list[float]]:
    """Return the [index, score] of each result in a reply."""
    return [[result["index"], result["relevance_score"]] for result in json.loads(reply)["results"]]


def quantiles(times: Sequence[float]) -> dict[str, float]:
    """Return the median, 95th and 99th percentile of seconds, in milliseconds."""
    ordered = sorted(times)
    last = len(ordered) - 1
    return {f"p{percent}_ms": 1000 * ordered[min(last, len(ordered) * percent // 100)] for percent in (50, 95, 99)}


async def fairness(port: int) -> dict[str, Any]:
    """Measure requests of five passages: on an idle server, then while a request of a thousand passages is in progress."""
    pool = passages("short", 1500)
    generator = random.Random(1)
    client = await Client(port).open()

    def request(count: int) -> bytes:
        return http_request({"query": QUERY, "documents": generator.sample(pool, count)}, "/v2/rerank")

    async def small_seconds() -> float:
        return (await client.send(request(5)))[1]

    for _ in range(20):
        await small_seconds()
    idle = [await small_seconds() for _ in range(200)]
    # This connection is not opened earlier, because the server closes a connection that is idle for ten seconds.
    other = await Client(port).open()
    busy: list[float] = []
    large_seconds = []
    while len(busy) < 200:
        large = asyncio.ensure_future(other.send(request(1000)))
        await asyncio.sleep(0.05)
        while not large.done():
            busy.append(await small_seconds())
        large_seconds.append((await large)[1])
    client.close()
    other.close()
    ratio = quantiles(busy)["p95_ms"] / quantiles(idle)["p95_ms"]
    return {"idle": quantiles(idle), "busy": quantiles(busy), "p95_ratio": ratio, "large_s": statistics.median(large_seconds)}


def soak(port: int, process_id: int, seconds: float) -> dict[str, Any]:
    """Keep 32 connections busy for some seconds, with some clients that disconnect early, and record the server's memory.

    `process_id` is that of the server.
    """
    http_requests = [http_request(request, "/v2/rerank") for request in requests(200)]
    deadline = time.monotonic() + seconds
    samples: list[float] = []
    stop = threading.Event()

    def record_memory() -> None:
        while not stop.wait(min(10.0, seconds / 20)):
            samples.append(resident_megabytes(process_id))

    async def run() -> int:
        count = 0
        while time.monotonic() < deadline:
            disconnecting = [await Client(port).open() for _ in range(5)]
            for client in disconnecting:
                client._writer.write(http_requests[0])
            await asyncio.sleep(0.01)
            for client in disconnecting:
                client.close()
            count += len((await load(port, http_requests, 32))[0])
        return count

    recorder = threading.Thread(target=record_memory)
    recorder.start()
    count = asyncio.run(run())
    stop.set()
    recorder.join()
    tenth = max(1, len(samples) // 10)
    return {
        "seconds": seconds,
        "requests": count,
        "early_mb": statistics.median(samples[tenth : 2 * tenth + 1]),
        "late_mb": statistics.median(samples[-tenth:]),
        "peak_mb": max(samples),
    }


def resident_megabytes(process_id: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process_id}/status").read_text())[1]) / 1000


def beside(rounds: int) -> dict[str, float]:
    """Serve one cross-encoder with podium and with Infinity. Return the pairs per second of each at 32 connections."""
    model = str(HOME / "model")
    all_requests = requests(100)
    http_requests = [http_request(request | {"model": model}, "/rerank") for request in all_requests]
    pair_count = sum(len(request["documents"]) for request in all_requests)
    infinity = [
        str(HOME / "infinity" / "bin" / "infinity_emb"), "v2", "--model-id", model, "--served-model-name", model,
        "--engine", "torch", "--device", "cpu", "--port", "8198", "--no-bettertransformer",
    ]  # fmt: skip
    rates: dict[str, list[float]] = {"podium": [], "podium int8": [], "Infinity": []}
    with (
        serving(podium_command(8197, "--model", model), 8197),
        serving(podium_command(8199, "--model", model, "--precision", "int8"), 8199),
        serving(infinity, 8198),
    ):
        for is_measured in [False] + [True] * rounds:  # The first round is a warm-up.
            for name, port in (("podium", 8197), ("podium int8", 8199), ("Infinity", 8198)):
                seconds = asyncio.run(load(port, http_requests, 32))[2]
                if is_measured:
                    rates[name].append(pair_count / seconds)
    return {name: statistics.median(rounds_of_name) for name, rounds_of_name in rates.items()}


def startup(port: int) -> float:
    """Return the seconds from the start of the server to its first reply."""
    began = time.perf_counter()
    with serving(podium_command(port), port):
        return time.perf_counter() - began


def install(name: str, packages: Sequence[str]) -> None:
    """Create the environment of this name with these packages, if it does not exist yet."""
    marker = HOME / name / "installed"
    if not marker.exists():
        print(f"installing {name} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", HOME / name], check=True)
        for package in packages:  # one by one, so that torch keeps the version that is installed first
            subprocess.run([HOME / name / "bin" / "python", "-m", "pip", "install", "--quiet", package], check=True)
        marker.touch()


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = [
        f"| {connections} | {row['share']:.2f} | {row['p50_ms']:.0f} ms | {row['p95_ms']:.0f} ms | {row['p99_ms']:.0f} ms |"
        for connections, row in results["throughput"]["connections"].items()
    ]
    throughput_results = results["throughput"]
    fair = results["fairness"]
    lines = [
        "| connections | share of the offline rate | p50 | p95 | p99 |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"- {throughput_results['requests']} requests of 5 to 15 passages; {throughput_results['differing']} answers differed "
        f"from the offline ones. Offline: {throughput_results['offline_pairs_s']:.0f} pairs/s on {results['machine']}.",
        f"- Fairness: five passages take {fair['idle']['p95_ms']:.0f} ms (p95) alone and {fair['busy']['p95_ms']:.0f} ms while "
        f"a request of 1,000 is under way: {fair['p95_ratio']:.1f} times.",
        f"- Start to first answer: {results['start_s']:.2f} s.",
    ]
    if memory := results.get("soak"):
        lines.append(
            f"- Memory over {memory['seconds']:.0f} s at 32 connections ({memory['requests']:,} requests, and clients that "
            f"hang up): {memory['early_mb']:.0f} MB early, {memory['late_mb']:.0f} MB late."
        )
    if rates := results.get("beside"):
        infinity = rates["Infinity"]
        lines.append(
            f"- Beside Infinity (PyTorch), the same cross-encoder of MiniLM-L6's shape, 32 connections: "
            f"{rates['podium'] / infinity:.1f} times its rate, {rates['podium int8'] / infinity:.1f} times in int8."
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--soak", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--beside", action="store_true")
    options = parser.parse_args()
    HOME.mkdir(exist_ok=True)
    install("serve", [f"{ROOT}[serve]"])
    previous = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    # These two are measured only if their options are set. Otherwise, earlier results are kept.
    results = {key: previous[key] for key in ("soak", "beside") if key in previous}
    results["machine"] = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    results["start_s"] = statistics.median(startup(8190 + number) for number in range(5))
    with serving(podium_command(8196), 8196) as process_id:
        results["throughput"] = throughput(8196, options.requests, options.rounds)
        results["fairness"] = asyncio.run(fairness(8196))
        if options.soak:
            results["soak"] = soak(8196, process_id, options.soak)
    if options.beside:
        if not (HOME / "model" / "config.json").exists():
            raise SystemExit("run make bench first; it creates the model that both servers load")
        install("infinity", INFINITY)
        results["beside"] = beside(options.rounds)
    results["table"] = table(results)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(results["table"])


if __name__ == "__main__":
    main()
