"""A label party that tells the anchor, which counts, of other rows than a feature party, whose features are opened; and
one that values the same row over and over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Message, RemoteProtocolError
from tests.vfl.models.sealed import test_coalition_values as valuing
from tests.vfl.models.sealed.rig import Consortium, columns
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed import anchor as anchor_module
from vfl.models.sealed import valuation as valuation_module
from vfl.models.sealed.coalitions import Valued, ValuedRows, pieces_of
from vfl.models.sealed.messages import SealedStep
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

ROWS, SAME = 60, np.arange(20)
STEPS = [Step(number, "predict", 1, np.arange(20) + 20 * number) for number in range(3)]


def two_stories(**options: Any) -> Consortium:
    """The anchor hears of three sets of rows, "b" of one; each prediction shows another of b's columns."""

    def tamper(sender: str, receiver: str, got: Message) -> Message:
        if isinstance(got, SealedStep) and receiver == "b":
            return replace(got, rows=SAME.astype("<u4").tobytes())
        return got

    features = {name: columns(ROWS, 3, name) for name in "ab"}
    made = Consortium(features, columns(ROWS, 0, "own"), SealedModel(width=1, start=1e-9), tamper=tamper, **options)
    given = made.label_side

    def side(**kept: Any) -> Any:
        found = given(**kept)
        predict = found.predict

        def chosen(step: Step) -> Flow[NDArray[np.float64]]:
            for block in found.blocks.values():
                block.weight[:] = 0
            found.blocks["b"].weight[step.number, 0] = PRIME_RING.wrap(np.array([1 << WEIGHT_BITS]))[0]
            return predict(step)  # type: ignore[no-any-return]

        found.predict = chosen
        return found

    made.label_side = side  # type: ignore[method-assign]
    return made


def test_told_of_other_rows_than_the_anchor_counts_a_party_would_open_one_row_three_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The defence out, at one score a row over all runs: all three columns of the same rows, 17 bits each."""
    monkeypatch.setattr(anchor_module, "check_told", lambda *_: None)
    made = two_stories(limit=1)
    made.run(STEPS, np.zeros(ROWS))
    for number, found in made.scores.items():
        assert np.abs(found * 2**12 - made.features["b"][SAME, number]).max() <= 2


def test_rows_that_differ_between_anchor_and_party_end_the_run_by_name_before_anything_opens() -> None:
    made = two_stories(limit=1)
    with pytest.raises(RemoteProtocolError, match=r"^label: announced one thing to the anchor and another to 'b'"):
        made.run(STEPS[1:], np.zeros(ROWS))
    assert not made.scores
    assert not [h for h in made.heard if h.kind == "sealed.scores"]


@pytest.mark.parametrize("change", [{"train": True}, {"known": 7}, {"rows": SAME[::-1].astype("<u4").tobytes()}])
def test_all_of_an_announcement_must_be_the_same(change: dict[str, Any]) -> None:
    def tamper(sender: str, receiver: str, got: Message) -> Message:
        return replace(got, **change) if isinstance(got, SealedStep) and receiver == "b" else got

    made = two_stories()
    made.tamper = tamper
    with pytest.raises(RemoteProtocolError, match=r"^label: (announced one thing|says that)"):
        made.run([replace(STEPS[0], known=5)], np.zeros(ROWS))


def told_apart(made: Consortium) -> None:
    def tamper(sender: str, receiver: str, got: Message) -> Message:
        if isinstance(got, ValuedRows) and receiver == "b":
            rows = np.frombuffer(got.rows, dtype="<u4").copy()
            first = got.counts[0]
            rows[:first] = rows[:first][::-1]
            return replace(got, rows=rows.tobytes())
        return got

    made.tamper = tamper


def test_rows_to_value_are_announced_alike_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made = valuing.trained("ab", 1, "a")
    told_apart(made)
    with monkeypatch.context() as patch:
        patch.setattr(valuation_module, "check_told", lambda *_: None)
        valuing.value(made)  # the defence out: nobody notices
    with pytest.raises(RemoteProtocolError, match=r"^label: announced one thing to the anchor"):
        valuing.value(made)


def announced(rows: NDArray[np.int64], periods: tuple[int, ...], counts: tuple[int, ...]) -> ValuedRows:
    return ValuedRows(0, periods, (1,) * len(periods), counts, rows.astype("<u4").tobytes())


@pytest.mark.parametrize(
    "rows",
    [
        announced(np.repeat(5, 10), (1,) * 10, (1,) * 10),
        announced(np.r_[0:10, 0:10], (1, 2), (10, 10)),
        announced(np.r_[0:5, 0:5], (1, 1), (5, 5)),
    ],
    ids=["one row as a period of ten", "rows in two periods", "five rows as ten"],
)
def test_a_row_enters_one_period_once(rows: ValuedRows) -> None:
    """Else one row, in pieces of one, would be a period of ten, and the same rows as many periods as were agreed."""
    scored = {1: np.arange(30)}
    with pytest.raises(RemoteProtocolError, match=r"^label: wants to value a row twice"):
        pieces_of(rows, scored, Valued(), "label")


def test_nor_does_it_in_a_later_announcement() -> None:
    scored, valued = {1: np.arange(30)}, Valued()
    assert len(pieces_of(announced(np.arange(10), (1,), (10,)), scored, valued, "label")) == 1
    with pytest.raises(RemoteProtocolError, match=r"^label: wants to value a row twice"):
        pieces_of(announced(np.arange(9, 19), (2,), (10,)), scored, valued, "label")
    assert len(pieces_of(announced(np.arange(10, 20), (2,), (10,)), scored, valued, "label")) == 1
