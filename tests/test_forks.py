"""What happens to threads and locks when the process forks."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from loopback import wait_until
from podium.forks import no_fork

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


def fork_status():
    """Fork a process that enters the context, and return its exit status: 0 if it did not hang."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        with no_fork:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def test_fork_waits_for_a_call_of_another_thread():
    events = []
    in_call, may_return = threading.Event(), threading.Event()

    def call():
        with no_fork, no_fork:  # as a call that makes another one
            in_call.set()
            may_return.wait(60)
            events.append("returned")

    def fork():
        assert fork_status() == 0
        events.append("forked")

    caller, forker = threading.Thread(target=call), threading.Thread(target=fork)
    caller.start()
    in_call.wait(60)
    forker.start()
    wait_until(lambda: no_fork._is_forking or bool(events))
    may_return.set()
    caller.join()
    forker.join()
    assert events == ["returned", "forked"]


def test_fork_within_a_call_does_not_wait_for_itself():
    """As a signal handler may do."""
    with no_fork:
        assert fork_status() == 0
    assert fork_status() == 0


def test_calls_wait_while_the_process_forks():
    no_fork.before_fork()
    entered = threading.Event()

    def call():
        with no_fork:
            entered.set()

    thread = threading.Thread(target=call)
    thread.start()
    assert not entered.is_set()
    no_fork.after_fork_in_parent()
    thread.join()
    assert entered.is_set()
