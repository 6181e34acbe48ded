"""The BFV parameter sets that are allowed, for the rings Z_2^k and for the prime ring."""

from __future__ import annotations

from dataclasses import dataclass

from vfl.arithmetic.prime_ring import PRIME_RING, PrimeRing
from vfl.arithmetic.ring import Ring

__all__ = ["COEFFICIENT_SET", "PARAMETER_SETS", "PRIME_PARAMETER_SETS", "SLOT_SET", "ParameterSet"]


@dataclass(frozen=True)
class ParameterSet:
    """An allowed BFV parameter set. 128-bit classical security (HE standard tables, enforced by SEAL).

    ``dropped``: primes that the evaluator switches away before it answers. ``prime``: the plaintext ring is Z_p.
    """

    name: str
    degree: int
    prime_bits: tuple[int, ...]
    special_bits: int
    dropped: int = 0
    prime: bool = False

    @property
    def most_ring_bits(self) -> int:
        """Largest plaintext modulus, in bits: below every prime, so that shares rescale in 128-bit steps."""
        return min(self.prime_bits) - 1

    def ring(self, bits: int) -> Ring | PrimeRing:
        """The plaintext ring of ``bits`` bits. Raises ValueError where this set has none."""
        if self.prime:
            if bits != PRIME_RING.bits:
                raise ValueError(f"parameter set {self.name!r} takes the prime ring of {PRIME_RING.bits} bits alone")
            return PRIME_RING
        if not 2 <= bits <= self.most_ring_bits:
            raise ValueError(f"parameter set {self.name!r} takes rings of 2 to {self.most_ring_bits} bits, not {bits}")
        return Ring(bits)


def _named(*sets: ParameterSet) -> dict[str, ParameterSet]:
    return {terms.name: terms for terms in sets}


PARAMETER_SETS = _named(
    ParameterSet("bfv-8192", 8192, (60, 60), 20),
    ParameterSet("bfv-4096", 4096, (46, 45), 18),
)
"""For the rings Z_2^k: what an agreement may name as its parameter set."""

COEFFICIENT_SET = "bfv-8192-prime"
SLOT_SET = "bfv-8192-slots"

PRIME_PARAMETER_SETS = _named(
    ParameterSet(COEFFICIENT_SET, 8192, (60, 60), 20, prime=True),
    ParameterSet(SLOT_SET, 8192, (60, 60, 60), 38, dropped=1, prime=True),
)
"""For the prime ring: the matrix product (coefficient mode) and the product element by element (slot mode)."""
