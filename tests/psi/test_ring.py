from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.commitment import AlignmentLimits
from psi.flow import REGISTER, LocalProtocolError, Message, Payload, Progress, RemoteProtocolError, run_local
from psi.group import hash_to_group
from psi.identifiers import DuplicateIdentifier, EmptyIdentifier, IdentifierNotText, NotNormalised
from psi.kept import KeptRows
from psi.messages import (
    AlignmentConfirmation,
    CirculatingList,
    CommonTokens,
    FinishedTokens,
    SetCommitment,
    TooFewCommon,
    UnionRows,
)
from psi.ring import Alignment, IntersectionTooSmall, MatchReport, align_party, match_tokens
from tests.psi.rig import COORDINATOR, LIMITS, RUN, Seeded, Wire, align, cut, flows, packed, toy_signature, toy_verify

NAMES = ("bank", "cards", "sky", "social", "web")
UNIVERSE = [f"TICKER{i}" for i in range(24)]

THREE = {
    "bank": ["AAPL", "BRK.B", "NA", "TRUE", "XOM"],
    "sky": ["BRK.B", "NAN", "NA", "TRUE", "TSLA", "XOM"],
    "web": ["NA", "TRUE", "META", "XOM"],
}
COMMON = {"NA", "TRUE", "XOM"}


@st.composite
def consortia(draw: st.DrawFn) -> dict[str, list[str]]:
    names = NAMES[: draw(st.integers(2, 5))]
    members = st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=len(UNIVERSE), unique=True)
    return {name: draw(members) for name in names}


