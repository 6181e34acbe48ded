from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.commitment import AlignmentLimits, PreviousAlignment
from psi.flow import Flow, Message, RemoteProtocolError, run_local
from psi.group import hash_to_group
from psi.identifiers import IdentifierError
from psi.messages import CirculatingList, FinishedTokens, SetCommitment, UnionRows
from psi.padding import is_foreign, padded_size
from psi.ring import Alignment, MatchReport
from psi.union import match_union, unite_party
from tests.psi.rig import COORDINATOR, RUN, Seeded, Wire, cut, toy_signature, toy_verify

LIMITS = AlignmentLimits(minimum_common=1, maximum_set_size=40, largest_change=0.25, bucket=4)
NAMES = ("bank", "cards", "sky", "social", "web")
UNIVERSE = [f"TICKER{i}" for i in range(12)]
THREE = {"bank": ["AAPL", "NA", "XOM"], "sky": ["NA", "TSLA", "XOM", "META", "F"], "web": ["XOM", "TRUE"]}


def flows(
    sets: dict[str, list[str]],
    limits: AlignmentLimits = LIMITS,
    seed: object = 0,
    previous: dict[str, PreviousAlignment] | None = None,
) -> dict[str, Flow[Any]]:
    parties = list(sets)
    made: dict[str, Flow[Any]] = {
        name: unite_party(
            name, parties, COORDINATOR, ids, run=RUN, limits=limits, randomness=Seeded(seed, name),
            sign=lambda data, name=name: toy_signature(name, data), verify=toy_verify, padding=f"of {name}".encode(),
            previous=(previous or {}).get(name),
        )
        for name, ids in sets.items()
    }  # fmt: skip
    return made | {COORDINATOR: match_union(COORDINATOR, parties, limits=limits, randomness=Seeded(seed, "fill"))}


def unite(sets: dict[str, list[str]], wire: Wire | None = None, **options: Any) -> dict[str, Any]:
    return run_local(flows(sets, **options), relay=wire)


@st.composite
def consortia(draw: st.DrawFn) -> dict[str, list[str]]:
    names = NAMES[: draw(st.integers(2, 5))]
    return {name: draw(st.lists(st.sampled_from(UNIVERSE), min_size=1, unique=True)) for name in names}


@settings(max_examples=25, deadline=None)
@given(sets=consortia(), bucket=st.sampled_from([0, 1, 4, 7]), seed=st.integers(0, 2**32))
def test_rows_stand_for_the_same_entity_at_everyone_who_holds_it(
    sets: dict[str, list[str]], bucket: int, seed: int
) -> None:
    results = unite(sets, limits=dataclasses.replace(LIMITS, bucket=bucket), seed=seed)
    report: MatchReport = results.pop(COORDINATOR)
    length = sum(padded_size(len(ids), bucket) for ids in sets.values())
    assert report.n_common == length
    for name, found in results.items():
        assert isinstance(found, Alignment)
        assert found.digest == report.digest
        assert len(found.ids) == len(set(found.ids)) == length
        assert {one for one in found.ids if not is_foreign(one)} == set(sets[name])
    for names in zip(*(results[name].ids for name in sets), strict=True):
        assert len({one for one in names if not is_foreign(one)}) <= 1
    rows = [{one for one in row if not is_foreign(one)} for row in zip(*(r.ids for r in results.values()), strict=True)]
    assert sorted(one for row in rows for one in row) == sorted(set().union(*sets.values()))


def _view(sets: dict[str, list[str]], of: str) -> tuple[Wire, Alignment]:
    wire = Wire()
    return wire, unite(sets, wire=wire)[of]


@pytest.mark.parametrize("held", [["MSFT", "XOM"], ["MSFT", "OTHER"]])
def test_a_party_cannot_tell_which_of_its_entities_another_holds(held: list[str]) -> None:
    """Own-and-shared and own-only look alike: the same bytes of its own, the same number of everything else."""
    alone, apart = _view({"bank": ["AAPL", "XOM"], "sky": ["MSFT", "NONE"]}, "bank")
    wire, found = _view({"bank": ["AAPL", "XOM"], "sky": held}, "bank")
    assert [len(m.points) for m in wire.received("bank", CirculatingList)] == [
        len(m.points) for m in alone.received("bank", CirculatingList)
    ]
    rows, before = ({p for m in w.received("bank", UnionRows) for p in cut(m.points)} for w in (wire, alone))
    assert len(rows) == len(before) == 8
    tokens = [set(cut(m.points)) for s, _, m in wire.sent if s == "bank" and isinstance(m, FinishedTokens)]
    assert tokens[0] <= rows & before  # its own tokens, whoever holds what
    own = {p for m in wire.received("bank", CirculatingList) for p in cut(m.points)}
    assert not own & (rows - tokens[0])  # and nothing that was sent to it names a row that is not its own
    assert len([one for one in found.ids if not is_foreign(one)]) == 2
    assert len(found.ids) == len(apart.ids)


