"""The loops that numpy has no operation for, compiled by numba: bit-matrix transposition, peeling a sparse table.

They see public positions and the party's own values, and hold no key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "add_code_words",
    "add_up",
    "back_substitute",
    "evaluate",
    "find_among",
    "peel",
    "sort_random",
    "split_lines",
    "transpose",
]

F = TypeVar("F", bound=Callable[..., Any])
Words = NDArray[np.uint64]
Counts = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Places = NDArray[np.intp]

_8, _16, _24, _32, _40, _48, _56 = map(np.uint64, range(8, 64, 8))
_CROWDED = 256  # more keys in one of the smallest parts: not random
_NEWLINE, _ID_BYTES = 10, 15


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
    groups, words = rows.shape[1], columns.shape[1]
    for turn in range(-(-words // 8) * groups):
        # a cache line of every column at a time: 8 words
        group, first = turn % groups, turn // groups * 8
        for word in range(first, min(first + 8, words)):
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
    state = np.zeros((cells, 2), dtype=np.int32)  # of each cell: how many keys use it, and the XOR of them
    n = places.shape[0]
    for key in range(n):
        for j in range(3):
            cell = np.uint64(places[key, j])
            state[cell, 0] += 1
            state[cell, 1] ^= key
    taken = 0
    done = np.zeros(n, dtype=np.uint8)
    waiting = np.empty(cells, dtype=np.int32)
    for start in range(cells):
        top = 0
        if state[start, 0] == 1:
            waiting[0] = start
            top = 1
        while top:
            top -= 1
            alone = np.uint64(waiting[top])
            if state[alone, 0] != 1:
                continue
            last = state[alone, 1]
            order[taken] = last
            leaf[taken] = waiting[top]
            done[last] = 1
            taken += 1
            for j in range(3):
                other = np.uint64(places[last, j])
                state[other, 0] -= 1
                state[other, 1] ^= last
                if state[other, 0] == 1:
                    waiting[top] = places[last, j]
                    top += 1
    left = taken
    for key in range(n):
        if not done[key]:
            order[left] = key
            left += 1
    return taken


@_compiled
def back_substitute(places: Counts, order: Counts, leaf: Counts, taken: int, values: Words, table: Words) -> None:
    """Set each taken key's cell, last taken first, so that its three cells add up to its value, (n, w)."""
    for at in range(taken - 1, -1, -1):
        key, cell = np.uint64(order[at]), np.uint64(leaf[at])
        one, two, three = np.uint64(places[key, 0]), np.uint64(places[key, 1]), np.uint64(places[key, 2])
        for word in range(table.shape[1]):
            table[cell, word] = 0
            table[cell, word] = values[key, word] ^ table[one, word] ^ table[two, word] ^ table[three, word]


@_compiled
def evaluate(places: Counts, masks: Words, table: Words, sums: Words, found: Words) -> None:
    """XOR of three cells and of the dense cells that a mask names, for each key.

    masks: (n,), 64 bits each; sums: (8, 256, w), of the dense cells by byte of the mask; found: (n, w).
    Source: Arlazarov, Dinic, Kronrod and Faradzev, 1970 (sums by byte).
    """
    width, size, low = found.shape[1], places.shape[0], np.uint64(255)
    for start in range(0, size, 256):
        # short loops of their own, so that a processor waits for several cells of a large table at once
        for key in range(start, min(start + 256, size)):
            one, two, three = np.uint64(places[key, 0]), np.uint64(places[key, 1]), np.uint64(places[key, 2])
            for word in range(width):
                found[key, word] = table[one, word] ^ table[two, word] ^ table[three, word]
        for key in range(start, min(start + 256, size)):
            mask = masks[key]
            b0, b1, b2, b3 = mask & low, mask >> _8 & low, mask >> _16 & low, mask >> _24 & low
            b4, b5, b6, b7 = mask >> _32 & low, mask >> _40 & low, mask >> _48 & low, mask >> _56
            for word in range(width):
                found[key, word] ^= (
                    sums[0, b0, word] ^ sums[1, b1, word] ^ sums[2, b2, word] ^ sums[3, b3, word]
                    ^ sums[4, b4, word] ^ sums[5, b5, word] ^ sums[6, b6, word] ^ sums[7, b7, word]
                )  # fmt: skip


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


