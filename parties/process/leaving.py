"""Being told to stop, by SIGTERM or SIGINT, however often: the work of leaving is done outside the signal handler.

A handler runs between two steps of the main thread, which may hold the very lock that the work needs; a second signal
would find the first one's locks held. So a handler only puts a mark, which interrupts nothing, and a thread does the
work.
"""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable

from parties.process.supervision import end_process, start_task

__all__ = ["when_told_to_stop"]


def when_told_to_stop(leave: Callable[[], object]) -> None:
    """Call ``leave`` once, in a thread, when this process gets SIGTERM or SIGINT. Main thread only."""
    told: queue.SimpleQueue[None] = queue.SimpleQueue()  # its put may interrupt its get

    def mark(*_: object) -> None:
        told.put(None)

    def work() -> None:
        told.get()
        leave()

    start_task(work, "leaving", lambda error: end_process("leaving"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, mark)
