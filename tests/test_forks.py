"""no_fork: a fork waits for calls in other threads, and calls wait for a fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from loopback import wait_until
from podium.forks import no_fork

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


def fork_status():
    """Fork a child that enters `no_fork`. Return its wait status: 0 if it exits, nonzero if the alarm kills it."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        with no_fork:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def test_fork_waits_for_a_call_in_another_thread():
    events = []
    in_call = threading.Event()
    may_return = threading.Event()

    def call_library():
        with no_fork, no_fork:  # nested, like a call that makes another call
            in_call.set()
            may_return.wait(60)
            events.append("returned")

    def fork():
        assert fork_status() == 0
        events.append("forked")

    caller, forker = threading.Thread(target=call_library), threading.Thread(target=fork)
    caller.start()
    in_call.wait(60)
    forker.start()
    wait_until(lambda: no_fork._is_forking or bool(events))  # the fork has begun to wait, or did not wait
    may_return.set()
    caller.join()
    forker.join()
    assert events == ["returned", "forked"]


def test_fork_within_a_call_does_not_wait_for_itself():
    """A signal handler can fork while its thread is in a call."""
    with no_fork:
        assert fork_status() == 0
    assert fork_status() == 0


def test_calls_wait_while_the_process_forks():
    no_fork.before_fork()
    entered = threading.Event()

    def call_library():
        with no_fork:
            entered.set()

    thread = threading.Thread(target=call_library)
    thread.start()
    wait_until(lambda: no_fork._changed._waiters or entered.is_set())  # the thread waits, or did not have to
    assert not entered.is_set()
    no_fork.after_fork_in_parent()
    thread.join()
    assert entered.is_set()


INTERRUPTS = """
import random, signal, threading, time
from podium.forks import no_fork

class Interrupt(Exception):
    pass

def interrupt(*_):
    raise Interrupt

signal.signal(signal.SIGALRM, interrupt)
for _ in range(3_000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 4e-5))
        for _ in range(3):
            with no_fork:
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)

def enter():
    with no_fork:
        print("entered", flush=True)

thread = threading.Thread(target=enter, daemon=True)
thread.start()
thread.join(60)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
def test_interrupts_leave_nothing_locked():
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", INTERRUPTS], capture_output=True, text=True, timeout=120)
        assert done.stdout == "entered\n", done.stderr
