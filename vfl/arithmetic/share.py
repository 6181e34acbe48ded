"""Share: one side's additive part of a matrix that nobody holds whole, with operators for what costs no message.

Values are shared when the parts that several sides hold sum to them in a ring. What is linear, every side does to its
own part alone: that is written with operators here. Whatever costs a message (a product of two sides' secrets, an
opening) is a flow, so the cost of a protocol shows in its source. The form is CrypTen's ``ArithmeticSharedTensor``
(Knott et al., NeurIPS 2021) less everything that communicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Share", "ShareRing", "opened"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


class ShareRing(Protocol):
    """What a ring offers to shares in it: elements are uint64 arrays below ``modulus``; equal rings compare equal."""

    @property
    def modulus(self) -> int: ...

    def add(self, a: U64, b: U64) -> U64: ...

    def sub(self, a: U64, b: U64) -> U64: ...

    def neg(self, a: U64) -> U64: ...

    def scale(self, a: U64, constant: int) -> U64: ...

    def matmul(self, left: I64, right: U64) -> U64: ...

    def decode(self, elements: U64, fractional_bits: int) -> F64: ...

    def pack(self, elements: U64) -> bytes: ...

    def unpack(self, data: bytes, count: int) -> U64: ...


R = TypeVar("R", bound=ShareRing)


def _refusal(what: str, remedy: str) -> TypeError:
    return TypeError(f"a share {what}: {remedy}")


class Share(Generic[R]):
    """One side's part, of any shape, in ``ring``. It never changes.

    ``+``, ``-`` and unary ``-`` take shares of one ring, whose shapes broadcast as numpy's; ``*`` a public integer;
    ``X @ share`` small integers, public or this side's own; indexing, ``T`` and ``reshape`` are numpy's.

    A share does not say what it is a share of, so it refuses truth, comparison, hashing, printing, iteration,
    conversion to an array, and pickling. What is public and joins a sum is put in by one side alone, as a share of its
    own: that is why ``share + array`` is refused.
    """

    __slots__ = ("_elements", "_ring")
    __array_ufunc__ = None  # so that array @ share comes here
    __iter__ = None

    def __init__(self, ring: R, elements: U64) -> None:
        """elements: uint64, below the ring's modulus. Raises ValueError for anything else."""
        if elements.dtype != np.uint64:
            raise ValueError("a share is made of uint64 elements: take them from the ring's wrap, encode or uniform")
        if elements.size and int(elements.max()) >= ring.modulus:
            raise ValueError(
                "an element of a share is not below the ring's modulus: take it from the ring's own methods"
            )
        self._ring = ring
        self._elements = elements.view()
        self._elements.flags.writeable = False

    @classmethod
    def zeros(cls, ring: R, shape: tuple[int, ...]) -> Share[R]:
        """Nothing, in ``shape``: what a sum begins with, and the part of whoever adds nothing."""
        return cls(ring, np.zeros(shape, dtype=np.uint64))

    @classmethod
    def joined(cls, shares: Sequence[Share[R]]) -> Share[R]:
        """One or more shares of a ring, one below the other."""
        ring = shares[0].ring
        return cls(ring, np.concatenate([share._of(ring) for share in shares]))

    @classmethod
    def unpacked(cls, ring: R, data: bytes, shape: tuple[int, ...]) -> Share[R]:
        """The inverse of :meth:`packed`. Raises MalformedError unless it is exactly that many elements of the ring."""
        return cls(ring, ring.unpack(data, int(np.prod(shape))).reshape(shape))

    @property
    def ring(self) -> R:
        return self._ring

    @property
    def shape(self) -> tuple[int, ...]:
        return self._elements.shape

    @property
    def size(self) -> int:
        return self._elements.size

    @property
    def elements(self) -> U64:
        """The elements themselves, read-only: for the disk, and for a protocol that works on both sides' parts."""
        return self._elements

    def packed(self) -> bytes:
        """The elements as they travel, row-major."""
        return self._ring.pack(self._elements)

    def _of(self, ring: ShareRing) -> U64:
        if ring != self._ring:
            raise ValueError(f"shares of two rings do not mix: one is of {ring}, one of {self._ring}")
        return self._elements

    def __add__(self, other: Share[R]) -> Share[R]:
        if not isinstance(other, Share):
            return NotImplemented
        return Share(self._ring, self._ring.add(self._elements, other._of(self._ring)))

    def __sub__(self, other: Share[R]) -> Share[R]:
        if not isinstance(other, Share):
            return NotImplemented
        return Share(self._ring, self._ring.sub(self._elements, other._of(self._ring)))

    def __neg__(self) -> Share[R]:
        return Share(self._ring, self._ring.neg(self._elements))

    def __mul__(self, constant: int) -> Share[R]:
        """Times a public integer."""
        if not isinstance(constant, int):
            return NotImplemented
        return Share(self._ring, self._ring.scale(self._elements, constant))

    __rmul__ = __mul__

    def __rmatmul__(self, left: I64) -> Share[R]:
        """``left @ share``: small integers (n, d) that this side holds, or that are public, times a share (d, h)."""
        if not isinstance(left, np.ndarray):
            return NotImplemented
        if left.dtype != np.int64:
            raise TypeError(f"a share is multiplied by integers, not by {left.dtype}: encode them first")
        return Share(self._ring, self._ring.matmul(left, self._elements))

    def __getitem__(self, index: Any) -> Share[R]:
        return Share(self._ring, np.asarray(self._elements[index]))

    @property
    def T(self) -> Share[R]:  # noqa: N802 - as numpy calls it
        return Share(self._ring, self._elements.T)

    def reshape(self, *shape: int) -> Share[R]:
        return Share(self._ring, self._elements.reshape(shape))

    def __repr__(self) -> str:
        return f"Share({self._ring}, shape {self.shape}, ...)"

    def __bool__(self) -> bool:
        raise _refusal("is neither true nor false", "open what it is a share of, or ask for its shape")

    def __eq__(self, other: object) -> NoReturn:
        raise _refusal("is not compared", "equal values have different shares; open them first")

    def __ne__(self, other: object) -> NoReturn:
        raise _refusal("is not compared", "equal values have different shares; open them first")

    def __hash__(self) -> int:
        raise _refusal("is not hashed", "key by what it is a share of")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise _refusal("is not pickled", "pack it for the wire, or keep its .elements in an encrypted record")

    if not TYPE_CHECKING:  # a type checker must not take it for something numpy accepts

        def __array__(self, *_, **__):
            raise _refusal("is no array", "take .elements where its elements are meant")


def opened(shares: Iterable[Share[R]], fractional_bits: int) -> F64:
    """What these shares sum to: every side's part must be among them, or the result is uniform noise.

    float64 in the shares' shape, from fixed point with ``fractional_bits``.
    """
    first, *rest = shares
    total = first
    for share in rest:
        total = total + share
    return total.ring.decode(total.elements, fractional_bits)
