"""Leaving on a signal: once, outside the handler, whatever lock the main thread holds as the signals come."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator

import pytest

from parties.process.leaving import when_told_to_stop


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_two_signals_do_not_wait_for_a_lock_that_the_main_thread_holds() -> None:
    lock, left = threading.Lock(), queue.SimpleQueue[threading.Thread]()

    def leave() -> None:
        if not lock.acquire(timeout=20):
            raise AssertionError("the handler waited for whom it interrupted")
        left.put(threading.current_thread())
        lock.release()

    when_told_to_stop(leave)
    with lock:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.get(timeout=20) is not threading.main_thread()
    assert left.empty(), "leaving is done once"
