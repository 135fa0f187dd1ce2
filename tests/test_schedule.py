"""Workers: the order in which they run items, errors, cancelled calls, closing, and forks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from loopback import wait_until
from podium.errors import PodiumError
from podium.schedule import Work, Workers, job


class Blocked:
    """In a `with` block: workers with one thread, which is busy until `release` is set or the block ends."""

    def __enter__(self):
        self.workers = Workers(1)
        self.release = threading.Event()
        running = threading.Event()

        def block(items):
            running.set()
            self.release.wait(60)

        # A call with one item would run on its own thread, and leave the worker free.
        self._thread = threading.Thread(target=self.workers.run, args=(Work([1, 0], block),))
        self._thread.start()
        assert running.wait(60)
        return self

    def __exit__(self, *_):
        self.release.set()
        self._thread.join(60)


def test_longest_item_is_first_and_each_runs_once():
    steps = []
    Workers(1).run(Work([3, 9, 1, 9], steps.append))
    assert steps == [[1], [3], [0], [2]]


def test_short_items_run_together():
    steps = []
    Workers(1).run(Work([5] * 40, steps.append, at_once=10, workers=1))
    assert {len(items) for items in steps[:-4]} == {2}  # two items have at most 10 tokens; the last steps may be smaller
    assert sum(map(len, steps)) == 40


def test_fewer_items_run_together_towards_the_end():
    steps = []
    Workers(1).run(Work([50, 4, 3, 3, 3, 3, 2, 2, 2], steps.append, at_once=10, workers=2))
    assert steps[0] == [0]
    assert steps[1] == [1]  # 22 tokens are left, and a quarter of that is too little for a second item
    assert sorted(item for items in steps for item in items) == list(range(9))


def test_small_call_passes_a_large_one():
    """The small call waits for one step of the large call, and not for its end."""
    order = []
    with Blocked() as blocked, ThreadPoolExecutor(2) as threads:
        large = Work([1] * 60, lambda items: order.append("large"))
        small = Work([1] * 3, lambda items: order.append("small"))
        futures = [threads.submit(blocked.workers.run, large)]
        wait_until(lambda: large.job.tokens_waiting == 60)
        futures.append(threads.submit(blocked.workers.run, small))
        wait_until(lambda: small.job.tokens_waiting == 3)
        blocked.release.set()
        for future in futures:
            future.result(60)
    assert order[:5].count("small") == 3  # every fourth step is for the oldest call
    assert len(order) == 63


def test_small_calls_do_not_starve_a_large_one():
    """The large call gets every fourth step, even if small calls are waiting."""
    order = []

    async def main(blocked):
        async def stream():
            while True:
                await blocked.workers.arun(Work([1, 1], lambda items: order.append("small")))

        large = asyncio.create_task(blocked.workers.arun(Work([1] * 50, lambda items: order.append("large"))))
        streams = [asyncio.create_task(stream()) for _ in range(3)]
        await asyncio.sleep(0)  # now all calls are in the queue
        blocked.release.set()
        await large
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    with Blocked() as blocked:
        asyncio.run(main(blocked))
    assert order.count("large") == 50
    assert order.count("small") < 4 * 2 * 50


@pytest.mark.parametrize(("call_count", "tokens_to_come"), [(40, 0), (2, 5000)], ids=["begun", "to-come"])
def test_many_calls_of_one_job_do_not_pass_a_smaller_call(call_count, tokens_to_come):
    """Each call of the job is smaller than the other call, but the job is larger. Some of its calls may not have begun."""
    order = []

    async def main(blocked):
        def call(lengths, name):
            return asyncio.create_task(blocked.workers.arun(Work(lengths, lambda items: order.append(name))))

        with job(tokens_to_come):
            large = [call([10], "large") for _ in range(call_count)]
        small = call([10] * 5, "small")
        await asyncio.sleep(0)  # now all calls are in the queue
        blocked.release.set()
        await asyncio.gather(small, *large)

    with Blocked() as blocked:
        asyncio.run(main(blocked))
    assert order.count("small") == 5
    assert order[:7].count("small") == 5  # every fourth step is for the oldest job


def test_cancelled_job_has_no_tokens_left():
    async def main(blocked):
        with job(0) as cancelled:
            task = asyncio.create_task(blocked.workers.arun(Work([10] * 5, lambda items: None)))
        await asyncio.sleep(0)
        assert cancelled.tokens_left == 50
        task.cancel()
        blocked.release.set()
        await asyncio.gather(task, return_exceptions=True)
        await blocked.workers.arun(Work([1], lambda items: None))
        assert cancelled.tokens_left == 0

    with Blocked() as blocked:
        asyncio.run(main(blocked))


def test_equal_calls_end_in_the_order_in_which_they_began():
    order = []

    async def main(blocked):
        async def call(name):
            await blocked.workers.arun(Work([1] * 5, lambda items: order.append(name)))

        calls = [asyncio.create_task(call(name)) for name in range(4)]
        await asyncio.sleep(0)  # all of them are in the queue
        blocked.release.set()
        await asyncio.gather(*calls)

    with Blocked() as blocked:
        asyncio.run(main(blocked))
    assert len(order) == 20
    assert order == sorted(order)


def test_call_with_one_item_runs_on_the_thread_of_its_caller():
    workers = Workers(2)
    threads = []
    for lengths in ([1], [1, 1]):
        workers.run(Work(lengths, lambda items: threads.append(threading.current_thread())))
    assert threads[0] is threading.current_thread()
    assert threading.current_thread() not in threads[1:]


def test_call_with_one_item_waits_for_a_worker_while_another_call_runs():
    thread_names = []
    with Blocked() as blocked, ThreadPoolExecutor(1) as pool:
        work = Work([1], lambda items: thread_names.append(threading.current_thread().name))
        future = pool.submit(blocked.workers.run, work)
        wait_until(lambda: work in blocked.workers._calls)
        blocked.release.set()
        future.result(60)
    assert thread_names[0].startswith("podium")  # the name of a worker


class InterruptedWork(Work):
    """An interrupt arrives after an item was taken and before it runs."""

    def run_items(self, items):
        raise KeyboardInterrupt


@pytest.mark.parametrize("count", [1, 2])
def test_interrupt_before_an_item_runs_does_not_stop_later_calls(count):
    workers = Workers(count)
    with pytest.raises(KeyboardInterrupt):
        workers.run(InterruptedWork([1], lambda items: None))
    done = []
    thread = threading.Thread(target=lambda: [workers.run(Work([1, 1, 1], done.extend)) for _ in range(5)], daemon=True)
    thread.start()
    thread.join(60)
    assert len(done) == 15


def test_interrupted_call_does_not_stop_later_ones():
    workers = Workers(1)
    threads = []

    def interrupt(items):
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            workers.run(Work([1], interrupt))
        workers.run(Work([1], lambda items: threads.append(threading.current_thread())))
        workers.run(Work([1, 1], lambda items: threads.append(threading.current_thread())))
    assert threads.count(threading.current_thread()) == 2  # for the two calls with one item
    assert len(threads) == 6


def test_first_error_stops_the_rest():
    begun = []

    def fail(items):
        begun.append(items)
        raise ValueError("at the first")

    with pytest.raises(ValueError, match="at the first"):
        Workers(1).run(Work([1] * 50, fail))
    assert begun == [[0]]


def test_cancelling_stops_items_that_have_not_begun():
    begun = []
    release = threading.Event()

    def block(items):
        begun.append(items)
        release.wait(60)

    async def main():
        workers = Workers(2)
        task = asyncio.create_task(workers.arun(Work([1] * 100, block)))
        while len(begun) < 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await workers.arun(Work([1], lambda items: None))  # a worker is free again, and begins no cancelled item
        workers.close()

    asyncio.run(main())
    assert len(begun) == 2


def test_arun_does_not_block_the_event_loop():
    from_loop = threading.Event()

    async def main():
        asyncio.get_running_loop().call_later(0.01, from_loop.set)
        await Workers(1).arun(Work([1], lambda items: from_loop.wait(60)))

    asyncio.run(main())
    assert from_loop.is_set()


@pytest.mark.parametrize("thread_count", [1, 2, 8, 64])  # with many threads, some are still being started during `close`
def test_close_lets_a_running_call_finish(thread_count):
    workers = Workers(thread_count)
    begun = threading.Event()
    release = threading.Event()
    done = []

    def block(items):
        begun.set()
        release.wait(60)
        done.extend(items)

    call = threading.Thread(target=workers.run, args=(Work([1] * 20, block),))
    call.start()
    assert begun.wait(60)
    workers.close()
    release.set()
    call.join(60)
    assert sorted(done) == list(range(20))


def test_call_after_close_is_an_error():
    workers = Workers(2)
    workers.close()
    with pytest.raises(PodiumError, match="closed"):
        workers.run(Work([1], lambda items: None))


CALLS_IN_FORKED_PROCESSES = """
import os, sys, threading
from podium.schedule import Work, Workers

