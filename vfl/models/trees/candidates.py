"""Candidate splits: what a party draws at random at home, without labels, and brings as anonymous bits.

Column and threshold of a candidate are random, its sides are swapped at random, and rows whose value is missing take a
side of their own, drawn for that candidate; where the drawn threshold is itself a missing value, missing is one side
and present the other. Each side holds at least the agreed number of the drawn rows, counted by the party itself; where
no draw in :data:`DRAWS` gives such a side, the bits are random and tell nothing.

The label party is shown exact counts of candidates. Of a column of few values every threshold is one of few counts, so
it sees which they are, and each further fit or run makes one more equation of known rows. So where data have a calendar
the rows whose value is the threshold itself are dealt to the two sides by a share that is drawn for that candidate: any
count between is as likely, as of a continuous column, where there is no other such row.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.models.trees.splits import NOWHERE

__all__ = [
    "DRAWS",
    "SMALLEST_SHARE",
    "Drawn",
    "candidate_stream",
    "draw_candidates",
    "drawn_candidates",
    "least_rows",
]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

DRAWS = 16
"""Times that a column and a threshold are drawn for one candidate."""

SMALLEST_SHARE = 0.05
"""Of the drawn rows, on each side of a candidate."""


def least_rows(drawn: int, smallest_leaf: int) -> int:
    """Rows that each side of a candidate holds, of ``drawn`` ones."""
    return min(max(smallest_leaf, math.ceil(SMALLEST_SHARE * drawn)), drawn // 2)


@dataclass(frozen=True)
class Drawn:
    """Candidates at their owner: bits (count, rows), and the column of each (count,), NOWHERE of random bits."""

    bits: Bits
    columns: I64


def candidate_stream(secret: SecretStream, step: int, level: int, rows: I64) -> SecretStream:
    """What a tree's candidates at a level are drawn from. rows: ids of those that the tree draws.

    Other rows have other candidates, in another run of the same seed too: alike, the difference of their counts would
    tell on which side of each of them the one row lies that is in one of the runs alone.
    """
    told = hashlib.sha256(rows.astype("<u8").tobytes()).hexdigest()
    return secret.child(f"{step}/{level}/{told}")


def draw_candidates(
    values: F64, drawn: I64, count: int, smallest_leaf: int, stream: SecretStream, *, deal: bool = False
) -> Bits:
    """The bits of :func:`drawn_candidates` alone."""
    return drawn_candidates(values, drawn, count, smallest_leaf, stream, deal=deal).bits


def drawn_candidates(
    values: F64, drawn: I64, count: int, smallest_leaf: int, stream: SecretStream, *, deal: bool = False
) -> Drawn:
    """``count`` candidates.

    values: float64 (rows, d) of one party, NaN where missing. drawn: positions among them of the rows that the tree
    draws, from which thresholds come. stream: secret, of this tree and level alone, so that a tree that is grown again
    after a crash has the same candidates. deal: the rows at the threshold to both sides, as where data have a calendar.
    """
    bits, columns = np.empty((count, len(values)), dtype=np.bool_), np.empty(count, dtype=np.int64)
    least = least_rows(len(drawn), smallest_leaf)
    for number in range(count):
        bits[number], columns[number] = _candidate(values, drawn, least, stream, deal=deal)
    return Drawn(bits, columns)


def _candidate(values: F64, drawn: I64, least: int, stream: SecretStream, *, deal: bool) -> tuple[Bits, int]:
    for _ in range(DRAWS):
        place = int(stream.below(values.shape[1], 1)[0])
        column = values[:, place]
        threshold = column[drawn[int(stream.below(len(drawn), 1)[0])]]
        swapped, side = (bool(bit) for bit in stream.bits(1, 2))
        missing = np.isnan(column)
        nowhere = bool(np.isnan(threshold))
        bits: Bits = missing if nowhere else np.where(missing, side, column > threshold)
        if deal:
            bits = _dealt(bits, missing if nowhere else column == threshold, stream)
        held = int(bits[drawn].sum())
        if least <= held <= len(drawn) - least:
            return bits ^ swapped, place
    random: Bits = stream.bits(1, len(values)).astype(np.bool_)
    return random, NOWHERE


def _dealt(bits: Bits, alike: Bits, stream: SecretStream) -> Bits:
    """The bits, anew for the rows that are ``alike`` in value: each is 1 with a probability that is drawn for all."""
    made, share = bits.copy(), stream.unit(1)
    made[alike] = stream.unit(int(alike.sum())) < share
    return made
