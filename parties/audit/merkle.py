"""A Merkle tree over an append-only list: roots, and proofs that an entry is in it or that it only grew.

Pure. Leaves and inner nodes are hashed apart (one byte of domain before each), so neither can be passed off as the
other. Source: RFC 6962 section 2.1; verification as in RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Tree",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "root_hash",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees side by side."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below ``size``, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes, as the RFC defines it."""
    tree = Tree(leaves)
    return tree.root


class Tree:
    """A tree that grows: appending costs one hash on average, and it holds one hash per complete subtree."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        # level 0: the leaves; level i: the hashes of complete subtrees of 2**i leaves
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        if len(leaf) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf)}")
        self._levels[0].append(leaf)
        depth = 0
        while len(self._levels[depth]) % 2 == 0:
            pair = node_hash(*self._levels[depth][-2:])
            if len(self._levels) == depth + 1:
                self._levels.append([])
            depth += 1
            self._levels[depth].append(pair)

    @property
    def root(self) -> bytes:
        """The root over everything."""
        return self.root_at(len(self))

    def root_at(self, size: int) -> bytes:
        """The root when the tree had ``size`` leaves. Raises ValueError when it never had."""
        if not 0 <= size <= len(self):
            raise ValueError(f"the tree has {len(self)} leaves, so it had no root at {size}")
        return self._hash(0, size) if size else EMPTY_ROOT

    def _hash(self, start: int, size: int) -> bytes:
        """Root of ``size`` leaves from ``start``, a multiple of the largest power of two that fits."""
        depth = size.bit_length() - 1
        if size == 1 << depth:
            return self._levels[depth][start >> depth]
        split = _split(size)
        return node_hash(self._hash(start, split), self._hash(start + split, size - split))

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Audit path of leaf ``index`` in the first ``size`` leaves (RFC 6962, 2.1.1)."""
        if not 0 <= index < size <= len(self):
            raise ValueError(f"no proof that entry {index} is among {size} of {len(self)}")
        path: list[bytes] = []
        start = 0
        while size > 1:
            split = _split(size)
            if index - start < split:
                path.append(self._hash(start + split, size - split))
                size = split
            else:
                path.append(self._hash(start, split))
                start, size = start + split, size - split
        return tuple(reversed(path))

    def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        """Proof that the first ``old`` leaves are a prefix of the first ``size`` (RFC 6962, 2.1.2)."""
        if not 0 <= old <= size <= len(self):
            raise ValueError(f"no proof from {old} to {size} of {len(self)}")
        if old in (0, size):
            return ()
        path: list[bytes] = []
        start, whole = 0, True
        while old != size:
            split = _split(size)
            if old <= split:
                path.append(self._hash(start + split, size - split))
                size = split
            else:
                path.append(self._hash(start, split))
                start, old, size, whole = start + split, old - split, size - split, False
        if not whole:
            path.append(self._hash(start, size))
        return tuple(reversed(path))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Audit path of one leaf among ``leaves``."""
    return Tree(leaves).inclusion(index, len(leaves))


def consistency_proof(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """Proof that the first ``old`` leaves are a prefix of ``leaves``."""
    return Tree(leaves).consistency(old, len(leaves))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``leaf`` is entry ``index`` of the tree with this size and root. Never raises on bad proofs."""
    if not 0 <= index < size or any(len(part) != HASH_BYTES for part in proof):
        return False
    place, last, found = index, size - 1, leaf
    for part in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(part, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, part)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of ``old`` leaves is a prefix of that of ``new``. Never raises on bad proofs."""
    if not 0 <= old <= new or any(len(part) != HASH_BYTES for part in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    parts = list(proof)
    if old & (old - 1) == 0:
        parts.insert(0, old_root)
    if not parts:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(part, before), node_hash(part, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, part)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
