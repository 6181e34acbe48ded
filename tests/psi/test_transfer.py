"""Alignment by oblivious transfer against set arithmetic, on its transcripts, and under hostile messages."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.commitment import PreviousAlignment
from psi.flow import LocalProtocolError, Message, RemoteProtocolError, run_local
from psi.identifiers import DuplicateIdentifier, NotNormalised
from psi.messages import AlignmentConfirmation, SetCommitment
from psi.ot import leader as leading
from psi.ot.fixed_key import derived
from psi.ot.messages import (
    BaseChoices,
    BaseOffer,
    CommonList,
    Hint,
    MaskedMatrix,
    MatrixChallenge,
    MatrixSums,
    PairKey,
    TooFewFound,
)
from psi.ot.opening_moves import narrowed
from psi.ring import IntersectionTooSmall
from tests.psi.rig import LIMITS, RUN, Wire, packed
from tests.psi.transfer_rig import transfer, transfer_flows, without_base_transfers

NAMES = ("bank", "cards", "sky", "social", "web")
UNIVERSE = [f"TICKER{i}" for i in range(24)]
THREE = {
    "bank": ["AAPL", "BRK.B", "NA", "TRUE", "XOM"],
    "sky": ["BRK.B", "NAN", "NA", "TRUE", "TSLA", "XOM"],
    "web": ["NA", "TRUE", "META", "XOM"],
}
COMMON = {"NA", "TRUE", "XOM"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_base_transfers(monkeypatch)


@st.composite
def consortia(draw: st.DrawFn) -> dict[str, list[str]]:
    names = NAMES[: draw(st.integers(2, 5))]
    members = st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=len(UNIVERSE), unique=True)
    return {name: draw(members) for name in names}


@settings(max_examples=15, deadline=None)
@given(sets=consortia(), minimum=st.integers(1, 4), seed=st.integers(0, 2**32), data=st.data())
def test_alignment_is_the_plain_intersection(sets: dict[str, list[str]], minimum: int, seed: int, data: Any) -> None:
    sets = {name: [*ids, *(f"{name}{i}".upper() for i in range(minimum))] for name, ids in sets.items()}
    limits = dataclasses.replace(LIMITS, minimum_common=minimum)
    leader = data.draw(st.sampled_from(sorted(sets)))
    expected = set.intersection(*map(set, sets.values()))
    wire = Wire()
    if len(expected) < minimum:
        with pytest.raises(IntersectionTooSmall):
            transfer(sets, leader=leader, seed=seed, limits=limits, wire=wire)
        assert not [m for _, _, m in wire.sent if isinstance(m, CommonList | AlignmentConfirmation)]
        return
    results = transfer(sets, leader=leader, seed=seed, limits=limits)
    first = results[leader]
    assert set(first.ids) == expected
    assert len(first.ids) == len(expected)
    for result in results.values():
        assert (result.ids, result.digest, result.roots) == (first.ids, first.digest, first.roots)
        assert result.set_sizes == {name: len(ids) for name, ids in sets.items()}


def test_sets_of_several_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psi.ot.buckets._FULL", 512)
    sets = {
        name: [f"ID{i}" for i in range(first, last)]
        for name, first, last in (("bank", 0, 3000), ("sky", 1000, 3500), ("web", 900, 1900))
    }
    wire, told = Wire(), set[tuple[str, int, int]]()
    results = run_local(
        transfer_flows(sets), relay=wire, watch=lambda name, progress: told.add((name, progress.done, progress.total))
    )
    due = {
        (name, k * len(ids) // 8, len(ids) * (1 + (name == "bank"))) for name, ids in sets.items() for k in range(1, 9)
    }
    assert told == due | {("bank", 6000, 6000)}, (
        "progress tells as little of how many ids a bucket holds as messages do"
    )
    assert set(results["web"].ids) == {f"ID{i}" for i in range(1000, 1900)}
    assert [m.bucket for m in wire.received("sky", MaskedMatrix)] == list(range(8))


def test_the_order_is_common_and_another_in_every_run() -> None:
    sets = {name: [f"ID{i}" for i in range(50)] for name in NAMES[:3]}
    orders = {transfer(sets, seed=seed)["bank"].ids for seed in range(3)}
    assert len(orders) == 3
    assert sorted(sets["bank"]) not in [list(order) for order in orders]


def test_transcripts_hold_no_id_and_no_hash_of_one() -> None:
    wire = Wire()
    transfer(THREE, wire=wire)
    secrets = []
    for name in {name for ids in THREE.values() for name in ids if len(name) > 3}:
        data = name.encode()
        secrets += [data, data.lower()]
        for algorithm in ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s"):
            digest = hashlib.new(algorithm, data).digest()
            secrets += [digest, digest[:16]]
    for sender, receiver, message in wire.sent:
        said = packed(message)
        assert not [secret for secret in secrets if secret in said], (sender, receiver, type(message).__name__)


def test_messages_are_as_long_for_any_sets_of_the_same_sizes() -> None:
    """But for the result, which names as many as are common."""
    kinds = []
    for shift in (0, 40):
        sets = {name: [f"ID{i + shift * at}" for i in range(60)] for at, name in enumerate(NAMES[:3])}
        wire = Wire()
        with contextlib.suppress(IntersectionTooSmall):
            transfer(sets, wire=wire)
        kinds.append(
            [
                (sender, receiver, type(m).__name__, len(packed(m)))
                for sender, receiver, m in wire.sent
                if not isinstance(m, CommonList | TooFewFound | AlignmentConfirmation)
            ]
        )
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("count", [3, 4, 5])
def test_no_hints_but_all_together_tell_the_leader_anything(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever shares the leader adds up, they come to zero only for an id that every party holds."""
    names = NAMES[:count]
    sets = {name: ["ALL"] for name in names}
    for size in range(1, count):
        for group in combinations(names[1:], size):
            for name in ("bank", *group):
                sets[name] = [*sets[name], "X".join(group).upper()]
    sets = {name: list(dict.fromkeys(ids)) for name, ids in sets.items()}
    shares: dict[str, np.ndarray] = {}
    place: list[str] = []
    known, reading = leading.Opened.zero_shares, leading._share_in

    def zero_shares(opened: Any, hashes: Any) -> Any:
        total = known(opened, hashes)
        if opened.me == "bank":
            shares["bank"] = total.copy()
            place.extend(sets["bank"][at] for at in opened.buckets.order)
        return total

    def share_in(opened: Any, bucket: Any, name: str, hint: Hint) -> Any:
        shares[name] = reading(opened, bucket, name, hint)
        return shares[name]

    masks: list[Any] = []

    class Mask:
        def __init__(self, function: Any) -> None:
            self.function = function

        def hashed(self, values: Any) -> Any:
            masks.append(self.function.hashed(values))
            return masks[-1]

    function = leading.Opened.function
    monkeypatch.setattr(leading.Opened, "zero_shares", zero_shares)
    monkeypatch.setattr(leading, "_share_in", share_in)
    monkeypatch.setattr(
        leading.Opened,
        "function",
        lambda opened, purpose: (
            Mask(function(opened, purpose)) if opened.me == "bank" and purpose == b"mask" else function(opened, purpose)
        ),
    )
    transfer(sets)
    for name, mask in zip(names[1:], masks, strict=True):
        shares[name] = shares[name] ^ mask
    for size in range(1, count):
        for group in combinations(names[1:], size):
            for with_own in (True, False):
                total = np.bitwise_xor.reduce([shares[name] for name in group])
                if with_own:
                    total = total ^ shares["bank"]
                zero = {name for name, row in zip(place, narrowed(total), strict=True) if not row.any()}
                everybody = size == count - 1 and with_own
                assert zero == (
                    {name for name in place if all(name in ids for ids in sets.values())} if everybody else set()
                )


