"""An order of precedence: what a later member reads of rows that it does not hold, of whom it gives way to, and what
those before it read of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from psi import precedence
from psi.flow import Flow, Send, receive, run_local
from psi.group import Randomness, Scalar, hash_block, join_points, split_points
from psi.messages import PrecedenceAnswered, PrecedenceAsked, PrecedenceHeld
from psi.precedence import Precedence, PrecedenceTerms, take_precedence
from tests.psi.rig import RUN, Seeded, Wire, cut

ROWS = 120
SETS = {
    "a": {row for row in range(ROWS) if row % 3 == 0},
    "b": {row for row in range(ROWS) if row % 4 < 2},
    "c": {row for row in range(ROWS) if row % 5 < 2},
}
TAKEN = SETS["a"] | SETS["b"]
Bits = dict[str, dict[int, int]]


def curious(asked: Sequence[int], blind: Scalar) -> Flow[tuple[Bits, Bits]]:
    """The last member, which keeps to the protocol: each earlier one's bits as they came, and without their pad where
    it asked.
    """
    for name in "ab":
        yield Send(name, PrecedenceHeld(0, b"c" * 32, b""))
        yield from receive(name, PrecedenceHeld)
    points = hash_block(RUN, [str(row) for row in asked])
    raw: Bits = {}
    opened: Bits = {}
    for name in "ab":
        yield Send(name, PrecedenceAsked(join_points(blind.multiplier()(points))))
    for name in "ab":
        got = yield from receive(name, PrecedenceAnswered)
        bits = int.from_bytes(got.rows, "big")
        pads = map(precedence._pad, blind.inverse().multiplier()(split_points(got.points, len(asked), name)))
        raw[name] = {row: bits >> row & 1 for row in range(ROWS)}
        opened[name] = {row: raw[name][row] ^ pad for row, pad in zip(asked, pads, strict=True)}
        yield Send(name, PrecedenceHeld(1, b"c" * 32, b"s" * 32))
        yield from receive(name, PrecedenceHeld)
    return raw, opened


def honest(name: str, asked: int) -> Flow[Precedence]:
    terms = PrecedenceTerms(("a", "b", "c"), ROWS, {"a": ROWS, "b": ROWS, "c": asked})
    rows = [row in SETS[name] for row in range(ROWS)]
    return take_precedence(name, terms, rows, run=RUN, salt=name.encode() * 32, randomness=Seeded(name))


def read(asked: Sequence[int]) -> tuple[Bits, Bits]:
    last = curious(asked, Scalar.random(Seeded("c")))
    flows: dict[str, Flow[Any]] = {"a": honest("a", len(asked)), "b": honest("b", len(asked)), "c": last}
    found: tuple[Bits, Bits] = run_local(flows)["c"]
    return found


def share_right(bits: Bits, rows: set[int], right: set[int]) -> float:
    """How often the bits of all earlier members together are whether a row is among ``right``."""
    seen = [sum(one[row] for one in bits.values()) % 2 == (row in right) for row in rows]
    return sum(seen) / len(seen)


OWN, OTHERS = SETS["c"], set(range(ROWS)) - SETS["c"]


def test_it_reads_of_its_own_rows_who_is_before_it_and_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, opened = read(sorted(OWN))
    assert share_right(opened, OWN, TAKEN) == 1.0, "what it is to learn"
    assert 0.25 < share_right(raw, OTHERS, TAKEN) < 0.75
    monkeypatch.setattr(precedence, "_pad", lambda point: 0)
    raw, _ = read(sorted(OWN))
    assert share_right(raw, OTHERS, TAKEN) == 1.0, "without pads it reads every row of the run"


def test_it_does_not_read_which_member_is_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, opened = read(sorted(OWN))
    assert 0.25 < share_right({"a": opened["a"]}, OWN, SETS["a"]) < 0.75
    monkeypatch.setattr(precedence, "_mask", lambda *_: 0)
    _, opened = read(sorted(OWN))
    assert share_right({"a": opened["a"]}, OWN, SETS["a"]) == 1.0, "without masks it reads whom it gives way to"


class Unblinded(Scalar):
    """Defence switched off: a point is asked for as it is."""

    __slots__ = ()

    @classmethod
    def random(cls, randomness: Randomness) -> Scalar:
        return Scalar((1).to_bytes(32, "little"))


def test_those_before_it_do_not_recognise_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = {point: row for row, point in enumerate(hash_block(RUN, [str(row) for row in range(ROWS)]))}

    def known() -> set[int]:
        wire = Wire()
        run_local({name: honest(name, ROWS) for name in SETS}, relay=wire)
        asked = [cut(one.points) for sender, _, one in wire.sent if sender == "c" and isinstance(one, PrecedenceAsked)]
        assert [len(points) for points in asked] == [ROWS, ROWS]
        return {dictionary[point] for points in asked for point in points if point in dictionary}

    assert known() == set()
    monkeypatch.setattr(precedence, "Scalar", Unblinded)
    assert known() == OWN, "unblinded, a dictionary of all rows gives them"


def test_one_that_asks_for_rows_that_it_lacks_reads_as_many_as_the_agreed_points() -> None:
    asked = sorted(OTHERS)[: len(OWN)]
    raw, opened = read(asked)
    assert share_right(opened, set(asked), TAKEN) == 1.0, "a limit, said in docs/groups.md"
    assert 0.25 < share_right(raw, set(range(ROWS)) - set(asked), TAKEN) < 0.75


def test_one_before_it_that_claims_a_row_does_not_read_from_hashes_whether_it_has_that_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = range(0, ROWS, 7)

    def different() -> set[int]:
        """Claimed rows of which the later member's hashes, of rows that it holds and of those it serves, differ."""
        found = set()
        for row in tried:
            wire, terms = Wire(), PrecedenceTerms(("a", "c"), ROWS, {"a": ROWS, "c": ROWS})
            sets = {"a": {row}, "c": OWN}
            flows = {
                name: take_precedence(
                    name,
                    terms,
                    [one in held for one in range(ROWS)],
                    run=RUN,
                    salt=name.encode() * 32,
                    randomness=Seeded(name, row),
                )
                for name, held in sets.items()
            }
            run_local(flows, relay=wire)
            told = [one for sender, _, one in wire.sent if sender == "c" and isinstance(one, PrecedenceHeld)]
            found |= {row} if told[-1].held != told[-1].served else set()
        return found

    assert different() == set(tried), "they differ whatever it holds"
    made = precedence.rows_digest
    monkeypatch.setattr(precedence, "rows_digest", lambda run, me, salt, rows, _: made(run, me, salt, rows, "held"))
    assert different() == OWN & set(tried), "hashes of one kind tell it, a row in each attempt"
