"""Rows out of a screen's sums: solved for by a label party that keeps to the protocol, read by one that does not."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.data.terminals import Terminals, cross_sectional_ranks
from parties.node.screen_feature import ScreenFeatureParty
from psi.flow import Flow, LocalProtocolError, run_local
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.screen.feature import ScreenFeature
from vfl.models.screen.label import Screened, ScreenLabel
from vfl.models.screen.messages import ScreenMembers
from vfl.models.screen.numbers import LABEL_TOP, Window, label_integers
from vfl.models.screen.room import check_room, new_bits
from vfl.models.screen.twin import screened_in_the_clear
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
ENTITIES = 40


def ranks(periods: int, columns: int, seed: int) -> I64:
    draw = np.random.default_rng(seed)
    return np.stack([cross_sectional_ranks(draw.normal(size=(periods, ENTITIES))) for _ in range(columns)], axis=2)


def labels_of(periods: int) -> I64:
    drawn = np.random.default_rng(9).normal(size=(periods, ENTITIES))
    return label_integers(drawn, np.isfinite(drawn))


def screened(terminals: dict[str, I64], side: type[ScreenLabel], labels: I64, own: I64) -> Screened:
    members = ScreenMembers("l", tuple(terminals), len(labels), ENTITIES, 60, own.shape[2] > 0)

    def label() -> Flow[Screened]:
        made = side(members, labels, own, LabelKeys(coefficient_key(), slot_key()))
        found = yield from made.screen()
        yield from made.tell(dict.fromkeys(terminals, b"{}"))
        return found

    parts: dict[str, Flow[Any]] = {
        name: ScreenFeature(name, members, made, SecretStream(os.urandom(32))).serve()
        for name, made in terminals.items()
    }
    found: Screened = run_local({"l": label(), **parts})["l"]
    return found


def solved(equations: F64, sums: F64) -> F64:
    """Ranks from sums by least squares: equations (k, n) and sums (k,), those left out aside."""
    there = np.isfinite(sums)
    found: F64 = np.rint(np.linalg.lstsq(equations[there] / LABEL_TOP, sums[there] / LABEL_TOP, rcond=None)[0])
    return found


def test_an_honest_label_party_with_as_many_terminals_as_rows_solves_for_every_row() -> None:
    """Attack: it keeps to the protocol, and knows by what the hidden ranks were multiplied."""
    labels, own, hidden = labels_of(1), ranks(1, ENTITIES + 4, 1), ranks(1, 1, 2)
    found = screened({"a": hidden}, ScreenLabel, labels, own)
    equations = np.vstack([labels[0], labels[0] * own[0].T]).astype(np.float64)
    assert (solved(equations, np.r_[found.alone["a"][0], found.own["a"][0, 0]]) == hidden[0, :, 0]).mean() > 0.95
    with pytest.raises(LocalProtocolError, match="the label party could solve for their values"):
        check_room(hidden, own.shape[2], 0)


def test_a_column_that_never_changes_is_solved_for_over_the_periods() -> None:
    """Attack: a label party without columns, one sum a period; 48 of them are a line of one column's 40 values."""
    labels, hidden = labels_of(48), np.repeat(ranks(1, 1, 3), 48, axis=0)
    found = screened({"a": hidden}, ScreenLabel, labels, np.zeros((48, ENTITIES, 0), np.int64))
    assert (solved(labels.astype(np.float64), found.alone["a"][:, 0]) == hidden[0, :, 0]).mean() > 0.95
    with pytest.raises(LocalProtocolError, match="too little is new in 1 of this party's 1 terminals"):
        check_room(hidden, 0, 0)
    check_room(ranks(48, 1, 3), 0, 0)


