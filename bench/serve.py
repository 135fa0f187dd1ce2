"""Measure podium serve: throughput and waiting beside the same work done offline, fairness, memory, beside another server.

    make bench-serve                        about five minutes
    python bench/serve.py --soak 600        … and memory over ten minutes
    python bench/serve.py --beside          … and Infinity, which brings PyTorch (2 GB, several minutes)

Client, server and offline process share one machine, and rounds alternate; the client writes bytes that were made before and
so costs little. Every answer is compared with the offline one. Writes docs/serve.json, which docs/serving.md shows.
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
INFINITY = ["torch==2.13.0", "infinity-emb[server,torch]==0.0.78", "click<8.2"]  # its command line needs the last


def requests(count: int) -> list[dict[str, Any]]:
    """Return requests of 5 to 15 passages each, no two alike: the same on every machine."""
    draw, pool = random.Random(0), passages("short", 2000)
    return [{"query": f"{QUERY} {at}", "documents": draw.sample(pool, draw.randint(5, 15))} for at in range(count)]


# The client: raw HTTP over sockets that stay open


class Refused(Exception):
    """An answer that is no ranking."""


class Client:
    """One connection. `ask` returns the reply's body and how long it took."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def ask(self, request: bytes) -> tuple[bytes, float]:
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise Refused(f"the server answered {head[:60]!r} {body[:300]!r}")
        return body, time.perf_counter() - began

    def close(self) -> None:
        self._writer.close()


def written(body: dict[str, Any], path: str) -> bytes:
    content = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        len(content),
        content,
    )


async def load(port: int, asked: Sequence[bytes], connections: int) -> tuple[list[bytes], list[float], float]:
    """Ask all over so many connections, each one after the other; return the answers, their times, the time of all."""
    clients = [await Client(port).open() for _ in range(connections)]
    left, answers, times = iter(range(len(asked))), [b""] * len(asked), [0.0] * len(asked)

    async def one(client: Client) -> None:
        for at in left:
            answers[at], times[at] = await client.ask(asked[at])

    began = time.perf_counter()
    await asyncio.gather(*map(one, clients))
    seconds = time.perf_counter() - began
    for client in clients:
        client.close()
    return answers, times, seconds


# The servers, and the work offline


@contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server and yield its process's id, once it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 120
        while True:
            try:
                asyncio.run(load(port, [written({"query": "a", "documents": ["b"]}, "/rerank")], 1))
                break
            except (OSError, Refused):
                if time.monotonic() > ends or process.poll() is not None:
                    raise SystemExit(f"{command[0]} does not serve; run it by hand to see why") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def podium(port: int, *options: str) -> list[str]:
    return [str(HOME / "serve" / "bin" / "podium"), "serve", "--port", str(port), *options]


OFFLINE = """
import json, sys, time, podium
asked = json.load(open(sys.argv[1]))
reranker = podium.load(sys.argv[2])
queries, texts = [each["query"] for each in asked], [each["documents"] for each in asked]
reranker.rerank(queries[0], texts[0])
for line in sys.stdin:
    began = time.perf_counter()
    rankings = reranker.rerank_many(queries, texts)
    print(json.dumps([time.perf_counter() - began, [[[r.index, r.score] for r in each] for each in rankings]]), flush=True)
"""


