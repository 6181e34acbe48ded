"""An oblivious key-value store: a table of which three cells and a few dense ones add up to each key's value.

The table is linear in its values, so it can be summed under a mask, and for random values it is uniform whatever the
keys are. Encoding fails with probability below 2**-40: cells are 1.3 a key, and 64 dense cells settle the few
keys that peeling leaves.

Source: Garimella, Pinkas, Rosulek, Trieu and Yanai, 2021 (ePrint 2021/883), section 4 (three hash functions);
Pinkas, Rosulek, Trieu and Yanai, EUROCRYPT 2020 (ePrint 2020/193) for its use with oblivious transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError
from psi.ot.fixed_key import Blocks
from psi.ot.kernels import back_substitute, evaluate, peel

__all__ = ["DENSE", "Keys", "TableFull", "cells_for", "encode", "read", "sparse_part"]

DENSE = 64
_LEAST = 384  # sparse cells of the smallest table
_MOST_LEFT = 2048  # keys that peeling may leave: more are never left at 1.3 cells a key

Places = NDArray[np.int32]


class TableFull(LocalProtocolError):
    """Keys cannot be entered in a table; happens to a random set with probability below 2**-40."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where keys fall in tables of one size. places: (n, 3); masks: (n,), which dense cells each takes."""

    places: Places
    masks: Blocks
    cells: int

    @classmethod
    def of(cls, first: Blocks, second: Blocks, cells: int) -> Keys:
        """From two hashes of each key, for tables of ``cells`` cells, the dense ones included."""
        third = np.uint64((cells - DENSE) // 3)
        low, high, half = np.uint64(0xFFFFFFFF), np.uint64(32), first[:, 0]
        parts = (half & low, half >> high, first[:, 1] & low)
        places = np.empty((len(first), 3), dtype=np.int32)
        for j, part in enumerate(parts):
            places[:, j] = ((part * third) >> high) + np.uint64(j) * third
        return cls(places, np.ascontiguousarray(second[:, 0]), cells)


def cells_for(keys: int) -> int:
    """Cells of a table for ``keys`` keys, a multiple of 64: 1.3 a key in three equal parts, and the dense ones."""
    third = max(-(-keys * 13 // 30), _LEAST // 3)
    return 3 * (-(-third // 64) * 64) + DENSE


def sparse_part(table: Blocks) -> Blocks:
    """A table without its dense cells."""
    return table[:-DENSE]


def read(keys: Keys, table: Blocks) -> Blocks:
    """What a table holds for each key: (n, w)."""
    found = np.empty((len(keys.places), table.shape[1]), dtype=np.uint64)
    evaluate(keys.places, keys.masks, table, _by_byte(table[-DENSE:]), found)
    return found


def encode(keys: Keys, values: Blocks, table: Blocks) -> None:
    """Change ``table``, filled beforehand, so that :func:`read` gives ``values``. Raises :class:`TableFull`.

    What no key decides stays as it was filled: with random bits where the table must not show which keys it holds.
    """
    n = len(values)
    order, leaf = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    taken = peel(keys.places, keys.cells - DENSE, order, leaf)
    if n - taken > _MOST_LEFT:
        raise TableFull(f"{n - taken} of {n} keys fit no table of {keys.cells} cells: run the alignment again")
    if taken < n:
        _settle(keys, order[taken:], values, table)
    if table[-DENSE:].any():
        dense = np.empty((n, table.shape[1]), dtype=np.uint64)
        evaluate(
            np.zeros((n, 3), dtype=np.int32), keys.masks, np.zeros_like(table[:1]), _by_byte(table[-DENSE:]), dense
        )
        values = values ^ dense
    back_substitute(keys.places, order, leaf, taken, values, table)


def _by_byte(dense: Blocks) -> Blocks:
    """Sums of dense cells for each byte of a mask: (8, 256, w)."""
    sums = np.zeros((8, 256, dense.shape[1]), dtype=np.uint64)
    for bit in range(8):
        sums[:, 1 << bit : 2 << bit] = sums[:, : 1 << bit] ^ dense[bit::8][:, None]
    return sums


def _settle(keys: Keys, left: NDArray[np.int32], values: Blocks, table: Blocks) -> None:
    """Solve for the keys that peeling left, in their sparse and the dense cells, by elimination over bits."""
    width = table.shape[1]
    cells = sorted({int(cell) for cell in keys.places[left].ravel()})
    columns = [*cells, *range(keys.cells - DENSE, keys.cells)]
    bit = {cell: number for number, cell in enumerate(cells)}
    rows: list[tuple[int, int]] = []  # (which unknowns, what they add up to), reduced; the pivot is the highest unknown
    pivots: list[int] = []
    for key in left:
        unknowns = int(keys.masks[key]) << len(cells)
        for place in keys.places[key]:
            unknowns ^= 1 << bit[int(place)]
        total = int.from_bytes(values[key].tobytes(), "little")
        for (other, theirs), pivot in zip(rows, pivots, strict=True):
            if unknowns >> pivot & 1:
                unknowns, total = unknowns ^ other, total ^ theirs
        if not unknowns:
            raise TableFull("two keys of this set need the same cells of a table: run the alignment again")
        pivots.append(unknowns.bit_length() - 1)
        rows.append((unknowns, total))
    held = [int.from_bytes(table[column].tobytes(), "little") for column in columns]
    for (unknowns, total), pivot in zip(reversed(rows), reversed(pivots), strict=True):
        rest = unknowns ^ (1 << pivot)
        while rest:
            lowest = rest & -rest
            total ^= held[lowest.bit_length() - 1]
            rest ^= lowest
        held[pivot] = total
        table[columns[pivot]] = np.frombuffer(total.to_bytes(8 * width, "little"), dtype="<u8")
