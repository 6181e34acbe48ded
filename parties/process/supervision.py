"""Supervised threads: what one of them did not expect is logged, and it goes on, hands over, or ends the process.

A thread that dies alone takes its work with it while the process looks healthy. So every thread of ours is started
here: :func:`start_loop` for what goes on until it is stopped, :func:`start_task` for one piece of work. Whatever
neither can take ends the process loudly, with exit code 70, so that whoever watches it starts it again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

__all__ = ["EXIT_CODE", "end_process", "start_loop", "start_task"]

_LOG = logging.getLogger(__name__)
EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

Failed = Callable[[Exception], object]


def end_process(name: str) -> None:
    """Log the exception being handled, and end this process at once: nothing can be trusted to clean up."""
    _LOG.critical("thread %r failed and could not go on: this process ends", name, exc_info=True)
    logging.shutdown()
    os._exit(EXIT_CODE)


def start_task(work: Callable[[], object], name: str, failed: Failed) -> threading.Thread:
    """Start a thread for one piece of work. What ``work`` did not expect is logged, and given to ``failed``.

    When ``failed`` cannot take it either, the process ends.
    """
    return _started(_Task(work, name, failed))


def start_loop(
    step: Callable[[], bool | None],
    name: str,
    stopped: threading.Event,
    *,
    every: float | Callable[[], float],
    trouble: float = 5.0,
    failed: Failed = lambda error: None,
) -> threading.Thread:
    """Start a thread that does ``step`` every so many seconds until ``stopped`` is set, or a step returns False.

    What a step did not expect is logged and given to ``failed``; the next one comes ``trouble`` seconds later.
    """

    def work() -> None:
        while not stopped.is_set():
            try:
                if step() is False:
                    return
                pause = every() if callable(every) else every
            except Exception as error:
                _LOG.exception("thread %r met what it did not expect, and goes on", name)
                failed(error)
                pause = trouble
            stopped.wait(pause)

    # a loop catches what its steps raise: what comes to its end is a fault in the lines above
    return _started(_Task(work, name, lambda error: end_process(name)))


def _started(thread: threading.Thread) -> threading.Thread:
    thread.start()
    return thread


class _Task(threading.Thread):
    def __init__(self, work: Callable[[], object], name: str, failed: Failed) -> None:
        super().__init__(name=name, daemon=True)
        self._job: tuple[Callable[[], object], Failed] | None = (work, failed)

    def run(self) -> None:
        assert self._job is not None
        (work, failed), self._job = self._job, None  # what the work holds is let go of with the thread
        try:
            try:
                work()
            except Exception as error:
                _LOG.exception("thread %r met what it did not expect", self.name)
                failed(error)
        except BaseException:
            end_process(self.name)
