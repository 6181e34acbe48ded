from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi.commitment import AlignmentLimits, PreviousAlignment, framed
from psi.flow import LocalProtocolError, RemoteProtocolError
from psi.merkle import SaltedSet, merkle_root
from tests.psi.rig import COORDINATOR, Wire, align

BASE = {"bank": [f"E{i}" for i in range(20)], "sky": [f"E{i}" for i in range(5, 25)]}


def kept(results: dict, name: str) -> PreviousAlignment:
    mine = results[name]
    seen = {other: frozenset({root}) for other, root in mine.roots.items() if other != name}
    return PreviousAlignment(mine.salted, seen)


@pytest.fixture(scope="module")
def first() -> dict:
    return align(BASE, seed="first")


def test_a_small_change_goes_on_and_is_declared(first: dict) -> None:
    wire = Wire()
    sets = {**BASE, "sky": [*BASE["sky"][1:], "NEW"]}
    results = align(sets, seed="second", wire=wire, previous={name: kept(first, name) for name in BASE})
    declared = next(message for sender, _, message in wire.sent if sender == "sky")
    assert (declared.size, declared.previous_size, declared.changed) == (20, 20, 1)
    assert declared.previous_root == first["bank"].roots["sky"]
    assert results["bank"].roots["sky"] != first["bank"].roots["sky"]
    assert results[COORDINATOR].n_common == 14


def test_the_same_set_has_another_root_in_every_run(first: dict) -> None:
    again = align(BASE, seed="second", previous={name: kept(first, name) for name in BASE})
    assert not set(again["bank"].roots.values()) & set(first["bank"].roots.values())


@pytest.mark.parametrize(
    "ids",
    [
        [*BASE["sky"][6:], *(f"N{i}" for i in range(6))],  # 6 of 20 exchanged
        [*BASE["sky"], *(f"N{i}" for i in range(8))],  # 8 added to 20
        BASE["sky"][:14],  # 6 of 20 dropped
    ],
)
def test_a_large_change_is_refused_by_its_owner_and_by_the_others(first: dict, ids: list[str]) -> None:
    sets = {**BASE, "sky": ids}
    wire = Wire()
    with pytest.raises(LocalProtocolError, match="changed since its last run"):
        align(sets, seed="second", wire=wire, previous={name: kept(first, name) for name in BASE})
    assert not [sender for sender, _, _ in wire.sent if sender == "sky"]
    with pytest.raises(RemoteProtocolError, match="does not build on a set that this party has seen") as caught:
        align(sets, seed="second", previous={"bank": kept(first, "bank")})
    assert caught.value.peer == "sky"


def test_a_share_of_one_allows_any_change(first: dict) -> None:
    sets = {**BASE, "sky": [f"N{i}" for i in range(30)] + ["E0"]}
    limits = AlignmentLimits(1, 100, 1.0)
    previous = {name: kept(first, name) for name in BASE}
    assert align(sets, seed="second", previous=previous, limits=limits)["sky"].ids == ("E0",)


@pytest.mark.parametrize("terms", [(0, 10, 0.1), (11, 10, 0.1), (1, 10, -0.1), (1, 10, 1.1)])
def test_limits_that_make_no_sense_are_refused(terms: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        AlignmentLimits(*terms)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def rfc6962(leaves: list[bytes]) -> bytes:
    """The recursive definition, as the oracle."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(rfc6962(leaves[:split]), rfc6962(leaves[split:]))


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=40))
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == rfc6962(leaves)


@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
)
def test_changes_are_counted_as_on_plain_sets(old: set[str], new: set[str]) -> None:
    salted = SaltedSet.of(b"s" * 32, old)
    assert len(salted) == len(old)
    assert salted.changed(new) == max(len(new - old), len(old - new))


def test_a_salted_set_keeps_its_salt_and_leaves_out_of_its_text() -> None:
    salted = SaltedSet.of(b"s" * 32, ["AAPL"])
    assert repr(salted) == "SaltedSet()"
    assert salted.root != SaltedSet.of(b"t" * 32, ["AAPL"]).root


@pytest.mark.parametrize(
    ("salt", "leaves"),
    [(b"short", ()), (b"s" * 32, (b"short",)), (b"s" * 32, (b"b" * 32, b"a" * 32)), (b"s" * 32, (b"a" * 32,) * 2)],
)
def test_a_stored_set_is_checked_when_it_is_read_back(salt: bytes, leaves: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="salted set"):
        SaltedSet(salt, leaves)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_framing_is_injective(one: list[bytes], other: list[bytes]) -> None:
    assert (framed(*one) == framed(*other)) == (one == other)
