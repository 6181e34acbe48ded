"""Commitment to a set: the Merkle root of its salted, sorted leaves.

The salt makes a root say nothing about the set, and two roots of one set unrelated; the sort makes
leaf positions say nothing. Whoever is later given the salt and the ids recomputes the root.

Source: tree and domain bytes as in RFC 6962 section 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["HASH_BYTES", "SALT_BYTES", "SaltedSet", "merkle_root"]

HASH_BYTES = 32
SALT_BYTES = 32


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes in the order given (32 bytes each); SHA-256 of nothing for no leaf."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        # an odd node rises unchanged, which gives the tree RFC 6962 splits at the largest power of two
        level = pairs + level[len(level) & ~1 :]
    return level[0]


@dataclass(frozen=True, slots=True)
class SaltedSet:
    """A set as its salt and sorted salted leaves. The salt stays with the owner: with it, ids can be guessed."""

    salt: bytes = field(repr=False)
    leaves: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES or any(len(leaf) != HASH_BYTES for leaf in self.leaves):
            raise ValueError("a salted set is a 32-byte salt and 32-byte leaves")
        if any(a >= b for a, b in zip(self.leaves, self.leaves[1:], strict=False)):
            raise ValueError("the leaves of a salted set are sorted and distinct")

    @classmethod
    def of(cls, salt: bytes, ids: Iterable[str]) -> SaltedSet:
        """Salt and sort a set of identifiers."""
        return cls(salt, tuple(sorted({hashlib.sha256(b"\x00" + salt + name.encode()).digest() for name in ids})))

    @property
    def root(self) -> bytes:
        """The Merkle root: what is committed to."""
        return merkle_root(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)

    def changed(self, ids: Iterable[str]) -> int:
        """How far another set is from this one: ids added or ids removed, whichever are more."""
        other = set(SaltedSet.of(self.salt, ids).leaves)
        own = set(self.leaves)
        return max(len(other - own), len(own - other))
