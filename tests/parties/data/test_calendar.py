from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

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
        ("B", date(2020, 1, 1), date(2020, 1, 3), "no fixed week"),
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


def test_the_first_period_starts_where_its_name_says() -> None:
    assert period_starts(calendar("Q", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-01-01", "ns")
    assert period_starts(calendar("Q-MAR", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-01-01", "ns")
    assert period_starts(calendar("M", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-02-01", "ns")
    assert period_starts(calendar("Y", date(2020, 2, 1), date(2020, 5, 1)))[0] == np.datetime64("2020-01-01", "ns")
    assert period_starts(calendar("W-FRI", date(2020, 7, 1), date(2020, 7, 10)))[0] == np.datetime64("2020-06-27", "ns")