workers = Workers(2)
workers.run(Work([1, 2, 3], lambda items: None))
sys.setswitchinterval(1e-6)
for _ in range(60):
    child = os.fork()
    if not child:
        ready = threading.Barrier(12)
        ended = []
        def call():
            ready.wait()
            workers.run(Work([1, 2, 3], lambda items: None))
            ended.append(1)
        threads = [threading.Thread(target=call, daemon=True) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        os._exit(len(ended) != 12)
    assert os.waitpid(child, 0)[1] == 0, "calls in a forked process never ended"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_calls_that_begin_together_in_a_forked_process_all_end():
    command = [sys.executable, "-W", "ignore", "-c", CALLS_IN_FORKED_PROCESSES]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr


AFTER_MAIN = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
from podium.errors import PodiumError
from podium.schedule import Work, Workers

def are_pools_closed():
    try:
        ThreadPoolExecutor(1).submit(int)
    except RuntimeError:
        return True

def call():
    threading.main_thread().join()
    while not are_pools_closed():
        pass
    for work in (Work([1, 1], print), Work([1], print)):
        Workers(1).run(work)
    try:
        asyncio.run(Workers(1).arun(Work([1], print)))
    except PodiumError as error:
        print(error)

threading.Thread(target=call).start()
"""


def test_calls_after_the_main_thread_ended_run_on_their_own_threads():
    """Python ends all pools of threads when the main thread ends."""
    process = subprocess.run([sys.executable, "-c", AFTER_MAIN], capture_output=True, text=True, timeout=120)
    *printed_items, error = process.stdout.splitlines()
    assert (printed_items, process.stderr) == (["[0]", "[1]", "[0]"], "")
    assert error.startswith("the program is ending, so no call can begin; let the main thread wait for the event loop")
