"""Forks wait for code that must not be interrupted by one."""

from __future__ import annotations

import os
import threading
import time

import pytest

from podium.forks import no_fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fork_waits_for_the_end_of_the_block():
    inside, ended = threading.Event(), []

    def compute():
        with no_fork:
            inside.set()
            time.sleep(0.05)  # so that a fork that does not wait is ahead of the next line
            ended.append(True)

    thread = threading.Thread(target=compute)
    thread.start()
    inside.wait(60)
    child = os.fork()
    if not child:
        with no_fork:  # can be used again at once
            os._exit(not ended)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    with no_fork:
        pass
