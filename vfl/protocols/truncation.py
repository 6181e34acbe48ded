"""Exact truncation: shares of x become shares of x / 2**s, at most 2 units in the last place off, on any share.

Shares A + B = x mod p with |x| < p/4. The key holder adds (p-1)/4, so that y = x + (p-1)/4 lies in [0, (p-1)/2]. Over
the integers A + B = y unless one of the shares is above (p-1)/2, and then it is y + p: the wrap is 1 - [A low] [B
low], where *low* means at most (p-1)/2. One slot product of two bits, each known to one side, shares it; each side
then shifts its own share and takes its part of the wrap times p / 2**s.

Why not the local truncation that needs no message: it fails, by p / 2**s, with probability |x| / p, which at 47 of 59
bits is once in 2**12 elements, and in training that is every batch.

Rounding is to nearest everywhere: the two shares' halves make an error in (-1, 1], and p / 2**s and (p-1)/4 / 2**s are
off by at most one half each, so the error stays within 2 units and has mean zero as nearly as these two allow.
Source: docs/protocols/slots.md#exact-truncation; wrap from known signs, Rathee et al., "SIRNN", IEEE S&P 2021.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.protocols.slots import SlotEvaluator, evaluate_slots, hold_slots

__all__ = ["LARGEST", "evaluate_truncation", "hold_truncation"]

U64 = NDArray[np.uint64]

LARGEST = (PRIME - 1) // 4
"""The largest |x| that can be truncated: what lies beyond would wrap twice."""

_LOW = np.uint64((PRIME - 1) // 2)


def _rounded(value: int, bits: int) -> int:
    """value / 2**bits, to nearest."""
    return (value + (1 << (bits - 1))) >> bits


def _shifted(share: U64, bits: int) -> U64:
    """The share over 2**bits, to nearest, as an integer below p."""
    return (share + np.uint64(1 << (bits - 1))) >> np.uint64(bits)


def _check(bits: int, bound: int) -> None:
    if not 1 <= bits <= PRIME_RING.bits - 3:
        raise LocalProtocolError(f"a truncation takes 1 to {PRIME_RING.bits - 3} bits, not {bits}")
    if not 0 <= bound <= LARGEST:
        raise LocalProtocolError(
            f"values of up to {bound:.3g} cannot be truncated: the ring holds {LARGEST:.3g}; use fewer fractional bits"
        )


def hold_truncation(peer: str, label: str, share: U64, bits: int, key: KeyHolder, *, bound: int) -> Flow[U64]:
    """Key holder: its share of round(x / 2**bits), +-2, in the shape of ``share``, its share of x in Z_p.

    bound: the largest |x| that can occur, as the caller has derived it. Raises LocalProtocolError unless it is below
    p/4.

    Learns: its own new share.
    Leaks: as :func:`vfl.protocols.slots.hold_slots`; whether a share is low is encrypted.
    Model: semi-honest.
    Source: docs/protocols/slots.md#exact-truncation.
    """
    _check(bits, bound)
    moved = PRIME_RING.add(share, np.full_like(share, LARGEST))
    both_low = yield from hold_slots(peer, label, (moved <= _LOW).astype(np.uint64), key)
    wrap, offset = _rounded(PRIME, bits), _rounded(LARGEST, bits)
    part = PRIME_RING.mul(both_low, np.full_like(share, wrap))
    less = (wrap + offset) % PRIME
    return PRIME_RING.sub(PRIME_RING.add(_shifted(moved, bits), part), np.full_like(share, less))


def evaluate_truncation(peer: str, label: str, share: U64, bits: int, side: SlotEvaluator, *, bound: int) -> Flow[U64]:
    """Evaluator: its share of round(x / 2**bits), +-2, in the shape of ``share``, its share of x in Z_p.

    bound: as for :func:`hold_truncation`.

    Learns: its own new share; which ciphertexts failed.
    Leaks: as :func:`vfl.protocols.slots.evaluate_slots`.
    Model: semi-honest; whether a share is low is hidden from a malicious key holder as any operand is.
    Source: docs/protocols/slots.md#exact-truncation.
    """
    _check(bits, bound)
    both_low = yield from evaluate_slots(peer, label, (share <= _LOW).astype(np.uint64), side)
    part = PRIME_RING.mul(both_low, np.full_like(share, _rounded(PRIME, bits)))
    return PRIME_RING.add(_shifted(share, bits), part)
