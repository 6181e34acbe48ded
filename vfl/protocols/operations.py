"""What a private product takes in SEAL's operations: by it blocks are chosen, and costs foretold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Operations"]

# Relative times of one encrypted input, one output, one multiplication and one plaintext block at
# equal ring degree; `entente bench product` prints them.
_INPUT, _OUTPUT, _MULTIPLY, _PLAIN = 0.57, 1.0, 0.1, 0.18


@dataclass(frozen=True)
class Operations:
    """What one product takes, both sides added up: encrypted inputs, outputs, multiplications, plaintext blocks."""

    inputs: int
    outputs: int
    multiplications: int
    plains: int

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.inputs + other.inputs,
            self.outputs + other.outputs,
            self.multiplications + other.multiplications,
            self.plains + other.plains,
        )

    @property
    def cost(self) -> float:
        """In relative times: both ends choose their blocks by it, so it is added up in one order."""
        return self.inputs * _INPUT + self.outputs * _OUTPUT + self.multiplications * _MULTIPLY + self.plains * _PLAIN

    def seconds(self, times: Mapping[str, float]) -> float:
        """At these times of SEAL's operations, named as in :func:`vfl.arithmetic.he.raw_operations`."""
        return (
            self.inputs * (times["encrypt"] + times["ntt"])
            + self.outputs * (times["zero"] + times["inverse_ntt"] + times["decrypt"])
            + self.multiplications * (times["multiply"] + times["add"])
            + self.plains * times["plain_ntt"]
        )