@settings(max_examples=40, deadline=None)
@given(sets=consortia(), minimum=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_alignment_is_the_plain_intersection(sets: dict[str, list[str]], minimum: int, seed: int) -> None:
    sets = {name: [*ids, *(f"{name}{i}".upper() for i in range(minimum))] for name, ids in sets.items()}
    limits = dataclasses.replace(LIMITS, minimum_common=minimum)
    expected = set.intersection(*map(set, sets.values()))
    if len(expected) < minimum:
        with pytest.raises(IntersectionTooSmall):
            align(sets, seed=seed, limits=limits)
        return
    results = align(sets, seed=seed, limits=limits)
    report = results.pop(COORDINATOR)
    first: Alignment = next(iter(results.values()))
    sizes = {name: len(ids) for name, ids in sets.items()}
    assert set(first.ids) == expected
    assert len(first.ids) == len(expected)
    assert report == MatchReport(len(expected), sizes, first.digest)
    for result in results.values():
        assert (result.ids, result.digest, result.roots) == (first.ids, first.digest, first.roots)
        assert result.set_sizes == sizes


def test_a_seed_replays_a_run_and_another_seed_shares_no_point_with_it() -> None:
    wires = [Wire(), Wire(), Wire()]
    results = [align(THREE, seed=seed, wire=wire) for seed, wire in zip((1, 1, 2), wires, strict=True)]
    assert wires[0].sent == wires[1].sent
    assert results[0] == results[1]
    points = [set(wire.points(CirculatingList)) | set(wire.points(FinishedTokens)) for wire in wires]
    assert not points[0] & points[2]
    assert set(results[0]["bank"].ids) == set(results[2]["bank"].ids)


def test_another_run_id_gives_other_points_under_the_same_randomness() -> None:
    here, there = Wire(), Wire()
    align(THREE, wire=here)
    align(THREE, wire=there, run=b"another run")
    assert not set(here.points(CirculatingList)) & set(there.points(CirculatingList))


def test_no_point_of_a_run_repeats_over_owners_and_hops() -> None:
    same = {name: ["AAPL", "MSFT", "XOM"] for name in NAMES[:4]}
    wire = Wire()
    align(same, wire=wire)
    points = wire.points(CirculatingList)
    assert len(points) == 4 * 4 * 3
    assert len(set(points)) == len(points)


def test_transcripts_hold_no_id_no_hash_of_one_and_no_bare_element() -> None:
    wire = Wire()
    results = align(THREE, wire=wire)
    secrets = []
    for name in {name for ids in THREE.values() for name in ids if len(name) > 3}:
        data = name.encode()
        secrets += [data, data.lower(), hash_to_group(RUN, name), hash_to_group(b"", name)]
        for algorithm in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s"):
            for salted in (data, data.lower(), RUN + data, b"\x00" + data):
                digest = hashlib.new(algorithm, salted).digest()
                secrets += [digest, digest[:16], digest.hex().encode()]
    for result in results.values():
        if isinstance(result, Alignment):
            secrets += [result.salted.salt, *result.salted.leaves]
    for sender, receiver, message in wire.sent:
        said = packed(message)
        assert not [secret for secret in secrets if secret in said], (sender, receiver, type(message).__name__)


class Picking(Seeded):
    """Seeded scalars; the shuffle's picks are given."""

    def __init__(self, picks: tuple[int, ...]) -> None:
        super().__init__("picking")
        self.picks = iter(picks)
        self.bounds: list[int] = []

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        self.bounds.append(exclusive_upper_bound)
        return next(self.picks)


def test_a_list_leaves_in_a_uniformly_shuffled_order() -> None:
    """Each of the six choices of three ids gives another order of the same points."""
    orders = set()
    for picks in product(range(3), range(2)):
        randomness = Picking(picks)
        made = flows({"bank": ["AAPL", "META", "XOM"], "sky": ["AAPL", "META", "XOM"]})
        made["bank"] = align_party(
            "bank", ["bank", "sky"], COORDINATOR, ["AAPL", "META", "XOM"], run=RUN, limits=LIMITS,
            randomness=randomness, sign=lambda data: toy_signature("bank", data), verify=toy_verify,
        )  # fmt: skip
        wire = Wire()
        run_local(made, relay=wire)
        assert randomness.bounds == [3, 2]
        orders.add(next(tuple(cut(message.points)) for message in wire.received("sky", CirculatingList)))
    assert len(orders) == 6
    assert len({frozenset(order) for order in orders}) == 1


def test_no_party_is_ever_sent_the_finished_tokens_of_another() -> None:
    wire = Wire()
    align(THREE, wire=wire)
    finished = set(wire.points(FinishedTokens))
    assert len(finished) == len(set().union(*THREE.values()))
    assert not finished & set(wire.points(CirculatingList))
    common = {point for message in wire.received("bank", CommonTokens) for point in cut(message.points)}
    assert len(common) == len(COMMON)


def test_the_last_hop_cannot_match_a_passing_list_with_its_own() -> None:
    """Both hold the same ids; what the last hop sends home is still blinded by the owner."""
    wire = Wire()
    align({"bank": ["AAPL", "XOM"], "sky": ["AAPL", "XOM"], "web": ["AAPL", "XOM"]}, wire=wire)
    home = [message for _, _, message in wire.sent if isinstance(message, CirculatingList) and message.hop == 3]
    assert len(home) == 3
    for one, other in combinations(home, 2):
        assert not set(cut(one.points)) & set(cut(other.points))


def test_below_the_minimum_nobody_is_sent_a_token() -> None:
    wire = Wire()
    with pytest.raises(IntersectionTooSmall, match="fewer than 4 entities"):
        align(THREE, wire=wire, limits=dataclasses.replace(LIMITS, minimum_common=4))
    finished = {point for message in wire.received(COORDINATOR) for point in cut(message.points)}
    assert len(finished) == len(set().union(*THREE.values()))
    for name in THREE:
        assert wire.received(name, TooFewCommon) == [TooFewCommon(4)]
        assert not wire.received(name, CommonTokens)
        said = b"".join(map(packed, wire.received(name)))
        assert not [token for token in finished if token in said]


def test_a_party_told_to_stop_raises_without_rows() -> None:
    parties = align(THREE, wire=Wire())
    assert set(parties["bank"].ids) == COMMON

    def stop(sender: str, receiver: str, message: Message) -> Message:
        return TooFewCommon(1) if isinstance(message, CommonTokens) else message

    with pytest.raises(IntersectionTooSmall, match="no rows were revealed"):
        align(THREE, wire=Wire(stop))


def test_a_set_that_can_never_reach_the_minimum_stops_before_a_point_moves() -> None:
    wire = Wire()
    limits = dataclasses.replace(LIMITS, minimum_common=5)
    with pytest.raises(LocalProtocolError, match="below the agreed minimum of 5"):
        align(THREE, wire=wire, limits=limits)
    assert not wire.points(CirculatingList)


def change(kind: type[Message], sender: str = "sky", **changes: object) -> Wire:
    """A wire on which ``sender``'s messages of a kind carry other values."""

    def tamper(origin: str, receiver: str, message: Message) -> Message:
        if origin != sender or not isinstance(message, kind):
            return message
        made = {name: value(message) if callable(value) else value for name, value in changes.items()}
        return dataclasses.replace(message, **made)

    return Wire(tamper)


def edit_points(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[Any], bytes]:
    return lambda message: b"".join(edit(cut(message.points)))


BAD_POINTS = {
    "identity": (lambda points: [bytes(32), *points[1:]], "is the identity"),
    "not canonical": (lambda points: [b"\xff" * 32, *points[1:]], "canonical"),
    "negative": (lambda points: [b"\x01" + bytes(31), *points[1:]], "canonical"),
    "one short": (lambda points: points[1:], "were announced"),
    "one long": (lambda points: [*points, hash_to_group(RUN, "EXTRA")], "were announced"),
    "ragged": (lambda points: [*points[:-1], points[-1][:-1]], "were announced"),
    "twice": (lambda points: [points[0], points[0], *points[2:]], "same point twice"),
}


@pytest.mark.parametrize("bad", BAD_POINTS)
def test_a_bad_list_is_refused_and_its_sender_named(bad: str) -> None:
    edit, reason = BAD_POINTS[bad]
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        align(THREE, wire=change(CirculatingList, points=edit_points(edit)))
    assert caught.value.peer == "sky"


@pytest.mark.parametrize("bad", BAD_POINTS)
def test_bad_tokens_are_refused_by_the_coordinator(bad: str) -> None:
    edit, reason = BAD_POINTS[bad]
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        align(THREE, wire=change(FinishedTokens, points=edit_points(edit)))
    assert caught.value.peer == "sky"


def test_unsorted_tokens_are_refused_because_their_order_could_tell_something() -> None:
    with pytest.raises(RemoteProtocolError, match="sky: sent tokens out of order"):
        align(THREE, wire=change(FinishedTokens, points=edit_points(lambda points: points[::-1])))


@pytest.mark.parametrize(("field", "value"), [("owner", "web"), ("hop", 3), ("owner", "nobody"), ("hop", 0)])
def test_a_list_that_comes_out_of_turn_is_refused(field: str, value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="is due") as caught:
        align(THREE, wire=change(CirculatingList, **{field: value}))
    assert caught.value.peer == "sky"


def test_a_hop_that_puts_a_passing_list_in_another_order_is_caught_before_any_row_is_used() -> None:
    """The tokens still match, but the owner reads them as other entities."""

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        if isinstance(message, CirculatingList) and sender == "sky" and message.hop > 1:
            return dataclasses.replace(message, points=b"".join(cut(message.points)[::-1]))
        return message

    # no set has a middle entity: reversing moves every token to another identifier
    same = {name: ["AAPL", "BRK.B", "META", "XOM"] for name in THREE}
    with pytest.raises(RemoteProtocolError, match="a list was put out of order"):
        align(same, wire=Wire(tamper))


def test_parties_that_disagree_on_the_ring_stop_before_a_point_moves() -> None:
    made = flows(THREE)
    made["web"] = flows({name: THREE[name] for name in ("sky", "bank", "web")})["web"]
    wire = Wire()
    with pytest.raises(RemoteProtocolError, match="does not fit its key, this run and these parties"):
        run_local(made, relay=wire)
    assert not wire.points(CirculatingList)


def test_a_set_that_grew_after_its_commitment_is_refused() -> None:
    swap = {"sky": [*THREE["sky"], "LATE"]}
    committed = Wire()
    align(THREE, wire=committed)
    old = next(m for s, _, m in committed.sent if s == "sky" and isinstance(m, SetCommitment))

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        return old if sender == "sky" and isinstance(message, SetCommitment) else message

    with pytest.raises(RemoteProtocolError, match="other set commitments"):
        align({**THREE, **swap}, wire=Wire(tamper))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": 5}, "signature"),
        ({"root": bytes(32)}, "signature"),
        ({"signature": b""}, "signature"),
        ({"root": b"short"}, "not 32 bytes"),
        ({"previous_root": b"short"}, "not 32 bytes"),
        ({"size": 10_001}, "above the agreed maximum"),
        ({"size": -1}, "out of range"),
        ({"size": 2**70}, "out of range"),
        ({"changed": 1}, "does not name"),
        ({"previous_size": 6, "previous_root": bytes(32), "changed": 7}, "cannot be"),
        ({"previous_size": 3, "previous_root": bytes(32), "changed": 2}, "cannot be"),
        ({"previous_size": 6, "previous_root": bytes(32), "changed": 2}, "above the agreed share of 0.25"),
    ],
)
def test_a_false_commitment_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        align(THREE, wire=change(SetCommitment, **changes))
    assert caught.value.peer == "sky"


