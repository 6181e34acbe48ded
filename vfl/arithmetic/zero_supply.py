"""Where fresh public-key encryptions of zero come from: made when asked for, or ahead of need."""

from __future__ import annotations

from typing import Protocol

from vfl.arithmetic.seal_objects import Ciphertext

__all__ = ["FreshZeros", "ZeroSupply"]


class _MakesZeros(Protocol):
    def fresh_zero(self) -> Ciphertext: ...


class ZeroSupply(Protocol):
    """Where fresh public-key encryptions of zero come from. Each is handed out once."""

    def __call__(self) -> Ciphertext:
        """The next one."""

    def close(self) -> None:
        """Make no more."""


class FreshZeros:
    """Makes each encryption of zero when it is asked for."""

    def __init__(self, evaluator: _MakesZeros) -> None:
        self._evaluator = evaluator

    def __call__(self) -> Ciphertext:
        return self._evaluator.fresh_zero()

    def close(self) -> None:
        """Nothing is made ahead."""