@_compiled
def sort_random(blocks: Words, order: Places) -> bool:
    """Fill ``order`` with what sorts blocks by their first word, which is random. False: it is not, or two are equal.

    Source: Knuth, The Art of Computer Programming 3, 1998, section 5.2.5 (distribution, then insertion).
    """
    size = blocks.shape[0]
    bits = 1
    while bits < 12 and size >> bits > 4096:
        bits += 1
    parts, shift, fine = 1 << bits, np.uint64(64 - bits), np.uint64(55 - bits)
    ends = np.zeros(parts + 1, dtype=np.int64)
    for at in range(size):
        ends[(blocks[at, 0] >> shift) + np.uint64(1)] += 1
    largest = ends.max()
    for part in range(parts):
        ends[part + 1] += ends[part]
    following = ends.copy()
    words, came = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int64)
    for at in range(size):
        word = blocks[at, 0]
        place = following[word >> shift]
        following[word >> shift] = place + 1
        words[place] = word
        came[place] = at
    sorted_words, starts = np.empty(largest, dtype=np.uint64), np.empty(513, dtype=np.int64)
    for part in range(parts):
        first, last = ends[part], ends[part + 1]
        starts[:] = 0
        for at in range(first, last):
            starts[((words[at] >> fine) & np.uint64(511)) + np.uint64(1)] += 1
        if starts.max() > _CROWDED:
            return False
        for bin_ in range(512):
            starts[bin_ + 1] += starts[bin_]
        for at in range(first, last):
            bin_of = (words[at] >> fine) & np.uint64(511)
            place = starts[bin_of]
            starts[bin_of] = place + 1
            sorted_words[place] = words[at]
            order[first + place] = came[at]
        for at in range(1, last - first):
            word, from_ = sorted_words[at], order[first + at]
            before = at - 1
            while before >= 0 and sorted_words[before] > word:
                sorted_words[before + 1] = sorted_words[before]
                order[first + before + 1] = order[first + before]
                before -= 1
            if before >= 0 and sorted_words[before] == word:
                return False
            sorted_words[before + 1] = word
            order[first + before + 1] = from_
    return True


@_compiled
def find_among(blocks: Words, wanted: Words, places: Places) -> bool:
    """Where each wanted block is among ``blocks``, both in ascending order. False: one is not among them."""
    at = 0
    for one in range(wanted.shape[0]):
        first, second = wanted[one, 0], wanted[one, 1]
        while at < blocks.shape[0] and (blocks[at, 0] < first or (blocks[at, 0] == first and blocks[at, 1] < second)):
            at += 1
        if at == blocks.shape[0] or blocks[at, 0] != first or blocks[at, 1] != second:
            return False
        places[one] = at
    return True


@_compiled
def split_lines(text: Bytes, rows: Bytes) -> int:
    """Lines of one to 15 bytes, each ended, in rows of 16: its bytes, zeros, its length.

    Returns 2 where all lines are of capital letters and digits, 1 where not all are, 0 where they do not fit ``rows``.
    """
    row, length, plain = 0, 0, 2
    for at in range(text.shape[0]):
        letter = text[at]
        if letter == _NEWLINE:
            if length == 0 or row == rows.shape[0]:
                return 0
            rows[row, _ID_BYTES] = length
            row += 1
            length = 0
        else:
            if length == _ID_BYTES or row == rows.shape[0]:
                return 0
            rows[row, length] = letter
            length += 1
            if not (65 <= letter <= 90 or 48 <= letter <= 57):
                plain = 1
    return plain if row == rows.shape[0] else 0
