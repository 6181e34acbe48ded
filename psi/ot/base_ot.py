"""Base oblivious transfers over ristretto255: of two seeds at the sender, the receiver has the one it chose.

Source: Masny and Rindal, CCS 2019 (ePrint 2019/706), section 5: the receiver sends two points of which one is uniform
and the other fixed by it, so it can know a logarithm of one only, and the sender cannot tell which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from psi.flow import RemoteProtocolError
from psi.group import (
    InvalidPoint,
    Multiplier,
    Randomness,
    Scalar,
    add,
    check_points,
    hash_to_group,
    join_points,
    split_points,
    subtract,
)
from psi.ot.fixed_key import derived

__all__ = ["Choices", "Offer", "choose", "offer", "pairs"]


@dataclass(frozen=True, slots=True)
class Choices:
    """A receiver's side: its secret bits, the points that go to the sender, and what it needs to read the answer."""

    bits: Sequence[bool] = field(repr=False)
    points: bytes
    scalars: Sequence[Multiplier] = field(repr=False)
    tag: bytes

    def seeds(self, answer: bytes, peer: str) -> list[bytes]:
        """The chosen seed of each transfer. Raises :class:`RemoteProtocolError` naming the sender for a bad answer."""
        check_points([answer], peer)
        return [
            _seed(self.tag, number, bit, scalar([answer])[0])
            for number, (bit, scalar) in enumerate(zip(self.bits, self.scalars, strict=True))
        ]


@dataclass(frozen=True, slots=True)
class Offer:
    """A sender's side: its secret, and the point that goes to every receiver."""

    point: bytes
    scalar: Multiplier = field(repr=False)


def choose(bits: Sequence[bool], tag: bytes, randomness: Randomness) -> Choices:
    """The receiver's first message. ``tag`` names run, sender and receiver, and is used once."""
    points: list[bytes] = []
    scalars: list[Multiplier] = []
    for number, bit in enumerate(bits):
        other = hash_to_group(randomness.token_bytes(64), "uniform")
        scalar = Scalar.random(randomness)
        known = subtract(scalar.public(), _mixed(tag, number, bit, other))
        points += [other, known] if bit else [known, other]
        scalars.append(scalar.multiplier())
    return Choices(tuple(bits), join_points(points), scalars, tag)


def offer(randomness: Randomness) -> Offer:
    """The sender's message, one for all its receivers."""
    scalar = Scalar.random(randomness)
    return Offer(scalar.public(), scalar.multiplier())


def pairs(made: Offer, points: bytes, count: int, tag: bytes, peer: str) -> list[tuple[bytes, bytes]]:
    """Both seeds of each of ``count`` transfers, from a receiver's points; refuses bad ones and names ``peer``."""
    split = split_points(points, 2 * count, peer)
    check_points(split, peer)
    found = []
    try:
        for number in range(count):
            left, right = split[2 * number : 2 * number + 2]
            keys = [add(left, _mixed(tag, number, False, right)), add(right, _mixed(tag, number, True, left))]
            low, high = made.scalar(keys)
            found.append((_seed(tag, number, False, low), _seed(tag, number, True, high)))
    except InvalidPoint:
        raise RemoteProtocolError("sent points of a base transfer that cancel out", peer) from None
    return found


def _mixed(tag: bytes, number: int, bit: bool, other: bytes) -> bytes:
    return hash_to_group(derived(b"entente/psi/1/base-ot/mix", tag, number.to_bytes(4, "big"), bytes([bit]), other), "")


def _seed(tag: bytes, number: int, bit: bool, shared: bytes) -> bytes:
    return derived(b"entente/psi/1/base-ot/seed", tag, number.to_bytes(4, "big"), bytes([bit]), shared)
