"""The tree against published vectors, against the definition written out, and against proofs that are off by a bit."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.audit.merkle import (
    EMPTY_ROOT,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

# the reference vectors of Certificate Transparency's implementations (RFC 6962): eight leaves and their roots
ENTRIES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def slow_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def slow_path(leaves: list[bytes], m: int) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*slow_path(leaves[:k], m), slow_root(leaves[k:])]
    return [*slow_path(leaves[k:], m - k), slow_root(leaves[:k])]


def slow_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [slow_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*slow_subproof(m, leaves[:k], whole), slow_root(leaves[k:])]
    return [*slow_subproof(m - k, leaves[k:], False), slow_root(leaves[:k])]


def test_published_roots() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_hash([]) == EMPTY_ROOT
    for size, root in enumerate(ROOTS, start=1):
        assert root_hash(LEAVES[:size]).hex() == root


def test_published_proofs() -> None:
    assert [p.hex() for p in inclusion_proof(LEAVES, 0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [p.hex() for p in consistency_proof(LEAVES[:8], 1)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [p.hex() for p in consistency_proof(LEAVES[:8], 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_leaves_and_nodes_are_hashed_apart() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@given(st.integers(1, 70), st.data())
def test_proofs_are_those_of_the_definition_and_hold(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    tree = Tree(leaves)
    assert tree.root == slow_root(leaves)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    assert tree.root_at(old) == slow_root(leaves[:old])
    path = tree.inclusion(index, size)
    assert list(path) == slow_path(leaves, index)
    assert verify_inclusion(leaves[index], index, size, path, tree.root)
    proof = tree.consistency(old, size)
    if old:
        assert list(proof) == slow_subproof(old, leaves, True)
    assert verify_consistency(old, size, slow_root(leaves[:old]), tree.root, proof)


@given(st.integers(2, 40), st.data())
def test_a_wrong_proof_is_refused(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    tree = Tree(leaves)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    path, proof = tree.inclusion(index, size), tree.consistency(old, size)
    other = leaf_hash(b"other")
    assert not verify_inclusion(other, index, size, path, tree.root)
    assert not verify_inclusion(leaves[index], (index + 1) % size, size, path, tree.root)
    assert not verify_inclusion(leaves[index], index, size, (*path, other), tree.root)
    assert not verify_inclusion(leaves[index], index, size, path[:-1], tree.root)
    assert not verify_inclusion(leaves[index], index, size, (b"short", *path[1:]), tree.root)
    assert not verify_consistency(old, size, other, tree.root, proof)
    assert not verify_consistency(old, size, tree.root_at(old), other, proof)
    assert not verify_consistency(old, size, tree.root_at(old), tree.root, (*proof, other))
    assert not verify_consistency(old, size, tree.root_at(old), tree.root, proof[:-1])
    # history rewritten: another leaf before the old size, with an honest proof of the new tree
    forged = Tree([other, *leaves[1:]])
    assert not verify_consistency(old, size, tree.root_at(old), forged.root, forged.consistency(old, size))


def test_what_does_not_exist_cannot_be_proved() -> None:
    tree = Tree(LEAVES)
    with pytest.raises(ValueError, match="no proof that entry 8 is among 8"):
        tree.inclusion(8, 8)
    with pytest.raises(ValueError, match="no proof from 9 to 8"):
        tree.consistency(9, 8)
    with pytest.raises(ValueError, match="had no root at 9"):
        tree.root_at(9)
    with pytest.raises(ValueError, match="32 bytes"):
        tree.append(b"short")
    assert not verify_inclusion(LEAVES[0], 0, 0, (), EMPTY_ROOT)
    assert not verify_consistency(2, 1, EMPTY_ROOT, EMPTY_ROOT, ())
