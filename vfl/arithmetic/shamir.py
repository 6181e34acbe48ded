"""Shamir's secret sharing of 32 bytes: any ``threshold`` shares give the secret, fewer say nothing.

Over the integers modulo the prime 2**256 + 297. Libraries at hand draw their own randomness, or share 16 bytes in
GF(2**128); here it comes in as a stream, so that a seed replays a run.

Source: Shamir, "How to share a secret", Communications of the ACM 22(11), 1979.
"""

from __future__ import annotations

from collections.abc import Mapping

from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError

__all__ = ["SHARE_BYTES", "joined", "shared"]

PRIME = 2**256 + 297
SHARE_BYTES = 33
_SECRET_BYTES = 32


def shared(secret: bytes, threshold: int, points: int, stream: SecretStream) -> list[bytes]:
    """Shares of ``secret`` at the points 1 to ``points``, of which ``threshold`` are needed."""
    if len(secret) != _SECRET_BYTES or not 1 <= threshold <= points < PRIME:
        raise ValueError("a secret of 32 bytes is shared among 1 to p - 1 points, with a threshold of 1 to all of them")
    line = [int.from_bytes(secret, "big"), *(_element(stream) for _ in range(threshold - 1))]
    return [_value(line, point).to_bytes(SHARE_BYTES, "big") for point in range(1, points + 1)]


def joined(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret from shares by point. Raises MalformedError where they are too few, or do not lie on one polynomial.

    Shares beyond the threshold are compared with those that were used, so that one that differs is found.
    """
    if len(shares) < threshold:
        raise MalformedError(f"{len(shares)} shares are there and {threshold} are needed")
    values = {point: _parsed(share) for point, share in shares.items()}
    used = dict(sorted(values.items())[:threshold])
    for point, value in values.items():
        if point not in used and _at(used, point) != value:
            raise MalformedError("the shares do not belong to one secret")
    secret = _at(used, 0)
    if secret >> (8 * _SECRET_BYTES):
        raise MalformedError("the shares give no secret of 32 bytes")
    return secret.to_bytes(_SECRET_BYTES, "big")


def _element(stream: SecretStream) -> int:
    """Uniform below the prime, by rejection."""
    while True:
        drawn = int.from_bytes(stream.take(SHARE_BYTES), "big") >> 7
        if drawn < PRIME:
            return drawn


def _value(line: list[int], point: int) -> int:
    total = 0
    for coefficient in reversed(line):
        total = (total * point + coefficient) % PRIME
    return total


def _parsed(share: bytes) -> int:
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise MalformedError("a share is out of range")
    return value


def _at(values: Mapping[int, int], place: int) -> int:
    """The polynomial through ``values`` at ``place``, by Lagrange."""
    total = 0
    for point, value in values.items():
        above = below = 1
        for other in values:
            if other != point:
                above = above * (place - other) % PRIME
                below = below * (point - other) % PRIME
        total = (total + value * above * pow(below, -1, PRIME)) % PRIME
    return total
