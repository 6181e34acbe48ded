"""Terminals that a party makes of its columns at home: point in time, of 8 bits, each once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from parties.agreement.terms import PartyTerms
from parties.data.panel import feature_panel_of
from parties.data.query import Observations
from parties.data.terminals import cross_sectional_ranks, kept_terminals, terminals_of
from parties.errors import ConfigError
from parties.settings.consortium import PartySettings
from parties.settings.terminals import TerminalSettings
from vfl.factors.panel import Calendar

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


def test_a_kept_terminal_is_a_column_of_a_later_run_and_its_name_stays_at_home() -> None:
    terms = TerminalSettings(windows=(3, 6), keep=("change of x over 3 periods", "y"))
    made = terminals_of(raw(), ("x", "y"), terms, 100)
    kept = kept_terminals(raw(), ("x", "y"), terms)
    for place, name in enumerate(terms.keep):
        there = np.isfinite(kept[:, :, place])
        assert (np.rint(kept[:, :, place] * 127)[there] == made.ranks[:, :, made.names.index(name)][there]).all()
        assert not there.all()
    party = PartySettings(
        name="a", role="feature", query="a.sql", columns=("x", "y"), terminals=terms, missing_indicators=("y",)
    )
    assert party.output_columns == ("x", "y", "term_0", "term_1", "y_missing")
    assert "chosen by labels" in party.expansion_declared
    assert "change" not in party.expansion_declared
    signed = PartyTerms(
        name="a", role="feature", address="h:1", identity_key="00", certificate_sha256="00",
        columns=party.output_columns, expansion=party.expansion_declared,
    )  # fmt: skip
    assert [signed.makes(column) for column in signed.columns] == [False, False, True, True, False]
    with pytest.raises(ConfigError, match="do not make: copy it from entente run screen"):
        kept_terminals(raw(), ("x", "y"), TerminalSettings(keep=("mean of z over 3 periods",)))


def test_a_panel_has_the_kept_columns_standardised() -> None:
    terms = TerminalSettings(windows=(3,), keep=("mean of x over 3 periods",))
    party = PartySettings(
        name="a", role="feature", query="a.sql", columns=("x", "y"), terminals=terms, whiten=False, winsorise=0
    )
    names = [f"CO{i}" for i in range(ENTITIES)]
    days = pd.date_range("2020-01-31", periods=PERIODS, freq="ME").to_numpy().astype("datetime64[ns]")
    shape = PERIODS * ENTITIES
    period = np.repeat(days, ENTITIES)
    observed = Observations(
        "a", np.array(names * PERIODS, dtype=object), period, period, ("x", "y"), raw().reshape(shape, 2)
    )
    panel = feature_panel_of(
        party, observed, observed.entity, Calendar(tuple(map(str, range(PERIODS))), days, days), names
    )
    assert panel.columns == ("x", "y", "term_0")
    wanted = kept_terminals(raw(), ("x", "y"), terms)[:, :, 0]
    last = np.isfinite(wanted[-1])
    np.testing.assert_allclose(np.corrcoef(panel.values[-1, last, 2], wanted[-1, last])[0, 1], 1.0, rtol=1e-9)
