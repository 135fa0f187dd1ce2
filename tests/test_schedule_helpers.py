"""Idle workers help with the running items of other calls, and return when there is other work for them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from loopback import wait_until
from podium.schedule import Work, Workers

SECONDS = 60  # how long a test waits for a thread before it fails


class Helpers:
    """Records the calls of its methods. `help` waits until it is released or `finish` is set."""

    def __init__(self):
        self.has_helper = threading.Event()
        self.is_cancelled = threading.Event()
        self.finish = threading.Event()
        self._flags = []

    def new_helper(self):
        if self.finish.is_set():
            return None
        self._flags.append(threading.Event())
        return self._flags[-1]

    def help(self, leave):
        self.has_helper.set()
        wait_until(lambda: leave.is_set() or self.finish.is_set())

    def release_helpers(self):
        for flag in self._flags:
            flag.set()

    def cancel(self):
        self.is_cancelled.set()


def test_idle_worker_helps_with_a_running_item():
    helpers = Helpers()

    def run(items):
        assert helpers.has_helper.wait(SECONDS), "no worker helped"
        helpers.finish.set()

    Workers(2).run(Work([1], run, helpers=helpers))


def test_steps_are_large_if_workers_help():
    """The last step is computed by both workers, so it need not be small. Without help, the first step has one item."""
    helpers = Helpers()
    helpers.finish.set()
    steps: list[list[int]] = []
    Workers(1).run(Work([10] * 5, steps.append, at_once=100, workers=2, helpers=helpers))
    assert steps == [[0, 1], [2], [3], [4]]


def test_helping_worker_runs_the_items_of_a_call_that_begins():
    helpers = Helpers()
    workers = Workers(2)

    def run(items):
        assert helpers.has_helper.wait(SECONDS)
        workers.run(Work([1, 1], lambda items: None))
        helpers.finish.set()

    workers.run(Work([1], run, helpers=helpers))


def test_cancelled_call_ends_its_running_items():
    helpers = Helpers()
    has_begun = threading.Event()

    def run(items):
        has_begun.set()
        assert helpers.is_cancelled.wait(SECONDS), "the running item was not cancelled"
        helpers.finish.set()

    async def main():
        work = Work([1, 1], run, helpers=helpers)
        task = asyncio.create_task(Workers(1).arun(work))
        while not has_begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        work.end.result(SECONDS)

    asyncio.run(main())


def test_call_that_ends_cancels_nothing():
    helpers = Helpers()
    Workers(2).run(Work([1, 1], lambda items: helpers.finish.set(), helpers=helpers))
    assert not helpers.is_cancelled.is_set()


def test_groups_run_one_after_the_other():
    steps = []
    groups = [1, 0, 2] * 20
    Workers(1).run(Work([1] * 60, steps.append, at_once=8, groups=groups))
    assert [groups[item] for items in steps for item in items] == sorted(groups)
    assert all(len({groups[item] for item in items}) == 1 for items in steps if items)
    assert max(map(len, steps)) == 8