def test_two_commitments_of_one_party_are_caught_before_a_second_list_is_worked_on() -> None:
    """sky tells bank one set and web another, both well signed."""
    other = Wire()
    align({**THREE, "sky": [*THREE["sky"][:-1], "DIFFERENT"]}, wire=other, seed="elsewhere")
    false = next(m for s, _, m in other.sent if s == "sky" and isinstance(m, SetCommitment))

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        return false if (sender, receiver) == ("sky", "web") and isinstance(message, SetCommitment) else message

    with pytest.raises(RemoteProtocolError, match="some party sent two"):
        align(THREE, wire=Wire(tamper))


ANSWERS = {
    "fewer": (lambda points: points[1:], "gave 'sky' other common tokens|gave 'bank' other common tokens"),
    "foreign": (lambda points: sorted([*points, hash_to_group(RUN, "EXTRA")]), "not among this party's tokens"),
    "unsorted": (lambda points: points[::-1], "out of order"),
    "twice": (lambda points: sorted([*points, points[0]]), "same point twice"),
    "too few": (lambda points: [], "below the agreed minimum"),
    "ragged": (lambda points: [*points, b"x"], "were announced"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_false_answer_of_the_coordinator_to_one_party_is_caught(answer: str) -> None:
    edit, reason = ANSWERS[answer]

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        if receiver == "web" and isinstance(message, CommonTokens):
            return dataclasses.replace(message, points=b"".join(edit(cut(message.points))))
        return message

    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        align(THREE, wire=Wire(tamper))
    assert caught.value.peer == COORDINATOR


def test_a_confirmation_needs_its_senders_signature() -> None:
    with pytest.raises(RemoteProtocolError, match="sky: the signature on its alignment confirmation"):
        align(THREE, wire=change(AlignmentConfirmation, signature=b"forged"))


def test_the_coordinator_compares_what_the_parties_say_of_the_set_sizes() -> None:
    with pytest.raises(RemoteProtocolError, match="sky: was shown other set commitments"):
        align(THREE, wire=change(FinishedTokens, commitments=bytes(32)))
    for sizes in ((5, 6), (0, 6, 4), (5, 6, 10_001)):
        with pytest.raises(RemoteProtocolError, match="bank: sent set sizes that do not fit"):
            align(THREE, wire=change(FinishedTokens, sender="bank", sizes=sizes))


def test_real_signatures() -> None:
    keys = {name: Ed25519PrivateKey.generate() for name in THREE}

    def verify(party: str, data: bytes, signature: bytes) -> bool:
        try:
            keys[party].public_key().verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def consortium(run_of_web: bytes) -> dict:
        made = {
            name: align_party(
                name, list(THREE), COORDINATOR, ids, run=run_of_web if name == "web" else RUN, limits=LIMITS,
                randomness=Seeded(name), sign=keys[name].sign, verify=verify,
            )
            for name, ids in THREE.items()
        }  # fmt: skip
        return made | {COORDINATOR: match_tokens(COORDINATOR, list(THREE), limits=LIMITS)}

    assert set(run_local(consortium(RUN))["web"].ids) == COMMON
    with pytest.raises(RemoteProtocolError, match="signature on its set commitment"):
        run_local(consortium(b"a replay from another run"))


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        (["AAPL", "XOM", "AAPL"], DuplicateIdentifier),
        (["AAPL", "brk-b"], NotNormalised),
        (["AAPL", ""], EmptyIdentifier),
        (["AAPL", 1001], IdentifierNotText),
    ],
)
def test_a_partys_own_bad_ids_stop_it_before_it_sends_anything(ids: list[str], error: type[Exception]) -> None:
    wire = Wire()
    with pytest.raises(error):
        align({"bank": ids, "sky": ["AAPL", "XOM"]}, wire=wire)
    assert not wire.sent