def test_below_the_minimum_members_are_told_nothing_but_that() -> None:
    wire = Wire()
    with pytest.raises(IntersectionTooSmall, match="fewer than 4 entities"):
        transfer(THREE, wire=wire, limits=dataclasses.replace(LIMITS, minimum_common=4))
    assert wire.received("sky", TooFewFound) == [TooFewFound(4)]
    assert not wire.received("sky", CommonList)


def test_a_set_that_can_never_reach_the_minimum_stops_before_a_matrix_moves() -> None:
    wire = Wire()
    with pytest.raises(LocalProtocolError, match="below the agreed minimum of 5"):
        transfer(THREE, wire=wire, limits=dataclasses.replace(LIMITS, minimum_common=5))
    assert {type(m) for _, _, m in wire.sent} <= {SetCommitment}


@pytest.mark.parametrize(
    ("ids", "error"), [(["AAPL", "XOM", "AAPL"], DuplicateIdentifier), (["AAPL", "brk-b"], NotNormalised)]
)
def test_own_ids_that_cannot_be_are_refused(ids: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        transfer({"bank": ids, "sky": ["AAPL"]})


def change(kind: type[Message], sender: str, **changes: Callable[[Any], Any]) -> Wire:
    def tamper(origin: str, receiver: str, message: Message) -> Message:
        if origin != sender or not isinstance(message, kind):
            return message
        return dataclasses.replace(message, **{name: edit(message) for name, edit in changes.items()})

    return Wire(tamper)


HOSTILE: dict[str, tuple[type[Message], str, dict[str, Callable[[Any], Any]], str]] = {
    "pair key is the identity": (PairKey, "sky", {"point": lambda m: bytes(32)}, "identity"),
    "pair key not canonical": (PairKey, "sky", {"point": lambda m: b"\xff" * 32}, "canonical"),
    "pair key of another session": (PairKey, "sky", {"commitments": lambda m: bytes(32)}, "some party sent two"),
    "matrix short": (MaskedMatrix, "bank", {"rows": lambda m: m.rows[:-64]}, "bytes of rows"),
    "matrix of another bucket": (MaskedMatrix, "bank", {"bucket": lambda m: 1}, "for bucket 1"),
    "matrix of one wrong bit": (
        MaskedMatrix, "bank", {"rows": lambda m: bytes([m.rows[0] ^ 255]) + m.rows[1:]}, "not of code words",
    ),
    "matrix of zeros": (MaskedMatrix, "bank", {"rows": lambda m: bytes(len(m.rows))}, "not of code words"),
    "challenge out of turn": (MatrixChallenge, "sky", {"bucket": lambda m: 2}, "challenges bucket 2"),
    "challenge short": (MatrixChallenge, "sky", {"seed": lambda m: b""}, "challenges bucket"),
    "sums short": (MatrixSums, "bank", {"sums": lambda m: m.sums[:-1]}, "bytes of sums"),
    "sums false": (MatrixSums, "bank", {"sums": lambda m: bytes(len(m.sums))}, "not of code words"),
    "sums above the code": (
        MatrixSums, "bank", {"sums": lambda m: m.sums[:15] + b"\xff" + m.sums[16:]}, "not of code words",
    ),
    "hint short": (Hint, "sky", {"cells": lambda m: m.cells[:-10]}, "sent a hint of"),
    "hint of another bucket": (Hint, "sky", {"bucket": lambda m: 7}, "for bucket 7"),
    "result out of order": (CommonList, "bank", {"values": lambda m: m.values[10:20] + m.values[:10]}, "out of order"),
    "result twice": (CommonList, "bank", {"values": lambda m: m.values[:10] * 2}, "or twice"),
    "result foreign": (CommonList, "bank", {"values": lambda m: b"\xff" * 10}, "not among this party's entities"),
    "result ragged": (CommonList, "bank", {"values": lambda m: m.values[:-1]}, "where a key of 32 bytes"),
    "result without a key": (CommonList, "bank", {"order_key": lambda m: b""}, "where a key of 32 bytes"),
    "result too small": (CommonList, "bank", {"values": lambda m: b""}, "below the agreed minimum"),
    "result shorter": (CommonList, "bank", {"values": lambda m: m.values[:20]}, "other common entities"),
    "confirmation unsigned": (AlignmentConfirmation, "sky", {"signature": lambda m: b"forged"}, "signature on its"),
    "confirmation of others": (AlignmentConfirmation, "sky", {"entities": lambda m: bytes(32)}, "signature on its"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_message_is_refused_and_its_sender_named(case: str) -> None:
    kind, sender, changes, reason = HOSTILE[case]
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        transfer(THREE, wire=change(kind, sender, **changes))
    assert caught.value.peer == sender


@pytest.mark.parametrize(
    ("kind", "sender", "changes", "reason"),
    [
        (BaseChoices, "sky", {"points": lambda m: bytes(32) + m.points[32:]}, "identity"),
        (BaseChoices, "sky", {"points": lambda m: m.points[:-32]}, "were announced"),
        (BaseOffer, "bank", {"point": lambda m: bytes(32)}, "identity"),
    ],
)
def test_bad_points_are_refused_and_real_base_transfers_align(
    kind: type[Message], sender: str, changes: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    two = {name: THREE[name] for name in ("bank", "sky")}
    if sender == "bank":
        assert set(transfer(two)["sky"].ids) == {"BRK.B", *COMMON}
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        transfer(two, wire=change(kind, sender, **changes))
    assert caught.value.peer == sender


def test_a_leader_that_gives_one_member_other_rows_is_caught() -> None:
    def tamper(sender: str, receiver: str, message: Message) -> Message:
        if receiver == "web" and isinstance(message, CommonList):
            return dataclasses.replace(message, values=message.values[:20])
        return message

    with pytest.raises(RemoteProtocolError, match="other common entities") as caught:
        transfer(THREE, wire=Wire(tamper))
    assert caught.value.peer in ("bank", "web")


def test_a_hint_of_no_meaning_makes_ids_uncommon_and_adds_none() -> None:
    with pytest.raises(IntersectionTooSmall):
        transfer(THREE, wire=change(Hint, "sky", cells=lambda m: bytes(len(m.cells))))


@pytest.mark.parametrize("kind", [PairKey, MaskedMatrix, MatrixSums, Hint, CommonList])
def test_a_message_of_an_earlier_run_is_refused_or_of_no_use(kind: type[Message]) -> None:
    """A replay of everything one party sent of one kind: another run's hashes, keys and streams do not fit it."""
    before = Wire()
    transfer(THREE, wire=before, run=b"an earlier run", seed="earlier")
    kept = {(s, r): m for s, r, m in before.sent if type(m) is kind}

    def replay(sender: str, receiver: str, message: Message) -> Message:
        return kept.get((sender, receiver), message) if type(message) is kind else message

    with pytest.raises((RemoteProtocolError, IntersectionTooSmall)):
        transfer(THREE, wire=Wire(replay))


def test_a_member_without_its_leader_cannot_go_on() -> None:
    with pytest.raises(LocalProtocolError, match="the leader among them"):
        transfer(THREE, leader="nobody")
    with pytest.raises(LocalProtocolError, match="differently named"):
        transfer({"bank": ["AAPL"]})


def test_a_set_of_an_earlier_alignment_is_built_on_whichever_protocol_made_it() -> None:
    first = transfer(THREE)
    again = {
        name: PreviousAlignment(
            made.salted, {peer: frozenset([root]) for peer, root in made.roots.items() if peer != name}
        )
        for name, made in first.items()
    }
    wire = Wire()
    transfer({**THREE, "web": [*THREE["web"], "NEW"]}, previous=again, wire=wire)
    declared = {s: m.changed for s, _, m in wire.sent if isinstance(m, SetCommitment)}
    assert declared == {"bank": 0, "sky": 0, "web": 1}


def test_seeds_and_keys_depend_on_the_run() -> None:
    assert derived(b"a", b"bc") != derived(b"ab", b"c")
    one, other = Wire(), Wire()
    transfer(THREE, wire=one)
    transfer(THREE, wire=other, run=RUN[::-1])
    cells = [{m.cells for _, _, m in wire.sent if isinstance(m, Hint)} for wire in (one, other)]
    assert not cells[0] & cells[1]


def test_sets_filled_to_a_bucket_show_as_that_and_padding_is_never_common() -> None:
    limits = dataclasses.replace(LIMITS, bucket=16)
    results = transfer(THREE, limits=limits)
    for result in results.values():
        assert set(result.ids) == COMMON
        assert set(result.set_sizes.values()) == {16}