def test_a_column_that_comes_back_is_solved_for_as_one_that_never_changes() -> None:
    """Attack: of two sets of values that take turns, each is in half of the periods' sums."""
    labels, hidden = labels_of(96), np.tile(ranks(2, 1, 3), (48, 1, 1))
    found = screened({"a": hidden}, ScreenLabel, labels, np.zeros((96, ENTITIES, 0), np.int64))
    for turn in range(2):
        read = solved(labels[turn::2].astype(np.float64), found.alone["a"][turn::2, 0])
        assert (read == hidden[turn, :, 0]).mean() > 0.95
    irregular = ranks(2, 1, 3)[np.random.default_rng(4).integers(0, 2, size=96)]
    for column in (hidden, irregular):
        with pytest.raises(LocalProtocolError, match="too little is new in 1 of this party's 1 terminals"):
            check_room(column, 0, 0)


def test_rows_drawn_for_those_that_a_party_lacks_hide_no_column_that_never_changes() -> None:
    """Attack, under a public list: half of the rows are drawn anew each period, and average out over the sums."""
    labels, own, there = labels_of(500), ranks(500, 2, 1), np.arange(ENTITIES) < 20
    drawn = np.random.default_rng(2).integers(-127, 128, size=(500, ENTITIES, 1))
    made = np.where(there[:, None], np.repeat(ranks(1, 1, 3), 500, axis=0), drawn)
    found = screened_in_the_clear(labels, {"a": made}, own)
    factors = np.concatenate([labels[None], labels * np.moveaxis(own, 2, 0)])[:, :, there].reshape(-1, 20)
    sums = np.r_[found.alone["a"][:, 0], found.own["a"][:, 0, 0], found.own["a"][:, 0, 1]]
    assert np.abs(solved(factors.astype(np.float64), sums) - made[0, there, 0]).mean() < 12, "of -127 to 127"
    brought = Terminals(("x",), made, 0, np.tile(there, (500, 1)))
    check_room(brought.ranks, 2, 0)
    with pytest.raises(LocalProtocolError, match="too little is new in 1 of this party's 1 terminals"):
        check_room(brought.held, 2, 0)


class Packing(ScreenLabel):
    """A label party that cheats: no label at all, and in the place of its shares of each pair three rows."""

    def _multiplied(self, name: str) -> Flow[NDArray[np.uint64]]:
        shares = yield from super()._multiplied(name)
        unit = 1 << Window(ENTITIES, 2).drop
        made = PRIME_RING.signed(shares)
        for number in range(made.shape[2]):
            for place in range(3):
                made[0, 3 * number + place, number] += unit << (8 * place)
        return PRIME_RING.wrap(made)


def test_a_label_party_that_cheats_reads_three_rows_a_number_and_each_number_others() -> None:
    """A declared limit: 24 bits a number hold three ranks, and every terminal of another party is one more choice."""
    first, hidden, nothing = ranks(1, 6, 4), ranks(1, 2, 5), np.zeros((1, ENTITIES), np.int64)
    found = screened({"a": first, "b": hidden}, Packing, nothing, np.zeros((1, ENTITIES, 0), np.int64))
    sums = np.rint(found.pairs["a", "b"][0] / (1 << Window(ENTITIES, 2).drop)).astype(np.int64)
    read = np.zeros((18, 2), np.int64)
    for place in range(3):
        digit = (sums + 128) % 256 - 128
        read[place::3], sums = digit, (sums - digit) // 256
    off = np.abs(read - hidden[0, :18])
    assert (off <= 1).mean() > 0.9, "18 rows of 40, by six terminals of another party, in one period"


