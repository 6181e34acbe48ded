"""Sets in buckets of about 65,536 ids, so that a set of any size passes through a table that fits a cache.

Tables are as large as the fullest bucket that is to be expected, so how many ids are in one stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError
from psi.ot.fixed_key import Blocks, FixedKey, derived
from psi.ot.table import Keys, cells_for

__all__ = ["Bucket", "Buckets", "bucket_count", "cells_of", "fullest"]

_FULL = 2**16
_FAILURE = 2.0**-44


def bucket_count(largest: int) -> int:
    """How many buckets the largest set of a session is cut into: a power of two."""
    return 1 << max(0, math.ceil(math.log2(largest / _FULL))) if largest else 1


def fullest(size: int, count: int) -> int:
    """What no bucket of a set of ``size`` exceeds but with probability below 2**-44.

    Source: Chernoff, Annals of Mathematical Statistics 23(4), 1952, for each of the buckets.
    """
    if count == 1:
        return size
    mean = size / count
    most = math.ceil(mean)
    while count * math.exp(most - mean + most * math.log(mean / most)) > _FAILURE:
        most += max(1, int(math.sqrt(mean)) // 8)
    return min(most, size)


def cells_of(size: int, count: int) -> int:
    """Cells of the table for one bucket of a set of ``size`` in ``count`` buckets."""
    return cells_for(fullest(size, count))


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a set: where its ids are in the order of buckets, and hashes of them."""

    number: int
    span: slice
    first: Blocks
    second: Blocks
    third: Blocks

    def keys(self, cells: int) -> Keys:
        """Where these ids fall in a table of ``cells`` cells."""
        return Keys.of(self.first, self.second, cells)


class Buckets:
    """A set cut by a hash that everybody can compute once all have committed to their sets.

    ``blocks`` are the set's in the order of buckets; ``order`` gives for each place of theirs the one in the set.
    """

    def __init__(self, blocks: Blocks, tag: bytes, count: int) -> None:
        self.count = count
        self.order: NDArray[np.intp]
        self._hashes = [FixedKey(derived(b"entente/psi/1/place", tag, bytes([n]))) for n in range(3)]
        bits = count.bit_length() - 1
        number = np.zeros(len(blocks), dtype=np.uint16)
        step = 2**18
        for start in range(0, len(blocks) if bits else 0, step):
            turned = self._hashes[1].hashed(blocks[start : start + step])[:, 1]
            number[start : start + step] = turned >> np.uint64(64 - bits)
        self.order = np.argsort(number, kind="stable")
        self.blocks = np.take(blocks, self.order, axis=0)
        self._ends = np.cumsum(np.bincount(number, minlength=count))

    def check_fits(self, size: int) -> None:
        """Raise :class:`LocalProtocolError` when a bucket holds more than a table takes; hardly ever happens."""
        most = int(np.diff(self._ends, prepend=0).max())
        if most > fullest(size, self.count):
            raise LocalProtocolError(f"{most} ids of this party fall in one bucket: run the alignment again")

    def __iter__(self) -> Iterator[Bucket]:
        for number in range(self.count):
            yield self.bucket(number)

    def through(self, bucket: Bucket, size: int) -> int:
        """What to say is done after a bucket: how many ids that are is in nobody's progress, as in no message."""
        return (bucket.number + 1) * size // self.count

    def bucket(self, number: int) -> Bucket:
        """A bucket by its number."""
        start = int(self._ends[number - 1]) if number else 0
        span = slice(start, int(self._ends[number]))
        blocks = self.blocks[span]
        first, second, third = (one.hashed(blocks) for one in self._hashes)
        return Bucket(number, span, first, second, third)
