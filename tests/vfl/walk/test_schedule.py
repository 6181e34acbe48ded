"""The prequential schedule: nothing before its time, nothing beyond the budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vfl.terms import SplitModel, WalkForward
from vfl.walk.schedule import PREDICT_ROWS, Step, prequential, warm_up_rows


@dataclass(frozen=True)
class Case:
    terms: SplitModel
    walk: WalkForward
    known_from: NDArray[np.int64]
    label: NDArray[np.float64]
    universe: NDArray[np.bool_]
    row_limit: int
    reserved: int

    def steps(self) -> list[Step]:
        return list(
            prequential(
                self.terms, self.walk, self.known_from, self.label, self.universe, self.row_limit, self.reserved
            )
        )

    def may_train(self, row: int, period: int) -> bool:
        """Written out a second time, entity by entity."""
        n = self.label.shape[1]
        q, entity = divmod(row, n)
        known = int(self.known_from[q, entity]) <= period
        purged = period - q >= max(1, self.walk.horizon + self.walk.embargo)
        return known and purged and bool(self.universe[q, entity]) and not np.isnan(self.label[q, entity])

    def ready(self, period: int) -> bool:
        n = self.label.shape[1]
        resolved = {row // n for row in range(self.label.size) if self.may_train(row, period)}
        return len(resolved) >= self.walk.warmup


@st.composite
def cases(draw: st.DrawFn) -> Case:
    periods, entities = draw(st.integers(2, 12)), draw(st.integers(1, 7))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (periods, entities)
    lag = generator.integers(0, draw(st.integers(1, 4)), shape)
    label = np.where(generator.random(shape) < 0.8, generator.normal(size=shape), np.nan)
    reserved = draw(st.integers(0, 3))
    return Case(
        SplitModel(
            epochs=draw(st.integers(1, 4)),
            warmup_epochs=draw(st.integers(1, 6)),
            batch_rows=draw(st.integers(1, 9)),
            seed=draw(st.integers(0, 5)),
            warm_start=draw(st.sampled_from(["none", "ridge"])),
        ),
        WalkForward(horizon=draw(st.integers(0, 2)), embargo=draw(st.integers(0, 2)), warmup=draw(st.integers(1, 4))),
        np.minimum(np.arange(periods)[:, None] + lag, periods).astype(np.int64),
        label,
        generator.random(shape) < 0.9,
        draw(st.integers(reserved + 2, reserved + 6)),
        reserved,
    )


@settings(max_examples=150, deadline=None)
@given(cases())
def test_schedule_keeps_time_and_budget(case: Case) -> None:
    periods, n = case.label.shape
    ready = [p for p in range(periods) if case.ready(p)]
    if not ready:
        with pytest.raises(ValueError, match="no period can be predicted"):
            case.steps()
        return
    steps = case.steps()
    start = ready[0]
    assert [s.number for s in steps] == list(range(len(steps)))
    assert [s.period for s in steps] == sorted(s.period for s in steps)
    predicted: Counter[int] = Counter()
    trained: Counter[int] = Counter()
    for step in steps:
        rows = step.rows.tolist()
        assert step.rows.dtype == np.int64
        assert 0 < len(set(rows)) == len(rows)
        if step.kind == "predict":
            assert all(row // n == step.period for row in rows)
            assert len(rows) <= PREDICT_ROWS
            predicted.update(rows)
        else:
            assert all(case.may_train(row, step.period) for row in rows)
            assert all(row in predicted for row in rows if row >= start * n)
            assert len(rows) <= case.terms.batch_rows
            trained.update(rows)

    def passes(row: int) -> int:
        return case.terms.warmup_epochs if case.may_train(row, start) else case.terms.epochs

    due = {p * n + e for p in range(start, periods) for e in range(n) if case.universe[p, e]}
    assert predicted == Counter(dict.fromkeys(due, 1))
    assert all(times <= passes(row) for row, times in trained.items())
    warm = {row for row in range(case.label.size) if case.may_train(row, start)}
    assert set(warm_up_rows(case.walk, case.known_from, case.label, case.universe).tolist()) == warm
    assert not warm & due
    entered = warm if case.terms.warm_start == "ridge" else set()
    for row in range(case.label.size):
        assert predicted[row] * (1 + case.reserved) + trained[row] + (row in entered) <= case.row_limit
    last_chance = periods - case.terms.epochs
    for row in range(case.label.size):
        if case.may_train(row, max(start, last_chance)):
            room = case.row_limit - (1 + case.reserved if row in due else int(row in entered))
            assert trained[row] == min(passes(row), room)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_rows_resolve_into_training_before_the_next_prediction(case: Case) -> None:
    if not any(case.ready(p) for p in range(len(case.label))):
        return
    seen: set[int] = set()
    for step in case.steps():
        if step.kind == "train":
            seen.update(step.rows.tolist())
        else:
            assert seen == {row for row in range(case.label.size) if case.may_train(row, step.period)}


def test_same_seed_same_schedule_other_seed_other_order() -> None:
    shape = (6, 20)
    label = np.ones(shape)
    known = np.repeat(np.arange(1, 7)[:, None], 20, axis=1)
    universe = np.ones(shape, dtype=bool)

    def rows(seed: int) -> list[list[int]]:
        terms = SplitModel(epochs=2, batch_rows=8, seed=seed)
        steps = prequential(terms, WalkForward(warmup=2), known, label, universe, 6, 3)
        return [step.rows.tolist() for step in steps]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_late_epochs_are_mixed_with_newer_periods() -> None:
    shape = (8, 10)
    known = np.repeat(np.arange(1, 9)[:, None], 10, axis=1)
    everything = (np.ones(shape), np.ones(shape, dtype=bool))
    steps = prequential(
        SplitModel(epochs=2, warmup_epochs=2, batch_rows=100), WalkForward(warmup=2), known, *everything, 6, 3
    )
    spans = [sorted(set((s.rows // 10).tolist())) for s in steps if s.kind == "train"]
    assert spans == [[0, 1], [0, 1], [2], [2, 3], [3, 4], [4, 5], [5, 6]]


def test_refusals_name_the_remedy() -> None:
    shape = (5, 3)
    known = np.repeat(np.arange(1, 6)[:, None], 3, axis=1)
    everything = (np.ones(shape), np.ones(shape, dtype=bool))
    with pytest.raises(ValueError, match=r"leaves no opening to train on.*limit_per_row"):
        list(prequential(SplitModel(), WalkForward(warmup=1), known, *everything, 4, 3))
    with pytest.raises(ValueError, match=r"lower walk_forward\.warmup"):
        list(prequential(SplitModel(), WalkForward(warmup=5), known, *everything, 9, 3))
    with pytest.raises(ValueError, match="one shape"):
        list(prequential(SplitModel(), WalkForward(warmup=1), known[:4], *everything, 9, 3))


def test_rows_fewer_than_the_smallest_batch_wait_for_those_of_the_next_period() -> None:
    """Six rows a period and steps of ten: every second period trains twelve, each row still once."""
    known = np.repeat(np.arange(1, 13)[:, None], 6, axis=1)
    everything = (np.zeros((12, 6)), np.ones((12, 6), dtype=bool))
    terms = SplitModel(epochs=1, batch_rows=20, smallest_batch=10)
    steps = [s for s in prequential(terms, WalkForward(warmup=2), known, *everything, 6, 3) if s.kind == "train"]
    assert {len(s.rows) for s in steps} == {12}
    trained = np.concatenate([s.rows for s in steps])
    assert len(trained) == len(np.unique(trained)) == 60
    with pytest.raises(ValueError, match=r"raise model.batch_rows to 22"):
        SplitModel(batch_rows=20, smallest_batch=11)