class Offline:
    """A process that does the same work by one call of rerank_many."""

    def __init__(self, asked: Path, model: str) -> None:
        python = str(HOME / "serve" / "bin" / "python")
        self._process = subprocess.Popen(
            [python, "-c", OFFLINE, str(asked), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> tuple[float, list[list[list[float]]]]:
        print("go", file=self._process.stdin, flush=True)
        seconds, rankings = json.loads(self._process.stdout.readline())
        return seconds, rankings

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


# What is measured


def throughput(port: int, count: int, rounds: int) -> dict[str, Any]:
    asked = requests(count)
    file = HOME / "asked.json"
    file.write_text(json.dumps(asked))
    pairs = sum(len(each["documents"]) for each in asked)
    bodies = [written(each, "/v2/rerank") for each in asked]
    offline = Offline(file, "podium-mini")
    rows: dict[int, dict[str, list[float]]] = {each: {"share": [], "times": []} for each in CONNECTIONS}
    rates, differing = [], 0
    for counted in [False] + [True] * rounds:
        seconds, expected = offline.run()
        if counted:
            rates.append(pairs / seconds)
        for connections in CONNECTIONS:
            answers, times, took = asyncio.run(load(port, bodies, connections))
            given = [[[each["index"], each["relevance_score"]] for each in json.loads(answer)["results"]] for answer in answers]
            differing += sum(one != other for one, other in zip(given, expected, strict=True))
            if counted:
                rows[connections]["share"].append(seconds / took)
                rows[connections]["times"] += times
    offline.close()
    return {
        "requests": count,
        "pairs": pairs,
        "offline_pairs_s": statistics.median(rates),
        "differing": differing,
        "connections": {
            str(connections): {"share": statistics.median(row["share"]), **quantiles(row["times"])}
            for connections, row in rows.items()
        },
    }


def quantiles(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {f"p{at}_ms": 1000 * ordered[min(len(ordered) - 1, len(ordered) * at // 100)] for at in (50, 95, 99)}


async def fairness(port: int) -> dict[str, Any]:
    """Ask for five passages again and again: alone, then while a request of a thousand is under way."""
    pool = passages("short", 1500)
    draw = random.Random(1)
    client, other = await Client(port).open(), await Client(port).open()

    async def small() -> float:
        return (await client.ask(written({"query": QUERY, "documents": draw.sample(pool, 5)}, "/v2/rerank")))[1]

    for _ in range(20):
        await small()
    idle = [await small() for _ in range(200)]
    busy: list[float] = []
    seconds = []
    while len(busy) < 200:
        large = asyncio.ensure_future(other.ask(written({"query": QUERY, "documents": draw.sample(pool, 1000)}, "/v2/rerank")))
        await asyncio.sleep(0.05)
        while not large.done():
            busy.append(await small())
        seconds.append((await large)[1])
    client.close()
    other.close()
    ratio = quantiles(busy)["p95_ms"] / quantiles(idle)["p95_ms"]
    return {"idle": quantiles(idle), "busy": quantiles(busy), "p95_ratio": ratio, "large_s": statistics.median(seconds)}


def soak(port: int, process: int, seconds: float) -> dict[str, Any]:
    """Keep 32 connections busy, with some that hang up in the middle, and look at the server's memory."""
    bodies = [written(each, "/v2/rerank") for each in requests(200)]
    ends, held = time.monotonic() + seconds, []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(min(10.0, seconds / 20)):
            held.append(resident(process))

    async def run() -> int:
        done = 0
        while time.monotonic() < ends:
            quitters = [await Client(port).open() for _ in range(5)]
            for client in quitters:
                client._writer.write(bodies[0])
            await asyncio.sleep(0.01)
            for client in quitters:
                client.close()
            done += len((await load(port, bodies, 32))[0])
        return done

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = asyncio.run(run())
    stop.set()
    watcher.join()
    tenth = max(1, len(held) // 10)
    return {
        "seconds": seconds,
        "requests": done,
        "early_mb": statistics.median(held[tenth : 2 * tenth + 1]),
        "late_mb": statistics.median(held[-tenth:]),
        "peak_mb": max(held),
    }


def resident(process: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1000


def beside(rounds: int) -> dict[str, float]:
    """Serve one cross-encoder with podium and with Infinity, by turns; return the rate of each at 32 connections."""
    model = str(HOME / "model")
    asked = requests(100)
    bodies = [written(each | {"model": model}, "/rerank") for each in asked]
    pairs = sum(len(each["documents"]) for each in asked)
    infinity = [
        str(HOME / "infinity" / "bin" / "infinity_emb"), "v2", "--model-id", model, "--served-model-name", model,
        "--engine", "torch", "--device", "cpu", "--port", "8198", "--no-bettertransformer",
    ]  # fmt: skip
    rates: dict[str, list[float]] = {"podium": [], "podium int8": [], "Infinity": []}
    with (
        serving(podium(8197, "--model", model), 8197),
        serving(podium(8199, "--model", model, "--precision", "int8"), 8199),
        serving(infinity, 8198),
    ):
        for counted in [False] + [True] * rounds:
            for name, port in (("podium", 8197), ("podium int8", 8199), ("Infinity", 8198)):
                seconds = asyncio.run(load(port, bodies, 32))[2]
                if counted:
                    rates[name].append(pairs / seconds)
    return {name: statistics.median(found) for name, found in rates.items()}


def startup(port: int) -> float:
    """Return seconds from starting the server to its first answer."""
    began = time.perf_counter()
    with serving(podium(port), port):
        return time.perf_counter() - began


def install(name: str, packages: Sequence[str]) -> None:
    done = HOME / name / "installed"
    if not done.exists():
        print(f"installing {name} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", HOME / name], check=True)
        for package in packages:  # torch first, as it was asked for
            subprocess.run([HOME / name / "bin" / "python", "-m", "pip", "install", "--quiet", package], check=True)
        done.touch()


def table(found: dict[str, Any]) -> str:
    rows = [
        f"| {connections} | {row['share']:.2f} | {row['p50_ms']:.0f} ms | {row['p95_ms']:.0f} ms | {row['p99_ms']:.0f} ms |"
        for connections, row in found["throughput"]["connections"].items()
    ]
    work, fair = found["throughput"], found["fairness"]
    said = [
        "| connections | share of the offline rate | p50 | p95 | p99 |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"- {work['requests']} requests of 5 to 15 passages; {work['differing']} answers differed from the offline ones. "
        f"Offline: {work['offline_pairs_s']:.0f} pairs/s on {found['machine']}.",
        f"- Fairness: five passages take {fair['idle']['p95_ms']:.0f} ms (p95) alone and {fair['busy']['p95_ms']:.0f} ms while "
        f"a request of 1,000 is under way: {fair['p95_ratio']:.1f} times.",
        f"- Start to first answer: {found['start_s']:.2f} s.",
    ]
    if held := found.get("soak"):
        said.append(
            f"- Memory over {held['seconds']:.0f} s at 32 connections ({held['requests']:,} requests, and clients that "
            f"hang up): {held['early_mb']:.0f} MB early, {held['late_mb']:.0f} MB late."
        )
    if rates := found.get("beside"):
        against = rates["Infinity"]
        said.append(
            f"- Beside Infinity (PyTorch), the same cross-encoder of MiniLM-L6's shape, 32 connections: "
            f"{rates['podium'] / against:.1f} times its rate, {rates['podium int8'] / against:.1f} times in int8."
        )
    return "\n".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--soak", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--beside", action="store_true")
    asked = parser.parse_args()
    HOME.mkdir(exist_ok=True)
    install("serve", [f"{ROOT}[serve]"])
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = {key: before[key] for key in ("soak", "beside") if key in before}  # measured by other calls of this
    found["machine"] = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    found["start_s"] = statistics.median(startup(8190 + at) for at in range(5))
    with serving(podium(8196), 8196) as process:
        found["throughput"] = throughput(8196, asked.requests, asked.rounds)
        found["fairness"] = asyncio.run(fairness(8196))
        if asked.soak:
            found["soak"] = soak(8196, process, asked.soak)
    if asked.beside:
        if not (HOME / "model" / "config.json").exists():
            raise SystemExit("make bench makes the model that both serve; run it first")
        install("infinity", INFINITY)
        found["beside"] = beside(asked.rounds)
    found["table"] = table(found)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found["table"])


if __name__ == "__main__":
    main()
