"""Rounds of a loop: a test that says nothing happened waits until the loop has looked, however slow the machine."""

from __future__ import annotations

import threading
from typing import Any

import pytest

__all__ = ["Rounds"]


class Rounds:
    """Counts how often ``owner.name`` has come to its end. Make it before the loop starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self._change = threading.Condition()
        self._done = 0
        step = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            try:
                return step(*args, **kwargs)
            finally:
                with self._change:
                    self._done += 1
                    self._change.notify_all()

        monkeypatch.setattr(owner, name, counted)

    def go_by(self, count: int = 2) -> None:
        """Wait until ``count`` rounds that begin from now on are over; one under way may have looked already."""
        with self._change:
            last = self._done + count + 1
            assert self._change.wait_for(lambda: self._done >= last, timeout=60), "the loop has stopped"