def test_an_empty_or_oversized_own_set_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="holds 0 entities"):
        align({"bank": [], "sky": ["AAPL"]})
    with pytest.raises(LocalProtocolError, match="above the agreed maximum of 4"):
        align(THREE, limits=AlignmentLimits(1, 4, 0.25))


@pytest.mark.parametrize("parties", [["bank"], [], ["bank", "bank"], ["bank", COORDINATOR]])
def test_a_ring_that_is_none_is_refused(parties: list[str]) -> None:
    with pytest.raises(LocalProtocolError, match="two or more"):
        run_local({COORDINATOR: match_tokens(COORDINATOR, parties, limits=LIMITS)})
    flow = align_party(
        "bank", parties, COORDINATOR, ["A"], run=RUN, limits=LIMITS, randomness=Seeded(), sign=bytes, verify=bool
    )  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="two or more"):
        run_local({"bank": flow})


def test_a_stranger_to_the_ring_is_refused() -> None:
    flow = align_party(
        "eve", list(THREE), COORDINATOR, ["A"], run=RUN, limits=LIMITS, randomness=Seeded(), sign=bytes, verify=bool
    )  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="not among the parties"):
        run_local({"eve": flow})


def test_progress_reaches_its_total_and_a_pool_changes_nothing() -> None:
    sets = {name: [f"{name}{i}".upper() for i in range(1200)] + ["SHARED"] for name in ("bank", "sky")}
    seen: list[Progress] = []
    plain = run_local(flows(sets), watch=lambda name, progress: seen.append(progress) if name == "bank" else None)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (3 * 1201, 3 * 1201, "ids")
    assert len(seen) == 6
    with ThreadPoolExecutor(2) as pool:
        pooled = align(sets, pool_map=pool.map)
    assert pooled == plain


