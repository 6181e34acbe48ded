"""Identifiers as 128-bit blocks, many at once, and a commitment to a set of them.

An identifier of up to 15 bytes is its own block, with its length behind it; a longer one is 15 bytes of SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi.identifiers import check_canonical
from psi.merkle import SALT_BYTES, merkle_root
from psi.ot.fixed_key import BLOCK_BYTES, Blocks, FixedKey, as_blocks, in_order
from psi.padding import padded

__all__ = ["BlockSet", "canonical_blocks", "id_blocks"]

_CHUNK = 2**16
_SHORT = BLOCK_BYTES - 1
_LONG_DOMAIN = b"entente/psi/1/long-id\x00"
_PLAIN_LINES = 2  # what split_lines returns where all are of capital letters and digits
_LEAF_BLOCKS = 256


def canonical_blocks(ids: Sequence[str]) -> Blocks:
    """:func:`id_blocks` of ids that are in normal form; raises :class:`IdentifierError` where one is not.

    Whether all are distinct is for :meth:`BlockSet.of` to see, which sorts them.
    """
    return _blocks(ids, checked=True)


def _plain(name: object) -> bool:
    """Whether an id is of capital letters and digits alone, and so in normal form as it is."""
    return isinstance(name, str) and name.isascii() and name.isalnum() and name.upper() == name


def _lines(ids: Sequence[str]) -> bytes:
    """The ids as lines; nothing where they are not text that can be written."""
    try:
        return ("\n".join(ids) + "\n").encode()
    except (TypeError, UnicodeEncodeError):
        return b""


def id_blocks(ids: Sequence[str]) -> Blocks:
    """One block an identifier: (n, 2) words."""
    return _blocks(ids, checked=False)


def _blocks(ids: Sequence[str], *, checked: bool) -> Blocks:
    """checked: refuse ids that are not in normal form."""
    from psi.ot.kernels import split_lines  # as in fixed_key.py

    out = np.zeros((len(ids), BLOCK_BYTES), dtype=np.uint8)
    for start in range(0, len(ids), _CHUNK):
        part, rows = ids[start : start + _CHUNK], out[start : start + _CHUNK]
        found = split_lines(np.frombuffer(_lines(part), dtype=np.uint8), rows)
        if found == _PLAIN_LINES or (found and not checked):
            continue
        if checked:
            loose = [name for name in part if not _plain(name)]
            padded(check_canonical(loose), 0, b"")  # refuses ids that look like padding
        if found:
            continue
        rows[:] = 0
        encoded: list[Any] = list(part) if "".join(part).isascii() else [name.encode() for name in part]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        short = lengths <= _SHORT
        if short.all():
            rows[:, :_SHORT] = _padded(encoded)
            rows[:, _SHORT] = lengths
            continue
        if short.any():
            rows[short, :_SHORT] = _padded(list(compress(encoded, short)))
            rows[short, _SHORT] = lengths[short]
        for at in np.flatnonzero(~short):
            digest = hashlib.sha256(_LONG_DOMAIN + part[int(at)].encode()).digest()
            rows[at] = np.frombuffer(digest[:_SHORT] + b"\xff", dtype=np.uint8)
    return out.view(np.uint64)


def _same_as_next(blocks: Blocks) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (blocks[1:, 0] == blocks[:-1, 0]) & (blocks[1:, 1] == blocks[:-1, 1])
    return same


def _padded(encoded: list[Any]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.array(encoded, dtype=f"S{_SHORT}").view(np.uint8).reshape(len(encoded), _SHORT)


@dataclass(frozen=True, slots=True)
class BlockSet:
    """A set as its salt and its blocks, in an order that the salt draws. Both stay with the owner.

    The root is a Merkle tree's over salted runs of 256 blocks: it says nothing of the set to whoever lacks the salt.
    """

    salt: bytes = field(repr=False)
    blocks: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES or len(self.blocks) % BLOCK_BYTES:
            raise ValueError("a set of blocks is a 32-byte salt and 16 bytes an identifier")

    @classmethod
    def of(cls, salt: bytes, blocks: Blocks) -> BlockSet | None:
        """Sort a set under a salt. None: two of its identifiers are the same."""
        ordered = np.take(blocks, in_order(FixedKey(salt).hashed(blocks)), axis=0)
        if _same_as_next(ordered).any():
            return None
        return cls(salt, ordered.tobytes())

    @property
    def root(self) -> bytes:
        """The Merkle root: what is committed to."""
        step = _LEAF_BLOCKS * BLOCK_BYTES
        runs = (self.blocks[at : at + step] for at in range(0, len(self.blocks), step))
        return merkle_root([hashlib.sha256(b"\x00" + self.salt + run).digest() for run in runs])

    def __len__(self) -> int:
        return len(self.blocks) // BLOCK_BYTES

    def changed(self, ids: Sequence[str]) -> int:
        """How far another set is from this one: ids added or ids removed, whichever are more."""
        both = np.concatenate([as_blocks(self.blocks), id_blocks(ids)])
        both = np.take(both, np.argsort(FixedKey(self.salt).hashed(both)[:, 0]), axis=0)
        shared = int(_same_as_next(both).sum())
        return max(len(self), len(ids)) - shared
