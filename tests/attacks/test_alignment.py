"""Alignment: a last hop that reads finished tokens, and a dictionary of every ticker, against recorded messages."""

from __future__ import annotations

import hashlib
import string
from itertools import product
from typing import Any, ClassVar

import pytest

from psi.group import Randomness, Scalar, hash_to_group
from psi.merkle import SaltedSet
from psi.messages import CirculatingList, FinishedTokens, SetCommitment
from tests.psi.rig import COORDINATOR, RUN, Wire, align, cut, packed

SETS = {
    "a": ["AAPL", "MSFT", "BRK.B", "KO", "X"],
    "b": ["AAPL", "MSFT", "BRK.B", "F"],
    "c": ["AAPL", "T", "X", "F"],
}
COMMON = {"AAPL"}
# every ticker of up to two letters, and the ones above: a dictionary that holds all answers
DICTIONARY = sorted(
    {"".join(w) for n in (1, 2) for w in product(string.ascii_uppercase, repeat=n)}
    | {x for s in SETS.values() for x in s}
)


class BlindsWithItsRunScalar(Scalar):
    """Defence switched off: an owner's one-time scalar is its run scalar again."""

    __slots__ = ()
    last: ClassVar[list[bytes]] = []

    @classmethod
    def random(cls, randomness: Randomness) -> Scalar:
        if cls.last:
            return Scalar(cls.last.pop())
        made = Scalar.random(randomness)
        cls.last.append(made._encoded)
        return made


def last_hop_reads(wire: Wire, owner: str, hop: str) -> set[str]:
    """``hop`` matches the list it sends home to ``owner`` with its own tokens, whose identifiers it knows."""
    own = {point: name for name in SETS[hop] for point in _tokens(wire, hop) if _is_token_of(wire, hop, name, point)}
    (home,) = (
        m
        for sender, to, m in wire.sent
        if isinstance(m, CirculatingList) and (sender, to) == (hop, owner) and m.hop == 3
    )
    return {own[point] for point in cut(home.points) if point in own}


def _tokens(wire: Wire, party: str) -> list[bytes]:
    (sent,) = (m for sender, _, m in wire.sent if isinstance(m, FinishedTokens) and sender == party)
    return cut(sent.points)


NAMES: dict[str, dict[bytes, str]] = {}


def _is_token_of(wire: Wire, party: str, name: str, point: bytes) -> bool:
    return NAMES[party].get(point) == name


def run(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """One alignment; each party's own token table (its legitimate knowledge) is noted on the way."""
    wire = Wire()
    NAMES.clear()
    plain = dict

    def noting(pairs: Any) -> dict[bytes, str]:
        table = plain(pairs)
        for party, ids in SETS.items():
            if set(table.values()) == set(ids):
                NAMES[party] = table
        return table

    monkeypatch.setattr("psi.ring.dict", noting, raising=False)
    results = align(SETS, wire=wire)
    assert {name for party, got in results.items() if party != COORDINATOR for name in got.ids} == COMMON
    assert set(NAMES) == set(SETS)
    return wire


def test_without_the_one_time_scalar_the_last_hop_reads_a_pairwise_intersection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    BlindsWithItsRunScalar.last.clear()
    monkeypatch.setattr("psi.ring.Scalar", BlindsWithItsRunScalar)
    wire = run(monkeypatch)
    assert last_hop_reads(wire, owner="a", hop="c") == {"AAPL", "X"} == set(SETS["a"]) & set(SETS["c"])
    assert last_hop_reads(wire, owner="b", hop="a") == {"AAPL", "MSFT", "BRK.B"}


def test_with_it_the_last_hop_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = run(monkeypatch)
    for owner, hop in (("a", "c"), ("b", "a"), ("c", "b")):
        assert last_hop_reads(wire, owner, hop) == set()


def guesses() -> dict[bytes, str]:
    """What whoever has no secret can compute of a ticker."""
    table: dict[bytes, str] = {}
    for name in DICTIONARY:
        raw = name.encode()
        for value in (
            hashlib.sha256(raw).digest(),
            hashlib.sha512(raw).digest()[:32],
            hashlib.sha256(RUN + raw).digest(),
            hashlib.sha256(b"\x00" + raw).digest(),
            hash_to_group(RUN, name),
            hash_to_group(b"", name),
        ):
            table[value] = name
    return table


def test_a_dictionary_reads_plain_hashes() -> None:
    """Why tickers are not hashed: an unsalted list is read back entirely."""
    table = guesses()
    sent = [hashlib.sha256(name.encode()).digest() for name in SETS["a"]]
    assert {table[h] for h in sent} == set(SETS["a"])


def test_a_dictionary_reads_nothing_in_our_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, table = run(monkeypatch), guesses()
    points = [p for _, _, m in wire.sent if hasattr(m, "points") for p in cut(m.points)]
    assert len(points) > 40
    assert not set(points) & set(table)
    everything = b"".join(packed(m) for _, _, m in wire.sent)
    assert not [name for value, name in table.items() if value in everything]


def test_a_commitment_to_a_small_set_is_not_guessed() -> None:
    """A salted root: whoever knows the whole set, but not the salt, cannot confirm it."""
    wire = Wire()
    align(SETS, wire=wire)
    roots = {m.root for _, _, m in wire.sent if isinstance(m, SetCommitment)}
    assert len(roots) == 3
    assert not roots & {SaltedSet.of(bytes(32), ids).root for ids in SETS.values()}
