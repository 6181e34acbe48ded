"""The ristretto255 group (RFC 9496): hash to group, blind by a secret scalar, validate what a peer sent.

Prime order and one encoding per element, so a point carries no bits beside the element it names: unlike
X25519 on hashed strings, where a point on the twist stays there and tells one bit of each identifier.
Elements are their 32-byte encodings. The arithmetic is libsodium's, through ``rbcl``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, Protocol

import rbcl

from psi.flow import RemoteProtocolError

__all__ = [
    "InvalidPoint",
    "Multiplier",
    "POINT_BYTES",
    "Randomness",
    "Scalar",
    "add",
    "check_points",
    "hash_block",
    "hash_to_group",
    "is_element",
    "join_points",
    "random_element",
    "split_points",
    "subtract",
]

POINT_BYTES = 32
_SCALAR_BYTES = 32
_IDENTITY = bytes(POINT_BYTES)
_HASH_DOMAIN = b"entente/psi/1/hash-to-group\x00"

# rbcl's own functions add 1 us to the 35 us of a multiplication: no lower binding pays
_multiply: Callable[[bytes, bytes], bytes] = rbcl.crypto_scalarmult_ristretto255
_is_valid: Callable[[bytes], bool] = rbcl.crypto_core_ristretto255_is_valid_point
_from_hash: Callable[[bytes], bytes] = rbcl.crypto_core_ristretto255_from_hash


class InvalidPoint(ValueError):
    """Bytes that are not the canonical encoding of an element other than the identity."""


class Randomness(Protocol):
    """A cryptographic generator. The module ``secrets`` is one."""

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        """A uniform integer in [0, bound)."""
        ...

    def token_bytes(self, nbytes: int, /) -> bytes:
        """Uniform bytes."""
        ...


class Scalar:
    """A secret non-zero scalar mod the group order. It refuses printing, comparison, hashing, copying and pickling."""

    __slots__ = ("_encoded",)

    def __init__(self, encoded: bytes) -> None:
        if len(encoded) != _SCALAR_BYTES or not any(encoded):
            raise ValueError("a scalar is 32 bytes and not zero")
        self._encoded = encoded

    @classmethod
    def random(cls, randomness: Randomness) -> Scalar:
        """A uniform non-zero scalar."""
        return cls.reduced(randomness.token_bytes(64))

    @classmethod
    def reduced(cls, uniform: bytes) -> Scalar:
        """The scalar of 64 uniform secret bytes, reduced mod the order (bias below 2**-259)."""
        return cls(rbcl.crypto_core_ristretto255_scalar_reduce(uniform))

    def inverse(self) -> Scalar:
        """The scalar that undoes this one."""
        return Scalar(rbcl.crypto_core_ristretto255_scalar_invert(self._encoded))

    def times(self, other: Scalar) -> Scalar:
        """The product mod the group order."""
        return Scalar(rbcl.crypto_core_ristretto255_scalar_mul(self._encoded, other._encoded))

    def public(self) -> bytes:
        """This multiple of the group's generator (RFC 9496): a third of the work of multiplying another point."""
        return bytes(rbcl.crypto_scalarmult_ristretto255_base(self._encoded))

    def multiplier(self) -> Multiplier:
        """Multiplication by this scalar, as a function object for a pool on the party's own machines."""
        return Multiplier(self._encoded)

    def __repr__(self) -> str:
        return "<secret scalar>"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a secret scalar is not printed, compared, hashed, copied or pickled")

    __str__ = __format__ = __bool__ = __bytes__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __getstate__ = _refuse


class Multiplier:
    """Multiplies points by a scalar in the party's own worker processes.

    It can be pickled, with the scalar in the clear: for a pool on the party's own machines, and nothing else.
    """

    __slots__ = ("_encoded",)

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    def __call__(self, points: Sequence[bytes]) -> list[bytes]:
        """Multiply each point, keeping the order. Raises :class:`InvalidPoint`."""
        try:
            return [_multiply(self._encoded, point) for point in points]
        except RuntimeError:
            # libsodium decodes canonically and refuses an identity result, which for a non-zero scalar and
            # a group of prime order means an identity operand
            raise InvalidPoint("a point is not a canonical encoding, or is the identity") from None

    def __repr__(self) -> str:
        return "<multiplier by a secret scalar>"


def hash_to_group(run: bytes, text: str) -> bytes:
    """The element of an identifier in one run: SHA-512 under a tag naming product, version and run, then the
    one-way map of RFC 9496 section 4.3.4.

    Source: RFC 9496 (ristretto255), its element derivation; domain separation as in RFC 9380 section 3.1.
    """
    tag = _HASH_DOMAIN + len(run).to_bytes(4, "big") + run
    return _from_hash(hashlib.sha512(tag + text.encode()).digest())


def random_element(randomness: Randomness) -> bytes:
    """A uniform element of which nobody knows a discrete logarithm."""
    return _from_hash(randomness.token_bytes(64))


def hash_block(run: bytes, texts: Sequence[str]) -> list[bytes]:
    """:func:`hash_to_group` of each text, in order."""
    return [hash_to_group(run, text) for text in texts]


def add(one: bytes, other: bytes) -> bytes:
    """The group operation on two elements' encodings. Raises :class:`InvalidPoint`."""
    try:
        return bytes(rbcl.crypto_core_ristretto255_add(one, other))
    except RuntimeError:
        raise InvalidPoint("a point is not a canonical encoding") from None


def subtract(one: bytes, other: bytes) -> bytes:
    """``one`` and the inverse of ``other``. Raises :class:`InvalidPoint`."""
    try:
        return bytes(rbcl.crypto_core_ristretto255_sub(one, other))
    except RuntimeError:
        raise InvalidPoint("a point is not a canonical encoding") from None


def is_element(point: bytes) -> bool:
    """True for the canonical encoding of an element other than the identity (which libsodium alone accepts)."""
    return len(point) == POINT_BYTES and point != _IDENTITY and bool(_is_valid(point))


def join_points(points: Iterable[bytes]) -> bytes:
    """Points as one byte string, 32 bytes each."""
    return b"".join(points)


def split_points(packed: bytes, count: int, peer: str) -> list[bytes]:
    """``count`` distinct 32-byte encodings out of a peer's bytes; group membership is not checked here.

    Raises :class:`RemoteProtocolError` naming ``peer``.
    """
    if len(packed) != count * POINT_BYTES:
        raise RemoteProtocolError(
            f"sent {len(packed)} bytes of points where {count} points of {POINT_BYTES} bytes were announced", peer
        )
    points = [packed[at : at + POINT_BYTES] for at in range(0, len(packed), POINT_BYTES)]
    if len(set(points)) != count:
        raise RemoteProtocolError("sent the same point twice", peer)
    return points


def check_points(points: Iterable[bytes], peer: str) -> None:
    """Raise :class:`RemoteProtocolError` naming ``peer`` unless every point is an element and not the identity."""
    if not all(map(is_element, points)):
        raise RemoteProtocolError("sent a point that is not a canonical encoding, or is the identity", peer)
