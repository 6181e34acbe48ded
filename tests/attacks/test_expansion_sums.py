"""Sums of a group's expansion: who tells members other counts, moments of too few rows, and what two runs tell of a
member.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares, linear_sum_assignment

from parties.node.run_thread import told_of
from psi.flow import Message, UnattributedError
from tests.vfl.federated.rig import COORDINATOR
from tests.vfl.federated.test_expansion import NAMES, ROWS, fitted, plan, rows_of
from vfl.federated import expansion
from vfl.federated.expansion import CELLS, ExpansionPlan, UnfitRows, counts_of, moments_of
from vfl.federated.messages import CountsAdded, CountsShare, SumIncluded, SumPart, SumStart, SumTotal
from vfl.federated.updates import RING

F64 = NDArray[np.float64]
BINS = plan(fourier=0, bins=4, outputs=5)


def telling_others_that_all_rows_are_alike(sender: str, to: str, message: Message) -> Message:
    """The member w tells whoever is not the victim e sums by which all rows fall into one bin, so that e's are what
    varies in the moments.
    """
    if not (isinstance(message, CountsAdded) and sender == "w" and to != "e"):
        return message
    honest = sum((counts_of(BINS, rows) for rows in ROWS.values()), np.zeros(BINS.counted))
    made = np.zeros((3, CELLS))
    made[:, -1] = honest[0]
    wanted = np.concatenate([honest[:1], made.reshape(-1)])
    told = RING.unpack(message.values, BINS.counted)
    return replace(message, values=RING.pack(RING.add(told, RING.encode(wanted - honest, 0))))


def test_a_member_that_tells_each_other_counts_reads_one_members_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Any:
        return
        yield

    edges = BINS.edges(sum((counts_of(BINS, rows) for rows in ROWS.values()), np.zeros(BINS.counted)))
    own = moments_of(BINS, ROWS["e"], edges)[:12].reshape(3, 4)[:, 1:3]
    at_w = moments_of(BINS, ROWS["w"], edges)[:12].reshape(3, 4)[:, 1:3]
    with monkeypatch.context() as patched:
        patched.setattr(expansion, "_compared", nothing)
        _, sent = fitted(BINS, change=telling_others_that_all_rows_are_alike)
    [opened] = {message.values for _, _, message in sent if isinstance(message, SumTotal)}
    read = RING.decode(RING.unpack(opened, BINS.moments), 24)[:12].reshape(3, 4)[:, 1:3]
    np.testing.assert_allclose(read - at_w, own, atol=1e-5)
    found, sent = fitted(BINS, change=telling_others_that_all_rows_are_alike)
    assert not any(isinstance(message, SumPart) for _, _, message in sent)
    assert isinstance(found["e"], UnattributedError)
    assert "added up other counts of the members' rows than e, so no moment is told" in str(found["e"])


WAVES = plan(fourier=20, bins=0, outputs=5)
FEW = {name: rows[:2] for name, rows in ROWS.items()}


def test_a_coordinator_has_no_word_in_whether_rows_suffice_for_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """It told everybody alike of a thousand rows, while it opened counts: the moments of eight rows gave all eight."""
    before, sent = fitted(WAVES)
    told = [message for sender, _, message in sent if sender == COORDINATOR]
    first = next(place for place, one in enumerate(sent) if isinstance(one[2], SumPart))
    assert {type(one) for sender, _, one in sent[:first] if sender == COORDINATOR} == {SumStart, SumIncluded}
    assert {len(one.values) for one in told if isinstance(one, SumTotal)} == {WAVES.moments * RING.width}
    assert not any(isinstance(one, CountsShare | CountsAdded) for _, to, one in sent if to == COORDINATOR)
    assert not isinstance(before["n"], Exception)
    for name, rows in FEW.items():
        monkeypatch.setitem(ROWS, name, rows)
    found, sent = fitted(WAVES)
    assert not any(isinstance(message, SumPart | CountsShare) for _, _, message in sent)
    for name in NAMES:
        assert isinstance(found[name], UnfitRows)
        assert "hold 2 different rows of 3 columns, and 230 sums" in str(found[name])
        assert "2" not in told_of(found[name]), "how many rows it has is not for others"


def test_a_member_that_makes_its_counts_up_has_no_moments_opened_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all rows together were counted, it told of a thousand more: 230 moments opened of eight rows."""
    for name in ("n", "s", "e"):
        monkeypatch.setitem(ROWS, name, FEW[name])

    def inflated(terms: ExpansionPlan, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return counts_of(terms, rows) + (992 if rows is ROWS["w"] else 0)

    monkeypatch.setattr(expansion, "counts_of", inflated)
    found, sent = fitted(WAVES)
    assert isinstance(found["e"], UnfitRows)
    assert not any(isinstance(message, SumPart) for _, _, message in sent)
    monkeypatch.setattr(ExpansionPlan, "check_own", lambda *_: None)
    _, sent = fitted(WAVES)
    assert any(isinstance(message, SumPart) for _, _, message in sent), "without the check they open"


def solved(terms: ExpansionPlan, rows: F64, known: int) -> float:
    """Median error, in deviations, of rows (n, 3) that whoever has moments of them and the first ``known`` solves for.

    From six starts by least squares; frequencies are drawn by a hash that everybody knows.
    """
    none, upper = np.zeros((3, 0)), np.triu_indices(terms.shape.fourier)
    opened = np.rint(np.ldexp(moments_of(terms, rows, none), 24)) * 2.0**-24
    draw, best, found = np.random.default_rng(1), np.inf, rows

    def missed(flat: F64) -> F64:
        return moments_of(terms, np.vstack([rows[:known], flat.reshape(-1, 3)]), none) - opened

    def slopes(flat: F64) -> F64:
        at = flat.reshape(-1, 3)
        waves = terms.features(at, none)
        steps = [terms.features(at + step, none) - terms.features(at - step, none) for step in np.eye(3) * 1e-5]
        moved = np.stack(steps, axis=2) / 2e-5
        pairs = moved[:, upper[0]] * waves[:, upper[1], None] + waves[:, upper[0], None] * moved[:, upper[1]]
        both: F64 = np.concatenate([moved, pairs], axis=1)
        return both.transpose(1, 0, 2).reshape(len(opened), -1)

    for _ in range(6):
        start = draw.normal(size=rows[known:].size)
        tried = least_squares(missed, start, jac=slopes, max_nfev=150, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        if tried.cost < best:
            best, found = tried.cost, tried.x.reshape(-1, 3)
        if best < 1e-12:
            break
    gaps = np.sqrt(((found[:, None] - rows[None, known:]) ** 2).mean(axis=2))
    return float(np.median(gaps[linear_sum_assignment(gaps)]))


def test_rows_of_as_many_values_as_moments_are_solved_for_and_of_four_times_as_many_not() -> None:
    """Attack by an honest coordinator, or a member that knows all other rows: it was stopped below one value a moment
    of all rows together, and each member now by its own, whatever others know.
    """
    terms, rows = plan(fourier=12, bins=0, outputs=2), np.random.default_rng(0).normal(size=(120, 3))
    assert solved(terms, rows[:30], 0) < 0.1
    with pytest.raises(UnfitRows, match="hold 119 different rows"):
        terms.check_own(rows[1:])
    terms.check_own(rows)
    assert solved(terms, np.vstack([rows_of(9, 30), rows]), 30) > 0.2


def test_of_a_members_counts_others_see_uniform_shares() -> None:
    _, sent = fitted(WAVES)
    seen = [RING.unpack(one.values, 1)[0] for sender, _, one in sent if sender == "e" and isinstance(one, CountsShare)]
    assert len(seen) == len(set(seen)) == 3
    assert min(seen) > 1 << 40, "three numbers of 63 bits, where the count is 320"


def test_two_runs_of_which_one_has_a_member_more_show_its_counts_and_not_its_features() -> None:
    def opened(terms: ExpansionPlan, names: tuple[str, ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        counts = sum((counts_of(terms, ROWS[name]) for name in names), np.zeros(terms.counted))
        edges = terms.edges(counts)
        return counts, sum((moments_of(terms, ROWS[name], edges) for name in names), np.zeros(terms.moments))

    one, two = plan(), plan("00" * 32)
    with_, without = opened(one, NAMES), opened(two, NAMES[:3])
    np.testing.assert_array_equal(with_[0] - without[0], counts_of(one, ROWS["w"]))
    waves, _ = plan(bins=0), plan("00" * 32, bins=0)
    own = moments_of(waves, ROWS["w"], np.zeros((3, 0)))
    same = opened(waves, NAMES)[1] - opened(waves, NAMES[:3])[1]
    np.testing.assert_allclose(same, own, atol=1e-9)
    other = opened(waves, NAMES)[1] - opened(plan("00" * 32, bins=0), NAMES[:3])[1]
    assert np.abs(other - own).max() > 10
