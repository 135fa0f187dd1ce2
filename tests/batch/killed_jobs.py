"""Start a batch job, kill it with SIGKILL at a random moment, and continue it, again and again.

    python killed_jobs.py INPUT OUT KILLS

After each kill, every part that has its name must be complete. When a job is complete before it is killed, it starts again in
a new folder. The output of the last job is in OUT.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

import podium
from fakes import WordOverlap
from podium.ranking import Reranker

PART_SIZE = 10


def start(path: Path, out: Path) -> int:
    """Return the id of a process that runs the job."""
    process_id = os.fork()
    if process_id == 0:
        try:
            podium.batch(path, out, reranker=Reranker(WordOverlap()), part_size=PART_SIZE)
        except BaseException as error:
            print(f"the job failed: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return process_id


def main(path: Path, out: Path, kills: int) -> None:
    podium.batch(path, out, reranker=Reranker(WordOverlap()), part_size=PART_SIZE)  # imports all modules
    shutil.rmtree(out)
    began = time.perf_counter()
    _, status = os.waitpid(start(path, out), 0)
    duration = time.perf_counter() - began
    assert status == 0
    complete = {part.name: pq.read_table(part) for part in (out / "parts").iterdir()}
    assert len(complete) > 5
    moments = random.Random(1)
    killed = 0
    while killed < kills:
        if len(list((out / "parts").glob("part-*"))) == len(complete):
            shutil.rmtree(out)
        process_id = start(path, out)
        time.sleep(moments.uniform(0, duration))
        os.kill(process_id, signal.SIGKILL)
        _, status = os.waitpid(process_id, 0)
        assert status in (0, signal.SIGKILL), "the job failed"
        killed += status == signal.SIGKILL
        for part in (out / "parts").glob("part-*") if out.exists() else ():
            assert pq.read_table(part).equals(complete[part.name]), part
    _, status = os.waitpid(start(path, out), 0)
    assert status == 0
    print(f"{killed} jobs were killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
