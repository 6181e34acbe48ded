"""Terminals that a party makes of its columns at home: point in time, of 8 bits, each once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from parties.data.terminals import cross_sectional_ranks, terminals_of
from parties.settings.terminals import TerminalSettings

PERIODS, ENTITIES = 14, 9
TERMS = TerminalSettings(windows=(3, 6))


def raw(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(PERIODS, ENTITIES, 2)).cumsum(axis=0)
    values[4, 2, 0] = values[9:, 5, 1] = np.nan
    return values


def test_nothing_of_a_later_period_enters_an_earlier_one() -> None:
    now, later = raw(), raw()
    later[8:] = raw(1)[8:] * 50
    before, after = (terminals_of(values, ("x", "y"), TERMS, 100) for values in (now, later))
    assert before.names == after.names
    assert (before.ranks[:8] == after.ranks[:8]).all()
    assert (before.ranks[8:] != after.ranks[8:]).any()


def test_every_operator_is_what_its_words_say() -> None:
    made = terminals_of(raw(), ("x", "y"), TERMS, 100)
    assert len(set(made.names)) == len(made.names) == made.ranks.shape[2] == 2 + 2 * 2 * 7
    assert np.abs(made.ranks).max() == 127
    at = {name: made.ranks[:, :, place] for place, name in enumerate(made.names)}
    x = pd.DataFrame(raw()[:, :, 0])
    for words, values in {
        "x": x,
        "change of x over 3 periods": x - x.shift(3),
        "mean of x over 6 periods": x.rolling(6, min_periods=3).mean(),
        "z-score of x against its last 6 periods": (x - x.rolling(6, min_periods=3).mean())
        / x.rolling(6, min_periods=3).std(),
        "ratio of x to its mean over 3 periods": x / x.rolling(3, min_periods=2).mean(),
    }.items():
        assert (at[words] == cross_sectional_ranks(values.to_numpy())).all(), words


def test_missing_constant_and_infinite_values_rank_as_nothing() -> None:
    ranks = cross_sectional_ranks(np.array([[1.0, np.nan, 3.0, np.inf], [2.0, 2.0, 2.0, 2.0], [np.nan] * 4]))
    assert ranks[0].tolist() == [-127, 0, 127, 0]
    assert not ranks[1:].any()


def test_a_column_twice_or_constant_is_one_terminal_and_the_most_is_kept_to() -> None:
    twice = np.concatenate([raw()[:, :, :1], 3 * raw()[:, :, :1] + 1, np.ones((PERIODS, ENTITIES, 1))], axis=2)
    made = terminals_of(twice, ("x", "again", "flat"), TerminalSettings(windows=(3,), operators=("difference",)), 5)
    assert made.names == ("x", "change of x over 3 periods")
    few = terminals_of(raw(), ("x", "y"), TERMS, 3)
    assert few.names[:2] == ("x", "y")
    assert few.left_out > 0


def test_a_window_of_one_period_looks_back_over_nothing() -> None:
    with pytest.raises(ValueError, match="2 to 520"):
        TerminalSettings(windows=(1,))
