"""Tables that set runs side by side: data in, pandas frame out, ready to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from parties.client import ComparisonView
from ui.form_fields import FIELDS
from ui.wording import MISSING, amount, correlation, count, duration, instant, percent, short_id, t_value

__all__ = ["differences_table", "numbers_table", "terms_table", "titles"]

_NUMBERS: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "ic_joint": ("Rank IC, joint", correlation),
    "t_joint": ("its t", t_value),
    "ic_own": ("Rank IC, label party alone", correlation),
    "uplift": ("Uplift of joining", correlation),
    "t_uplift": ("its t", t_value),
    "n_periods": ("Periods out of sample", count),
    "rank_ic_ir": ("ICIR per period", t_value),
    "turnover": ("Turnover, capital per period", lambda value: MISSING if value is None else f"{value:.2f}"),
    "sharpe": ("Sharpe per period, after costs", lambda value: MISSING if value is None else f"{value:.2f}"),
    "deflated_sharpe": ("Deflated Sharpe", percent),
}

_TERMS: Mapping[str, str] = {one.path: one.label for one in FIELDS if not one.elsewhere}
"""What a form calls a term, where that is the same whatever the model."""


def titles(found: ComparisonView) -> list[str]:
    """A name for each run that tells them apart."""
    names = [run.factor_id or run.summary.purpose or run.summary.consortium for run in found.runs]
    return [
        name[:40] if names.count(name) == 1 else f"{name[:40]} · {short_id(run.summary.run_id)}"
        for name, run in zip(names, found.runs, strict=True)
    ]


def _frame(found: ComparisonView, rows: list[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["Number", *titles(found)])


def numbers_table(found: ComparisonView) -> pd.DataFrame:
    """One row per number that a run has, one column per run."""
    summaries = [run.summary for run in found.runs]
    rows = [
        ("Status", *(one.status for one in summaries)),
        ("Proposed", *(instant(one.proposed_at) for one in summaries)),
    ]
    for key, (title, words) in _NUMBERS.items():
        if any(key in run.numbers for run in found.runs):
            rows.append((title, *(words(run.numbers.get(key)) for run in found.runs)))
    rows.append(("Common entities", *(count(one.n_common) for one in summaries)))
    took = [(one.ended_at - one.proposed_at).total_seconds() if one.ended_at else None for one in summaries]
    rows.append(("Took", *map(duration, took)))
    rows.append(("Pot", *(amount(one.pot, one.unit, one.scale) for one in summaries)))
    return _frame(found, rows)


def differences_table(found: ComparisonView) -> pd.DataFrame:
    """One row per run but the first: by how much its rank IC exceeds the first's, and how alike the scores are."""
    rows = [
        (
            name,
            correlation(one.mean),
            t_value(one.t),
            MISSING if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}",
            one.n_periods,
            correlation(one.likeness),
            one.dates or None,
        )
        for name, one in zip(titles(found)[1:], found.differences, strict=True)
    ]
    columns = ["Run", "Rank IC less the first's", "t", "95 % interval", "Periods", "Scores' rank correlation", "Dates"]
    return pd.DataFrame(rows, columns=columns)


def terms_table(found: ComparisonView) -> pd.DataFrame:
    """One row per term in which the agreements differ, by what the form of a new run calls it where it has a field."""
    return pd.DataFrame(
        [(_TERMS.get(row.name, row.name), *row.values) for row in found.terms], columns=["Term", *titles(found)]
    )