def test_a_label_party_that_reads_rows_over_periods_tells_drawn_ones() -> None:
    """A declared limit: in the place of its label it puts two rows, weighed apart, and one of them does not go on."""
    periods, covered, absent, unit = 8, 3, 7, 1 << Window(ENTITIES, 1).drop
    moves = np.cumsum(np.random.default_rng(5).normal(size=(periods, ENTITIES)), axis=0)
    hidden = cross_sectional_ranks(10 * np.arange(ENTITIES) + moves)[:, :, None]
    hidden[:, absent] = np.random.default_rng(6).integers(-127, 128, size=(periods, 1))
    labels = np.zeros((periods, ENTITIES), np.int64)
    labels[:, covered], labels[:, absent] = unit, unit << 8
    found = screened({"a": hidden}, ScreenLabel, labels, np.zeros((periods, ENTITIES, 0), np.int64))
    sums = np.rint(found.alone["a"][:, 0] / unit).astype(np.int64)
    goes_on = (sums + 128) % 256 - 128
    drawn = (sums - goes_on) // 256
    steps = [np.abs(np.diff(read)).mean() for read in (goes_on, drawn)]
    assert steps[0] < 5, "a rank that moves little"
    assert steps[1] > 30, "and one that is another in each period"


def test_a_node_refuses_before_it_counts_and_says_how_many_at_home_alone(caplog: pytest.LogCaptureFixture) -> None:
    charged: list[str] = []
    party = ScreenFeatureParty.__new__(ScreenFeatureParty)
    terms: Any = SimpleNamespace(label=SimpleNamespace(party="l"), periods=("p",))
    budget: Any = SimpleNamespace(counts=np.zeros(ENTITIES), charge=lambda label, *_: charged.append(label))
    party.context, party.numbers = SimpleNamespace(agreement=terms, run_id="0" * 64), budget  # type: ignore[assignment]
    party._names = tuple(f"e{i}" for i in range(ENTITIES))
    made = ranks(1, 2, 6)
    told = []
    for own, others in ((12, 0), (0, 40)):
        with pytest.raises(LocalProtocolError, match=r"lower model\.terminals, or screen more entities") as refused:
            party._charge("train-1", made, own, others)
        told.append(str(refused.value))
    assert told[0] == told[1]
    assert "Leave columns that hardly change out of" in caplog.text
    assert "the other parties' 40 terminals make more sums" in caplog.text
    assert not charged
    party._charge("train-1", made, 1, 4)
    assert charged == ["numbers/train-1/screen/0"]
    budget.counts[:] = 3
    with pytest.raises(LocalProtocolError, match="would be more than this party's rows hide"):
        party._charge("train-1", made, 1, 4)
    assert "too little is new in 2" in caplog.text


def test_what_is_refused_sends_no_number_and_no_share() -> None:
    """Whoever is asked for more than it may open has said how many terminals it has, and no more."""
    members, sent = ScreenMembers("l", ("a", "b"), 1, ENTITIES, 60, own=False), list[str]()

    def refusing(*_: int) -> None:
        raise LocalProtocolError("more than rows hide")

    def keep(sender: str, _: str, said: Any) -> Any:
        sent.append(f"{sender} {type(said).__name__}")
        return said

    label = ScreenLabel(
        members, labels_of(1), np.zeros((1, ENTITIES, 0), np.int64), LabelKeys(coefficient_key(), slot_key())
    )
    parts: dict[str, Flow[Any]] = {
        name: ScreenFeature(name, members, ranks(1, 2, 1), SecretStream(os.urandom(32)), opening=refusing).serve()
        for name in "ab"
    }
    with pytest.raises(LocalProtocolError, match="more than rows hide"):
        run_local({"l": label.screen(), **parts}, relay=keep)
    assert {one for one in sent if one[0] in "ab"} <= {"a TerminalCount", "b TerminalCount"}


def test_new_bits_are_those_of_a_change_and_no_more_than_an_order_has() -> None:
    assert new_bits(ranks(30, 1, 7))[0] == pytest.approx(4.0 * ENTITIES, rel=0.1), "log2(40!) / 40 = 3.98"
    assert new_bits(np.repeat(ranks(1, 1, 7), 30, axis=0))[0] < 6.0
    flags = 127 * np.random.default_rng(8).integers(0, 2, size=(30, ENTITIES, 1))
    assert new_bits(flags)[0] == pytest.approx(ENTITIES, rel=0.05)