def test_bad_points_are_refused_from_a_pool_as_well() -> None:
    edit, _ = BAD_POINTS["identity"]
    with ThreadPoolExecutor(2) as pool, pytest.raises(RemoteProtocolError, match="sky: sent a point"):
        align(THREE, wire=change(CirculatingList, points=edit_points(edit)), pool_map=pool.map)


_OF_THE_RING = ("psi.messages", "psi.kept")


def test_every_message_is_registered_with_its_class_and_only_the_coordinator_gets_tokens() -> None:
    wire = Wire()
    align(THREE, wire=wire)
    kinds = {type(message) for _, _, message in wire.sent}
    entries = {
        kind.cls: kind
        for kind in REGISTER.values()
        if kind.name.startswith("psi.") and kind.cls.__module__ in _OF_THE_RING
    }
    assert kinds | {TooFewCommon, KeptRows, UnionRows} == set(entries)
    for sender, receiver, message in wire.sent:
        entry = entries[type(message)]
        assert (entry.sender == "coordinator") == (sender == COORDINATOR)
        assert (entry.receiver == "coordinator") == (receiver == COORDINATOR)
        assert entry.payload in (Payload.BLINDED, Payload.COMMITMENT)
    assert entries[TooFewCommon].payload is Payload.PUBLIC
