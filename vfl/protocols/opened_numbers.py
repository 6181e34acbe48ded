"""An opened number: a few whole bits of a value under noise, so that it tells log2(range / noise) bits at most.

What opens of a row is a sum of the parties' parts. Every party adds Gaussian noise to its own part before the part is
recorded, and everything that leaves is reduced mod 2**m. Additive shares stay additive, because 2**m divides the
ring's 2**k, and whatever weights the label party encrypted, the number that it opens is (value + noise) mod 2**m: a
channel whose capacity is log2(2**m / (deviation * sqrt(2 pi e))) (Forney, Trott and Chung, "Sphere-bound-achieving
coset codes and multilevel coset codes", IEEE Trans. Inf. Theory 46, 2000: the mod-Lambda channel).

The noise belongs to the part and is kept with it. A resumed step and every coalition of one prediction send the very
part that was recorded, so that nothing is averaged away and nothing is opened under two noises.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.terms import FixedPoint

__all__ = ["DISCRETE_NOISE", "ClearNoise", "OpenedNumbers", "RowNoise", "noise_label", "unattempted"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


DISCRETE_NOISE = 0.2
"""Least ``openings.noise`` under which columns of few values may open at all."""


@dataclass(frozen=True)
class OpenedNumbers:
    """How the numbers of a row open: noise of ``deviation`` in each party's part, ``whole_bits`` with the sign.

    A number runs from -2**(whole_bits - 1) to 2**(whole_bits - 1); what lies beyond wraps.
    """

    deviation: float
    whole_bits: int = 2

    @property
    def bits(self) -> float:
        """Most that one opened number can tell of one party's row."""
        return max(0.0, self.whole_bits - math.log2(self.deviation * math.sqrt(2 * math.pi * math.e)))

    def ring(self, fixed: FixedPoint) -> Ring:
        """Z_(2**m) in which such numbers open."""
        return Ring(min(fixed.ring_bits, fixed.output_bits + self.whole_bits))

    def wrapped(self, values: F64) -> F64:
        """Values as they would open, float64 in their shape."""
        half = 2.0 ** (self.whole_bits - 1)
        inside: F64 = np.mod(values + half, 2 * half) - half
        return inside


def unattempted(label: str) -> str:
    """A charge's label without the attempt: the same for a step whenever it is tried."""
    return re.sub(r"-\d+(?=/|$)", "", label, count=1)


def noise_label(charge: str, before: int) -> str:
    """What the noise of an opening is drawn for: its step, and how often that was opened ``before`` in this run.

    Charges are durable before anything opens. So a step that goes on after a crash meets the noise that it would have
    met, and a step that is opened again, with whatever weights, meets a new one.
    """
    return f"{unattempted(charge)}#{before}"


class RowNoise:
    """One party's noise: secret, and the same whenever the same rows are opened under the same label.

    secret: 32 bytes of this node for this run alone.
    """

    def __init__(self, secret: bytes, numbers: OpenedNumbers) -> None:
        self._secret, self._numbers = secret, numbers

    def __repr__(self) -> str:
        return f"RowNoise({self._numbers!r}, ...)"

    def __reduce__(self) -> str:
        raise TypeError("noise is not pickled")

    def units(self, label: str, rows: I64, width: int, fixed: FixedPoint) -> I64:
        """Gaussian noise rounded to whole units of an opened number, int64 (rows, width).

        label: of one opening in this run, from :func:`noise_label`, so that no two values meet one noise.
        """
        noise = self.values(label, rows, width)
        units: I64 = np.rint(np.ldexp(noise, fixed.output_bits)).astype(np.int64)
        return units

    def values(self, label: str, rows: I64, width: int) -> F64:
        """The same as float64, before it is rounded."""
        named = hashlib.sha256(rows.astype("<u8").tobytes()).hexdigest()
        key = HKDF(SHA256(), 32, salt=None, info=f"entente/noise/{label}/{width}/{named}".encode()).derive(self._secret)
        return self._numbers.deviation * SecretStream(key).gaussian(len(rows) * width).reshape(len(rows), width)


@dataclass(frozen=True)
class ClearNoise:
    """What a plaintext twin needs to open what the sealed run opened: every party's noise, in agreed order.

    session: the name under which the sealed run's feature parties served. A twin repeats a run in which no step opened
    twice: one that went through at once, or went on from its records.
    """

    numbers: OpenedNumbers
    parties: Sequence[RowNoise]
    session: str = "train-1"

    def noisy(self, parts: Sequence[F64], step: int, rows: I64) -> list[F64]:
        """Each party's part (B, width) as it is kept."""
        label = noise_label(f"{self.session}/{step}", 0)
        return [
            part + noise.values(label, rows, part.shape[1]) for part, noise in zip(parts, self.parties, strict=True)
        ]

    def opened(self, values: F64) -> F64:
        """A sum of kept parts as it opens."""
        return self.numbers.wrapped(values)
