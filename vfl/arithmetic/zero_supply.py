"""Where fresh public-key encryptions of zero come from: made when asked for, or ahead of need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.seal_objects import Ciphertext

__all__ = ["FreshZeros", "Zero", "ZeroSupply"]


@dataclass(frozen=True, eq=False, repr=False)
class Zero:
    """A public-key encryption of zero, used once: the key times a secret in NTT form, and errors (2, N) beside it."""

    product: Ciphertext
    errors: NDArray[np.int64]


class _MakesZeros(Protocol):
    def fresh_zero(self) -> Zero: ...


class ZeroSupply(Protocol):
    """Where fresh public-key encryptions of zero come from. Each is handed out once."""

    def __call__(self) -> Zero:
        """The next one."""

    def close(self) -> None:
        """Make no more."""


class FreshZeros:
    """Makes each encryption of zero when it is asked for."""

    def __init__(self, evaluator: _MakesZeros) -> None:
        self._evaluator = evaluator

    def __call__(self) -> Zero:
        return self._evaluator.fresh_zero()

    def close(self) -> None:
        """Nothing is made ahead."""
