"""Row contents: what tells a row of a party's own data from another, and how many bits it holds.

Both are measured on the values as the query gave them, before anything is standardised: standardising moves a value
whenever its cross-section moves.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream

__all__ = ["RowContents", "column_bits", "imputed", "row_contents", "value_bits", "withheld_rows"]

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

FRACTION_BITS = 12
"""Fractional bits of a standardised value as it enters a protocol."""

_CELLS = 4
"""Bits of a standard deviation that the histogram of a continuous column resolves."""

_FEW = 64
"""Different values up to which a column is discrete."""


@dataclass(frozen=True)
class RowContents:
    """digests: uint8 (T, n, 16), equal where a row's raw values are; an absent row has one of its own."""

    digests: NDArray[np.uint8]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Rows (T * n,) numbered by content."""
        rows = np.ascontiguousarray(self.digests.reshape(-1, 16)).view("V16")[:, 0]
        found: NDArray[np.int64] = np.unique(rows, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return found

    def apart(self, rows: Flags) -> RowContents:
        """With a content of its own for each of ``rows``, bool (T * n,), like absent ones."""
        made = self.digests.reshape(-1, 16).copy()
        for row in np.flatnonzero(rows):
            made[row] = np.frombuffer(hashlib.blake2b(f"apart/{row}".encode(), digest_size=16).digest(), np.uint8)
        return RowContents(made.reshape(self.digests.shape))

    def keyed(self, key: bytes) -> bytes:
        """The digests under a secret key, as they are stored: 16 bytes a row."""
        flat = self.digests.reshape(-1, 16)
        return b"".join(hashlib.blake2b(row.tobytes(), digest_size=16, key=key).digest() for row in flat)


def row_contents(raw: F64, covered: NDArray[np.bool_]) -> RowContents:
    """Of raw values (T, n, d), NaN where missing; covered: bool (T, n)."""
    periods, entities, _ = raw.shape
    plain = np.where(np.isnan(raw), np.nan, raw + 0.0)
    digests = np.zeros((periods, entities, 16), dtype=np.uint8)
    for t in range(periods):
        for i in range(entities):
            told = plain[t, i].tobytes() if covered[t, i] else f"absent/{t}/{i}".encode()
            digests[t, i] = np.frombuffer(hashlib.blake2b(told, digest_size=16).digest(), dtype=np.uint8)
    return RowContents(digests)


def imputed(values: F64, covered: NDArray[np.bool_], stream: SecretStream) -> F64:
    """Model-ready values (T, n, d) whose absent rows are drawn, column by column, from their period's covered rows.

    Zeros would open as one and the same number and so name every row that the party does not cover. A draw lies
    between two neighbours of the cross-section, so that it is no other row's value either.
    """
    made = values.copy()
    for t, present in enumerate(covered):
        rows, absent = np.flatnonzero(present), np.flatnonzero(~present)
        if len(rows) and len(absent):
            for j in range(values.shape[2]):
                made[t, absent, j] = np.quantile(values[t, rows, j], stream.unit(len(absent)))
    return made


def withheld_rows(groups: NDArray[np.int64], covered: NDArray[np.bool_], told: F64, most: float, cost: float) -> Flags:
    """Rows (N,) that take the place of absent ones, since what they hold was shown often enough: bool (N,).

    groups: rows by content, (N,), in order of time; covered: bool (N,). told: bits told of each row's content before.
    most: bits that may be told of a content; cost: bits that the plan tells of a row. A content is shown as often as
    that allows, the earliest rows first.
    """
    order = np.argsort(groups, kind="stable")
    ends = groups[order]
    first = np.flatnonzero(np.r_[True, ends[1:] != ends[:-1]]) if len(ends) else np.zeros(0, dtype=np.int64)
    nth = np.empty(len(groups))
    nth[order] = np.arange(1, len(groups) + 1) - np.repeat(first, np.diff(np.r_[first, len(groups)]))
    beyond: Flags = covered & (told + nth * cost > most + 1e-9)
    return beyond


def column_bits(raw: F64) -> F64:
    """What a new row (T, n, d) tells in each column beside the entity's row before it, in bits, float64 (d,).

    The entropy of the column's values, at 12 fractional bits where they are continuous, times the share of an entity's
    changed rows in which this column changed, less what small steps leave known. So a column that hardly moves adds its
    bits once for each of its changes, and what opens of an entity over time stays below a share of what it held.
    """
    changed = (raw[1:] != raw[:-1]) & np.isfinite(raw[1:]) & np.isfinite(raw[:-1])
    rows = changed.any(axis=2)
    found = np.zeros(raw.shape[2])
    for j in range(raw.shape[2]):
        values = raw[..., j][np.isfinite(raw[..., j])]
        if len(values) < 2 or not values.std() > 0:
            continue
        bits, discrete = _entropy(values)
        moved = changed[..., j]
        if rows.any():
            bits *= float(moved.sum() / rows.sum())
            if not discrete and moved.any():
                step = (raw[1:, :, j] - raw[:-1, :, j])[moved]
                size = float(np.sqrt(np.mean(np.square(step)))) / (math.sqrt(2) * float(values.std()))
                bits += min(0.0, math.log2(max(size, 2.0**-FRACTION_BITS))) * float(moved.sum() / rows.sum())
        found[j] = max(0.0, bits)
    return found


def value_bits(raw: F64, indicators: Sequence[int] = ()) -> F64:
    """Entropy of one value of each column of raw values (T, n, d), in bits, float64 (d + len(indicators),).

    From values spread over the rows, so it is 12 at most. indicators: columns whose being missing is a column of its
    own, after the others. 0 for a column that never varies: it tells nothing.
    """
    gaps = np.isnan(raw[:, :, list(indicators)]).astype(np.float64)
    both = [*np.moveaxis(raw, 2, 0), *np.moveaxis(gaps, 2, 0)]
    found = np.zeros(len(both))
    for j, column in enumerate(both):
        values = column[np.isfinite(column)]
        _, counts = np.unique(values[:: -(-len(values) // 2**FRACTION_BITS) or 1], return_counts=True)
        if len(counts) > 1:
            found[j] = FRACTION_BITS if counts.max() == 1 else _plugged(counts)
    return found


def _entropy(values: F64) -> tuple[float, bool]:
    """Bits of one value, and whether the column is discrete."""
    _, counts = np.unique(values, return_counts=True)
    if len(counts) <= max(_FEW, len(values) // 20):
        return _plugged(counts), True
    standard = np.clip((values - values.mean()) / values.std(), -8, 8)
    _, counts = np.unique(np.floor(np.ldexp(standard, _CELLS)), return_counts=True)
    return _plugged(counts) + FRACTION_BITS - _CELLS, False


def _plugged(counts: NDArray[np.int64]) -> float:
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
