"""Looks for values in recorded bytes: as floats, as fixed point and as packed residues, in either byte order.

A pattern is long enough that chance cannot make one: a lone float64, two neighbouring float32, four neighbouring
integers (small ones look like row ids and lengths), neighbours being those of a row-major or column-major
array. Neighbours that are equal or tiny are left out, since such bytes stand for many things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Needles", "find", "needles"]

F64 = NDArray[np.float64]
Bytes = NDArray[np.uint8]
_TINY = 16


@dataclass(frozen=True)
class Needles:
    """Patterns of one encoding of one set of values: uint8 (count, length >= 8)."""

    what: str
    patterns: Bytes


def needles(
    name: str, values: F64, *, scales: Iterable[int] = (), ring_bits: int = 0, most: int = 1500
) -> list[Needles]:
    """Every encoding of ``values`` (rows, columns): ``scales`` are fractional bits, ``ring_bits`` adds residues."""
    grid = np.atleast_2d(np.asarray(values, dtype=np.float64))
    found = []
    for order in "<>":
        found.append(_as(f"{name} float64 {order}", _neighbours(grid, 1), f"{order}f8"))
        found.append(_as(f"{name} float32 {order}", _neighbours(grid, 2), f"{order}f4"))
    for scale in scales:
        whole = np.rint(np.ldexp(np.where(np.isfinite(grid), grid, 0.0), scale))
        for bits in (16, 32, 64):
            fits = _neighbours(np.where(np.abs(whole) < 2.0 ** (bits - 1), whole, 0.0), 4)
            found += [_as(f"{name} int{bits} at {scale} bits {o}", fits, f"{o}i{bits // 8}") for o in "<>"]
        if ring_bits:
            found.append(_residues(f"{name} residue at {scale} bits", _neighbours(whole, 4), ring_bits))
    return [Needles(n.what, _thinned(n.patterns, most)) for n in found if len(n.patterns)]


def _neighbours(grid: F64, run: int) -> F64:
    """Runs of ``run`` neighbours, in row-major and in column-major order, that say something: (count, run)."""
    if grid.size < run:
        return np.zeros((0, run))
    window = np.lib.stride_tricks.sliding_window_view
    runs = np.concatenate([window(lines.reshape(-1), run) for lines in (grid, grid.T)])
    whole = np.abs(runs - np.rint(runs)) < 1e-12
    telling = np.isfinite(runs).all(axis=1) & ~(whole & (np.abs(runs) < _TINY)).any(axis=1)
    if run > 1:
        telling &= (np.ptp(runs, axis=1) > 0) & (np.diff(np.sort(runs, axis=1), axis=1) != 0).all(axis=1)
    kept: F64 = runs[telling]
    return kept


def _as(what: str, runs: F64, kind: str) -> Needles:
    if kind[1] == "f":
        typed = runs.astype(kind)
    else:
        typed = runs.astype(np.int64).astype(kind)
    return Needles(what, np.ascontiguousarray(typed).view(np.uint8).reshape(len(runs), runs.shape[1] * typed.itemsize))


def _residues(what: str, runs: F64, ring_bits: int) -> Needles:
    width = (ring_bits + 7) // 8
    elements = runs.astype(np.int64).astype(np.uint64) & np.uint64((1 << ring_bits) - 1)
    raw = np.ascontiguousarray(elements, dtype="<u8").view(np.uint8).reshape(len(runs), runs.shape[1], 8)
    return Needles(what, np.ascontiguousarray(raw[:, :, :width]).reshape(len(runs), runs.shape[1] * width))


def _thinned(patterns: Bytes, most: int) -> Bytes:
    """At most ``most`` of them, spread evenly."""
    if len(patterns) <= most:
        return patterns
    return patterns[np.linspace(0, len(patterns) - 1, most).astype(int)]


class _Index:
    """All patterns by their first eight bytes."""

    def __init__(self, wanted: list[Needles]) -> None:
        heads, owners = [], []
        for number, needle in enumerate(wanted):
            heads.append(np.ascontiguousarray(needle.patterns[:, :8]).view("<u8").reshape(-1))
            owners.append(np.stack([np.full(len(needle.patterns), number), np.arange(len(needle.patterns))], axis=1))
        self.wanted = wanted
        self.heads = np.concatenate(heads)
        self.owners = np.concatenate(owners)
        order = np.argsort(self.heads, kind="stable")
        self.heads, self.owners = self.heads[order], self.owners[order]
        self.first = np.zeros(1 << 24, dtype=bool)
        self.first[(self.heads & np.uint64(0xFFFFFF)).astype(np.int64)] = True

    def hits(self, hay: bytes) -> Iterator[str]:
        raw = np.frombuffer(hay, dtype=np.uint8)
        for start in range(min(8, max(0, len(raw) - 7))):
            count = (len(raw) - start) // 8
            windows = raw[start : start + 8 * count].view("<u8")
            likely = np.flatnonzero(self.first[(windows & np.uint64(0xFFFFFF)).astype(np.int64)])
            left = np.searchsorted(self.heads, windows[likely], side="left")
            right = np.searchsorted(self.heads, windows[likely], side="right")
            for place, low, high in zip(likely[right > left], left[right > left], right[right > left], strict=True):
                at = start + 8 * int(place)
                for owner, line in self.owners[low:high]:
                    pattern = self.wanted[owner].patterns[line].tobytes()
                    if hay[at : at + len(pattern)] == pattern:
                        yield self.wanted[owner].what


def find(wanted: list[Needles], bodies: Iterable[tuple[str, bytes]]) -> dict[str, set[str]]:
    """Which encodings occur, by the name of the body they occur in."""
    index = _Index(wanted)
    whole: dict[str, list[bytes]] = {}
    for name, body in bodies:
        whole.setdefault(name, []).append(body)
    hits = {name: set(index.hits(b"\x55\xaa\x55".join(parts))) for name, parts in whole.items()}
    return {name: found for name, found in hits.items() if found}
