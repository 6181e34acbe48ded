"""Threads that never keep a process alive, for servers and for calls that a signal may interrupt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["DaemonThreads", "apart"]

T = TypeVar("T")


class DaemonThreads(ThreadPoolExecutor):
    """A daemon thread per task. The standard pool would wait at exit for calls that peers keep open."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(task(*args, **kwargs))
            except BaseException as error:  # the future hands it to whoever waits
                future.set_exception(error)

        threading.Thread(target=work, name="exchange", daemon=True).start()
        return future


def apart(task: Callable[[], T]) -> T:
    """The task's result, from a thread of its own where this is the main thread.

    Signal handlers run in the main thread and may raise (Ctrl-C does). Raised inside grpc, that leaves its locks and
    counts as they are, and closing the channel would then wait for ever; raised here, it interrupts a wait only.
    """
    if threading.current_thread() is not threading.main_thread():
        return task()
    result: T = DaemonThreads().submit(task).result()
    return result
