"""The loops that numpy has no operation for, compiled by numba: bit-matrix transposition, and peeling a sparse table.

They see public positions and the party's own values, and hold no key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["add_code_words", "add_up", "back_substitute", "evaluate", "peel", "transpose"]

F = TypeVar("F", bound=Callable[..., Any])
Words = NDArray[np.uint64]
Counts = NDArray[np.int32]


def _compiled(function: F) -> F:
    """``function`` as machine code, kept beside the source where that can be written."""
    try:
        made: Any = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # nowhere to keep it: compiled anew in every process
        made = numba.njit(nogil=True)(function)
    return cast(F, made)


@_compiled
def transpose(columns: Words, rows: Words) -> None:
    """Columns of bits, 64 a word and the lowest first, to rows: (64 k, n / 64) words to (n, k) words.

    Source: Warren, Hacker's Delight, 2002, section 7.3.
    """
    block = np.empty(64, dtype=np.uint64)
    for group in range(rows.shape[1]):
        for word in range(columns.shape[1]):
            for i in range(64):
                block[i] = columns[64 * group + i, word]
            width = 32
            mask = np.uint64(0x00000000FFFFFFFF)
            while width:
                shift = np.uint64(width)
                for start in range(0, 64, 2 * width):
                    for i in range(start, start + width):
                        swapped = ((block[i] >> shift) ^ block[i + width]) & mask
                        block[i] ^= swapped << shift
                        block[i + width] ^= swapped
                width >>= 1
                mask ^= mask << np.uint64(max(width, 1))
            for i in range(64):
                rows[64 * word + i, group] = block[i]


@_compiled
def peel(places: Counts, cells: int, order: Counts, leaf: Counts) -> int:
    """Take away keys that alone use a cell, until none does. Returns how many were taken.

    places: (n, 3) cells of each key. order, leaf: (n,) filled with the keys taken, and the cell that each was alone in;
    order's rest holds the keys that are left.
    Source: Molloy, Random Structures & Algorithms 27(1), 2005 (cores of hypergraphs).
    """
    degree = np.zeros(cells, dtype=np.int32)
    held = np.zeros(cells, dtype=np.int32)
    n = places.shape[0]
    for key in range(n):
        for j in range(3):
            degree[places[key, j]] += 1
            held[places[key, j]] ^= key
    taken = 0
    done = np.zeros(n, dtype=np.uint8)
    waiting = np.empty(cells, dtype=np.int32)
    for start in range(cells):
        top = 0
        if degree[start] == 1:
            waiting[0] = start
            top = 1
        while top:
            top -= 1
            cell = waiting[top]
            if degree[cell] != 1:
                continue
            key = held[cell]
            order[taken] = key
            leaf[taken] = cell
            done[key] = 1
            taken += 1
            for j in range(3):
                other = places[key, j]
                degree[other] -= 1
                held[other] ^= key
                if degree[other] == 1:
                    waiting[top] = other
                    top += 1
    left = taken
    for key in range(n):
        if not done[key]:
            order[left] = key
            left += 1
    return taken


@_compiled
def back_substitute(
    places: Counts, order: Counts, leaf: Counts, taken: int, values: Words, dense: Words, table: Words
) -> None:
    """Set each taken key's cell, last taken first, so that its three cells and ``dense`` add up to its value.

    values: (n, w); dense: (n, w), what the dense cells add for each key, or (0, w) where that is nothing.
    """
    width = table.shape[1]
    for at in range(taken - 1, -1, -1):
        key = order[at]
        cell = leaf[at]
        for word in range(width):
            table[cell, word] = 0
        for word in range(width):
            total = values[key, word]
            if dense.shape[0]:
                total ^= dense[key, word]
            for j in range(3):
                total ^= table[places[key, j], word]
            table[cell, word] = total


@_compiled
def evaluate(places: Counts, masks: Words, table: Words, sums: Words, found: Words) -> None:
    """XOR of three cells and of the dense cells that a mask names, for each key.

    masks: (n,), 64 bits each; sums: (8, 256, w), of the dense cells by byte of the mask; found: (n, w).
    Source: Arlazarov, Dinic, Kronrod and Faradzev, 1970 (sums by byte).
    """
    width = found.shape[1]
    for key in range(places.shape[0]):
        for word in range(width):
            found[key, word] = table[places[key, 0], word] ^ table[places[key, 1], word] ^ table[places[key, 2], word]
        mask = masks[key]
        for byte in range(8):
            row = (mask >> np.uint64(8 * byte)) & np.uint64(255)
            for word in range(width):
                found[key, word] ^= sums[byte, row, word]


@_compiled
def add_code_words(messages: Words, sums: Words, kept: Words, rows: Words) -> None:
    """XOR each message's code word, where ``kept`` has ones, into its row.

    messages: (n, 2); sums: (10, 256, w), code words by byte of the message; kept: (w,); rows: (n, w).
    """
    for at in range(messages.shape[0]):
        for byte in range(10):
            part = (messages[at, byte // 8] >> np.uint64(8 * (byte % 8))) & np.uint64(255)
            for word in range(rows.shape[1]):
                rows[at, word] ^= sums[byte, part, word] & kept[word]


@_compiled
def add_up(rows: Words, picks: Words, totals: Words) -> None:
    """64 sums of rows, each of those rows whose pick has the sum's bit.

    rows: (n, w); picks: (n,); totals: (64, w), added to.
    Source: Arlazarov, Dinic, Kronrod and Faradzev, 1970 (sums by byte).
    """
    width = rows.shape[1]
    parts = np.zeros((8, 256, width), dtype=np.uint64)
    for at in range(rows.shape[0]):
        for byte in range(8):
            part = (picks[at] >> np.uint64(8 * byte)) & np.uint64(255)
            for word in range(width):
                parts[byte, part, word] ^= rows[at, word]
    for byte in range(8):
        for part in range(256):
            for bit in range(8):
                if part >> bit & 1:
                    for word in range(width):
                        totals[8 * byte + bit, word] ^= parts[byte, part, word]
