"""Equality of two hidden values: both ends learn whether theirs agree, at one guess each, and nothing else of them.

Each end hashes its value to a group and multiplies by a secret scalar of its own; each multiplies the other's point
again. Where the values agree, so do the two results, and each end shows that it has it with a hash that only its own
role may show. Whoever does not hold the other's value cannot make that result (computational Diffie-Hellman), cannot
try a second value against what it received (its point stands for one), and cannot claim an equality that is not there.
A hash of the value instead of this would be tried value by value; the value itself would say all of it.
Source: exponentiation with commuting secrets, Huberman, Franklin and Hogg, "Enhancing privacy and trust in electronic
communities", ACM EC 1999; ristretto255 (RFC 9496); docs/protocols/slots.md#check-slots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psi.group import POINT_BYTES, InvalidPoint, Scalar, hash_to_group
from vfl.arithmetic.received import MalformedError

__all__ = ["POINT_BYTES", "PROOF_BYTES", "Compared", "commons", "proof"]

PROOF_BYTES = 32
_DOMAIN = b"entente/vfl/equality/1"


@dataclass(frozen=True)
class Compared:
    """One end of one comparison. ``point`` is what it sends."""

    point: bytes
    _secret: Scalar

    @classmethod
    def of(cls, value: str, draw: Callable[[int], bytes]) -> Compared:
        """For this value, which names what is compared. draw: secret uniform bytes, new for every comparison."""
        secret = Scalar.reduced(draw(64))
        return cls(secret.multiplier()([hash_to_group(_DOMAIN, value)])[0], secret)

    def common(self, theirs: bytes) -> bytes:
        """What both ends have alike where their values agree. Raises MalformedError for no point of the group."""
        if len(theirs) != POINT_BYTES:
            raise MalformedError(f"a point has {POINT_BYTES} bytes, not {len(theirs)}")
        try:
            return self._secret.multiplier()([theirs])[0]
        except InvalidPoint as error:
            raise MalformedError(str(error)) from None


def commons(mine: Sequence[Compared], points: bytes) -> list[bytes]:
    """:meth:`Compared.common` of each comparison, from the other end's points in order. Raises MalformedError."""
    if len(points) != POINT_BYTES * len(mine):
        raise MalformedError(f"{len(mine)} comparisons take {POINT_BYTES * len(mine)} bytes of points")
    parts = [points[start : start + POINT_BYTES] for start in range(0, len(points), POINT_BYTES)]
    return [own.common(point) for own, point in zip(mine, parts, strict=True)]


def proof(common: bytes, role: str) -> bytes:
    """Shows that ``role`` has ``common``, and says nothing of it to whoever has not."""
    return hashlib.sha256(_DOMAIN + b"\x00" + role.encode() + b"\x00" + common).digest()
