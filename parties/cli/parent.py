"""A process that belongs to another one leaves with it, even when that one is killed outright."""

from __future__ import annotations

import os
import signal
import threading

from parties.process.supervision import end_process, start_task

__all__ = ["follow_parent"]

_GRACE_SECONDS = 10.0


def follow_parent() -> None:
    """From now on, stop this process as by SIGTERM when its standard input closes; after some grace, at once."""
    start_task(_follow, "parent", lambda error: end_process("parent"))


def _follow() -> None:
    try:
        while os.read(0, 1024):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)
