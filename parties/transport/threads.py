"""An executor whose threads never keep a process alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

__all__ = ["DaemonThreads"]


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
