"""Encryptions of zero made ahead of need, while the node waits for its peers."""

from __future__ import annotations

import queue
import threading
import time

from parties.process.supervision import start_task
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.zero_supply import Zero

__all__ = ["PreparedZeros"]


class PreparedZeros:
    """Keeps up to ``depth`` fresh encryptions of zero ready; each is handed out once and never again.

    One thread makes them. SEAL holds the interpreter lock while it works, so the thread gets on exactly when the
    protocol's own thread waits for a message.
    """

    def __init__(self, evaluator: Evaluator, depth: int = 32) -> None:
        self._evaluator = evaluator
        self._ready: queue.Queue[Zero] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        # without the thread zeros are made when they are asked for: slower, and as good
        self._thread = start_task(self._fill, "zeros", lambda error: None)

    def __call__(self) -> Zero:
        try:
            return self._ready.get_nowait()
        except queue.Empty:
            return self._evaluator.fresh_zero()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _fill(self) -> None:
        while not self._stop.is_set():
            zero = self._evaluator.fresh_zero()
            # let go of the interpreter lock after each, so that a message never waits for more than one
            time.sleep(0)
            while not self._stop.is_set():
                try:
                    self._ready.put(zero, timeout=0.2)
                    break
                except queue.Full:
                    continue
