"""Splits by date: nothing of the training set is known later than the embargo allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfl.factors.splits import walk_forward_dates

DAY = np.timedelta64(1, "D")
DATES = np.datetime64("2020-01-03", "ns") + np.arange(60) * np.timedelta64(7, "D")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 60), st.integers(0, 30))
def test_no_training_label_reaches_into_the_embargo(n_splits, test_dates, horizon, embargo):
    ends = DATES + horizon * DAY
    tested = np.zeros(len(DATES), dtype=int)
    for train, test in walk_forward_dates(DATES, ends, n_splits=n_splits, test_dates=test_dates, embargo=embargo * DAY):
        first = DATES[test].min()
        np.testing.assert_array_equal(train, (first > DATES) & (ends + embargo * DAY <= first))
        assert test.sum() == test_dates
        tested += test
    assert tested.max() == 1
    assert tested[-n_splits * test_dates :].all()


def test_what_cannot_be_split_is_refused():
    def split(dates=DATES, ends=DATES + DAY, n_splits=2, embargo=0 * DAY):
        return list(walk_forward_dates(dates, ends, n_splits=n_splits, test_dates=5, embargo=embargo))

    assert len(split()) == 2
    with pytest.raises(ValueError, match="split unique dates, not rows"):
        split(dates=np.repeat(DATES[:30], 2))
    with pytest.raises(ValueError, match="ends no later than its date"):
        split(ends=DATES)
    with pytest.raises(ValueError, match="too many folds"):
        split(n_splits=12)
    with pytest.raises(ValueError, match="no date to train on"):
        split(embargo=np.timedelta64(900, "D"))
