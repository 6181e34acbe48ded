"""A new run's dates are those of the run that settled last: what its members' data are known to cover."""

from __future__ import annotations

from datetime import date

from parties.coordinator.desk.templates import Before, templates

TODAY = date(2026, 11, 29)


def test_dates_follow_the_last_settled_run_and_are_called_a_guess_without_one() -> None:
    calendar = {"frequency": "W-FRI", "first": "2024-01-05", "last": "2024-12-27", "decision_lag_days": 1}
    for made in templates({}, "", TODAY, Before("ab" * 32, calendar, 60)):
        assert made.terms["calendar"] == calendar
        assert made.entities == 60
        assert "run abababababab, which settled" in made.words
    for made in templates({}, "", TODAY):
        assert made.terms["calendar"]["last"] == "2026-11-27"
        assert "a guess" in made.words