def test_without_filling_the_length_of_the_union_would_tell_how_many_are_shared() -> None:
    """What the filling is for: two parties know both list lengths, so the bare union would give the overlap."""
    for shared in (0, 1, 2):
        sets = {"bank": ["A", "B"], "sky": ["A", "B"][:shared] + ["Y", "Z"][shared:]}
        wire = Wire()
        results = unite(sets, wire=wire)
        bare = {p for m in wire.received(COORDINATOR, FinishedTokens) for p in cut(m.points)}
        assert 8 - len(bare) == shared
        assert len(results["bank"].ids) == 8


def test_set_sizes_show_as_buckets_and_padding_is_the_same_in_every_run() -> None:
    wire = Wire()
    first = unite(THREE, wire=wire)
    assert first["bank"].set_sizes == {"bank": 4, "sky": 8, "web": 4}
    assert sorted(m.size for m in wire.received("bank", SetCommitment)) == [4, 8]
    before = {
        name: PreviousAlignment(first[name].salted, {other: frozenset({first[other].salted.root}) for other in THREE})
        for name in THREE
    }
    again = Wire()
    unite({**THREE, "web": ["XOM", "GONE"]}, wire=again, seed=1, previous=before)
    assert {m.changed for s, _, m in again.sent if s == "web" and isinstance(m, SetCommitment)} == {1}
    assert {m.changed for s, _, m in again.sent if s == "bank" and isinstance(m, SetCommitment)} == {0}


TAMPERED = {
    "a row short": (lambda rows: rows[1:], "were announced"),
    "unsorted": (lambda rows: rows[::-1], "out of order"),
    "twice": (lambda rows: sorted([rows[0], *rows[:-1]]), "same point twice"),
    "identity": (lambda rows: sorted([bytes(32), *rows[1:]]), "identity"),
    "a token left out": (
        lambda rows: sorted(hash_to_group(RUN, str(i)) for i in range(len(rows))),
        "left a token of this party out",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_false_union_is_refused_and_the_coordinator_named(how: str) -> None:
    edit, reason = TAMPERED[how]

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        if isinstance(message, UnionRows) and receiver == "web":
            return UnionRows(b"".join(edit(cut(message.points))))
        return message

    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        unite(THREE, wire=Wire(tamper))
    assert caught.value.peer == COORDINATOR


def test_two_unions_are_caught_when_the_parties_confirm() -> None:
    def tamper(sender: str, receiver: str, message: Message) -> Message:
        if not isinstance(message, UnionRows) or receiver != "web":
            return message
        rows, mine = cut(message.points), set(tokens["web"])
        other = next(row for row in rows if row not in mine)
        return UnionRows(b"".join(sorted([*(row for row in rows if row != other), hash_to_group(RUN, "FALSE")])))

    clean = Wire()
    unite(THREE, wire=clean)
    tokens = {s: cut(m.points) for s, _, m in clean.sent if isinstance(m, FinishedTokens)}
    with pytest.raises(RemoteProtocolError, match="other common tokens"):
        unite(THREE, wire=Wire(tamper))


def test_a_list_that_fills_no_bucket_and_reserved_names_are_refused() -> None:
    made = flows(THREE)
    made["web"] = flows(THREE, limits=dataclasses.replace(LIMITS, bucket=0))["web"]
    with pytest.raises(RemoteProtocolError, match="web: commits to 2 entities, which fill no agreed bucket of 4"):
        run_local(made)
    for name in ("~PAD.00", "~ROW.00"):
        with pytest.raises(IdentifierError, match="begins as padding does"):
            unite({**THREE, "web": [name]})


def test_rows_come_in_an_order_that_no_name_gives() -> None:
    orders = {tuple(o for o in unite(THREE, seed=seed)["sky"].ids if not is_foreign(o)) for seed in range(8)}
    assert len(orders) > 1
    assert any(any(a > b for a, b in pairwise(order)) for order in orders)
