"""Purged and embargoed walk-forward splits by date, for whoever fits a model on a factor at home.

purgedcv's splitters cut by row; a panel has many rows per date, and a date cut in two tells the training set the
market of its own test. So dates are split, and the reader expands them to rows: ``train[period_of_row]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from purgedcv import WalkForwardSplit

__all__ = ["walk_forward_dates"]

Times = NDArray[np.datetime64]
Flags = NDArray[np.bool_]


def walk_forward_dates(
    dates: Times, label_ends: Times, *, n_splits: int, test_dates: int, embargo: np.timedelta64
) -> Iterator[tuple[Flags, Flags]]:
    """Pairs of bool (T,): dates to train on and dates to test on, the tests tiling the end of the history.

    dates: rising and unique, (T,). label_ends: when each date's label is over. A date is trained on only where its
    label is over at least ``embargo`` before the first test date. Raises ValueError on dates that do not rise, labels
    that do not end after their date, too many splits, or a split with nothing to train on.
    """
    if len(dates) != len(label_ends) or (np.diff(dates) <= np.timedelta64(0)).any():
        raise ValueError("dates must rise and each needs the end of its label: split unique dates, not rows")
    # purgedcv takes a label without extent to overlap nothing, and would not purge it
    if (label_ends <= dates).any():
        raise ValueError("a label ends no later than its date: give the end of the window it covers")
    splitter = WalkForwardSplit(
        n_splits,
        test_dates,
        prediction_times=pd.Series(dates),
        evaluation_times=pd.Series(label_ends),
        purge_horizon=pd.Timedelta(embargo),
    )
    for train, test in splitter.split(np.zeros((len(dates), 1))):
        if not len(train):
            raise ValueError("a split has no date to train on: fewer splits, shorter tests or a shorter embargo")
        flags = [np.zeros(len(dates), dtype=bool) for _ in range(2)]
        for flag, chosen in zip(flags, (train, test), strict=True):
            flag[chosen] = True
        yield flags[0], flags[1]
