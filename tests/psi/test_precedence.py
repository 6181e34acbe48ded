"""An order of precedence: each row is served once, by the first who has it, and whoever changes rows is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import LocalProtocolError, Message, RemoteProtocolError, run_local
from psi.messages import PrecedenceAnswered, PrecedenceAsked, PrecedenceHeld, PrecedenceSeed
from psi.precedence import Precedence, PrecedenceTerms, RowsTold, take_precedence
from tests.psi.rig import RUN, Seeded, Wire

NAMES = ("a", "b", "c", "d")


def play(
    sets: Mapping[str, set[int]],
    rows: int,
    *,
    before: Mapping[str, Precedence] | None = None,
    heard: dict[str, Mapping[str, RowsTold]] | None = None,
    wire: Wire | None = None,
    seed: object = 0,
    asked: int | None = None,
) -> dict[str, Precedence]:
    terms = PrecedenceTerms(tuple(sets), rows, dict.fromkeys(sets, rows if asked is None else asked))
    noted = {} if heard is None else heard
    flows = {
        name: take_precedence(
            name,
            terms,
            [row in held for row in range(rows)],
            run=RUN,
            salt=name.encode() * 32,
            randomness=Seeded(seed, name),
            served=before[name].served if before is not None and name in before else None,
            known=noted.get(name),
            heard=lambda told, _, name=name: noted.__setitem__(name, told),  # type: ignore[misc]
        )
        for name, held in sets.items()
    }
    return run_local(flows, relay=wire or Wire())


def served(found: Mapping[str, Precedence]) -> dict[str, set[int]]:
    return {name: {row for row, flag in enumerate(one.served) if flag} for name, one in found.items()}


@settings(max_examples=6, deadline=None)
@given(st.data(), st.integers(2, 4), st.integers(1, 17))
def test_each_row_is_served_by_the_first_member_that_has_it(data: Any, members: int, rows: int) -> None:
    sets = {name: data.draw(st.sets(st.integers(0, rows - 1))) for name in NAMES[:members]}
    found, taken = play(sets, rows), set[int]()
    for name, held in sets.items():
        assert served(found)[name] == held - taken
        taken |= held


SETS = {"a": {0, 1, 2}, "b": {2, 3}, "c": {1, 3, 4}, "d": {0, 5}}
RIGHT = {"a": {0, 1, 2}, "b": {3}, "c": {4}, "d": {5}}


def test_what_an_attempt_found_is_kept_and_another_finds_the_same() -> None:
    heard: dict[str, Mapping[str, RowsTold]] = {}
    first = play(SETS, 6, heard=heard)
    wire = Wire()
    again = play(SETS, 6, before=first, heard=heard, wire=wire, seed=1)
    assert served(again) == RIGHT
    assert {type(message) for _, _, message in wire.sent} == {PrecedenceHeld}, "nothing is asked a second time"
    lost = play(SETS, 6, before={name: first[name] for name in "abd"}, heard=heard, seed=2)
    assert served(lost) == RIGHT


@pytest.mark.parametrize("changed", [{3, 4}, {1, 3, 4, 5}])
def test_who_changes_its_rows_after_an_attempt_that_failed_is_named(changed: set[int]) -> None:
    heard: dict[str, Mapping[str, RowsTold]] = {}

    def breaks(sender: str, to: str, message: Message) -> Message:
        return replace(message, rows=b"") if isinstance(message, PrecedenceAnswered) and to == "d" else message

    with pytest.raises(RemoteProtocolError, match="answered for other rows than the 6 of the run"):
        play(SETS, 6, heard=heard, wire=Wire(breaks))
    heard["c"] = {}
    with pytest.raises(RemoteProtocolError, match="tells other rows than in an earlier attempt") as caught:
        play({**SETS, "c": changed}, 6, heard=heard)
    assert caught.value.peer == "c"


@pytest.mark.parametrize("row", [2, 5])
def test_an_answer_that_changes_between_attempts_tells_nothing_of_who_kept_what_it_serves(row: int) -> None:
    first = play(SETS, 6)

    def turns(sender: str, to: str, message: Message) -> Message:
        if isinstance(message, PrecedenceAnswered) and (sender, to) == ("a", "b"):
            return replace(message, rows=bytes([message.rows[0] ^ 1 << row]))
        return message

    again = play(SETS, 6, before={name: first[name] for name in "bcd"}, wire=Wire(turns))
    assert served(again) == RIGHT, "b holds row 2 and not row 5, and a sees no difference"


@pytest.mark.parametrize("row", [2, 5])
def test_of_who_lost_what_it_serves_a_changed_answer_tells_one_bit_an_attempt(row: int) -> None:
    heard: dict[str, Mapping[str, RowsTold]] = {}
    first = play(SETS, 6)
    heard |= {name: first[name].told for name in SETS}

    def turns(sender: str, to: str, message: Message) -> Message:
        if isinstance(message, PrecedenceAnswered) and (sender, to) == ("a", "b"):
            return replace(message, rows=bytes([message.rows[0] ^ 1 << row]))
        return message

    def again() -> dict[str, Precedence]:
        return play(SETS, 6, before={name: first[name] for name in "acd"}, heard=heard, wire=Wire(turns))

    if row in SETS["b"]:
        with pytest.raises(RemoteProtocolError, match="tells other rows than in an earlier attempt"):
            again()
    else:
        assert served(again()) == RIGHT


@pytest.mark.parametrize(
    ("kind", "with_", "said"),
    [
        (PrecedenceHeld, {"number": 1}, "at another place of the protocol"),
        (PrecedenceHeld, {"held": b"short"}, "in another form"),
        (PrecedenceSeed, {"seed": b"x"}, "sent a seed of 1 bytes, not 32"),
        (PrecedenceAsked, {"points": b"\0" * 192}, "sent the same point twice"),
        (PrecedenceAsked, {"points": bytes(range(192))}, "no canonical encoding|not a canonical encoding"),
        (PrecedenceAnswered, {"points": b""}, "points of 32 bytes were announced"),
        (PrecedenceAnswered, {"rows": b"\0\0"}, "answered for other rows than the 6"),
    ],
)
def test_what_a_member_makes_up_is_refused_by_name(kind: type[Message], with_: dict[str, Any], said: str) -> None:
    def change(sender: str, to: str, message: Message) -> Message:
        return replace(message, **with_) if isinstance(message, kind) and sender == "b" else message

    with pytest.raises(RemoteProtocolError, match=said) as caught:
        play(SETS, 6, wire=Wire(change))
    assert caught.value.peer == "b"


def test_a_party_that_holds_more_than_it_told_or_is_no_member_asks_nothing() -> None:
    with pytest.raises(LocalProtocolError, match="holds more rows than it may ask for"):
        play(SETS, 6, asked=2)
    with pytest.raises(ValueError, match="two members or more, each once"):
        PrecedenceTerms(("a", "a"), 1, {"a": 1})
