from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parties.data.calendar import calendar_of, calendar_terms, period_index, period_starts
from parties.errors import ConfigError
from parties.settings.consortium import CalendarSettings
from vfl.factors.panel import Calendar


def calendar(frequency: str, first: date, last: date, lag: int = 0) -> Calendar:
    return calendar_of(
        calendar_terms(CalendarSettings(frequency=frequency, first=first, last=last, decision_lag_days=lag))
    )


@pytest.mark.parametrize(
    ("frequency", "names", "end"),
    [
        ("Q", ("2020Q3", "2020Q4"), datetime(2020, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("M", ("2020-07", "2020-08", "2020-09", "2020-10"), datetime(2020, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("Y", ("2020",), datetime(2020, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_periods_are_named_and_end_with_their_last_day(frequency: str, names: tuple[str, ...], end: datetime) -> None:
    terms = calendar_terms(CalendarSettings(frequency=frequency, first=date(2020, 7, 3), last=date(2020, 10, 2)))
    assert terms.periods == names
    assert terms.period_ends[-1] == end
    assert terms.cutoffs == terms.period_ends


def test_a_week_is_named_by_its_end_and_a_day_by_itself() -> None:
    assert calendar("W-FRI", date(2020, 6, 29), date(2020, 7, 10)).periods == ("2020-07-03", "2020-07-10")
    assert calendar("D", date(2020, 6, 30), date(2020, 7, 1)).periods == ("2020-06-30", "2020-07-01")


def test_the_cutoff_is_the_end_of_a_day_after_the_lag() -> None:
    made = calendar("Q", date(2020, 1, 1), date(2020, 6, 30), lag=15)
    assert (
        made.cutoffs.tolist()
        == np.array(["2020-04-15T23:59:59.999999", "2020-07-15T23:59:59.999999"], dtype="datetime64[ns]").tolist()
    )
    assert made.ends.dtype == made.cutoffs.dtype == np.dtype("datetime64[ns]")


@pytest.mark.parametrize(
    ("frequency", "first", "last", "message"),
    [
        ("fortnight", date(2020, 1, 1), date(2020, 6, 30), "unknown frequency 'fortnight'"),
        ("h", date(2020, 1, 1), date(2020, 1, 3), "finer than a day"),
        ("C", date(2020, 1, 1), date(2020, 1, 3), "unknown frequency 'C'; use .* B for Monday to Friday"),
        ("B", date(2020, 1, 4), date(2020, 1, 5), "B has no day from 2020-01-04 to 2020-01-05"),
        ("XNYS", date(2024, 3, 29), date(2024, 3, 31), "XNYS has no day from 2024-03-29"),
        ("XXXX", date(2020, 1, 1), date(2020, 1, 3), "unknown frequency 'XXXX'; use .* XNYS or XLON"),
        ("XHKG", date(1950, 1, 1), date(1960, 1, 3), "XHKG's sessions .* only recorded back to the year 1960"),
        ("Q", date(2020, 6, 1), date(2020, 1, 1), "is before first"),
    ],
)
def test_a_wrong_calendar_is_one_sentence(frequency: str, first: date, last: date, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        calendar(frequency, first, last)


@pytest.mark.parametrize("frequency", ["Q", "Q-MAR", "M", "Y", "W-FRI", "W-SUN", "D", "2W-FRI"])
def test_every_day_falls_in_the_period_pandas_says(frequency: str) -> None:
    made = calendar(frequency, date(2020, 2, 15), date(2021, 3, 1))
    days = np.arange("2020-01-01", "2021-12-31", dtype="datetime64[D]").astype("datetime64[ns]")
    starts = period_starts(made)
    expected = np.full(len(days), -1)
    for index, (start, end) in enumerate(zip(starts, made.ends, strict=True)):
        expected[(days >= start) & (days <= end)] = index
    assert (period_index(made, days) == expected).all()
    assert (starts[1:] > made.ends[:-1]).all()
    assert (np.bincount(expected[expected >= 0]) > 0).all()


def test_business_days_and_sessions_have_no_weekends_and_no_holidays() -> None:
    week = calendar("B", date(2024, 3, 27), date(2024, 4, 2))
    assert week.periods == ("2024-03-27", "2024-03-28", "2024-03-29", "2024-04-01", "2024-04-02")
    new_york = calendar("XNYS", date(2024, 3, 27), date(2024, 4, 2))
    assert new_york.periods == ("2024-03-27", "2024-03-28", "2024-04-01", "2024-04-02"), "Good Friday"
    assert calendar("XLON", date(2024, 3, 27), date(2024, 4, 2)).periods == ("2024-03-27", "2024-03-28", "2024-04-02")
    assert new_york.ends.tolist() == new_york.cutoffs.tolist()
    assert calendar("XNYS", date(2024, 3, 28), date(2024, 3, 28)).periods == ("2024-03-28",)


def test_a_day_between_sessions_belongs_to_the_one_that_follows() -> None:
    made = calendar("XNYS", date(2024, 3, 27), date(2024, 4, 2))
    days = np.arange("2024-03-26", "2024-04-04", dtype="datetime64[D]").astype("datetime64[ns]")
    assert period_index(made, days).tolist() == [-1, 0, 1, 2, 2, 2, 2, 3, -1]


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 500))
@settings(max_examples=60, deadline=None)
def test_business_days_are_numpys(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    every = np.arange(first, last + timedelta(days=1), dtype="datetime64[D]")
    expected = every[np.is_busday(every)]
    assume(len(expected))
    made = calendar("B", first, last)
    assert [np.datetime64(name) for name in made.periods] == expected.tolist()
    assert (period_index(made, expected.astype("datetime64[ns]")) == np.arange(len(expected))).all()


def test_the_first_period_starts_where_its_name_says() -> None:
    assert period_starts(calendar("Q", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-01-01", "ns")
    assert period_starts(calendar("Q-MAR", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-01-01", "ns")
    assert period_starts(calendar("M", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-02-01", "ns")
    assert period_starts(calendar("Y", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-01-01", "ns")
    assert period_starts(calendar("W-FRI", date(2020, 7, 1), date(2020, 7, 10)))[0] == np.datetime64("2020-06-27", "ns")
