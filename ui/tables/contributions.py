"""Tables about contributions: data in, pandas frame out, ready to show."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from parties.client import RunShares
from ui.wording import COUNTED, MISSING, amount, correlation, percent, short_id, t_value

__all__ = ["shares_table", "valued_table"]


def valued_table(runs: Sequence[RunShares], party: str = "") -> pd.DataFrame:
    """One row per run, in the order given: the gain of all together, and one party's part where it is named."""
    rows = []
    for run in runs:
        known = run.v_everyone is not None and run.v_nobody is not None
        gain = (run.v_everyone or 0.0) - (run.v_nobody or 0.0) if known else None
        counted = COUNTED.get(run.method, run.method)
        row = [run.at, short_id(run.run_id), run.purpose or run.consortium, counted, run.n_periods, gain]
        if party:
            one = next(share for share in run.parties if share.party == party)
            row += [one.phi, one.t, 100 * one.share]
        rows.append([*row, amount(run.pot, run.unit, run.scale)])
    columns = ["Valued", "Run", "Purpose", "Counted", "Periods", "Gain of all"]
    columns += ["Shapley value", "t", "Share, %"] if party else []
    return pd.DataFrame(rows, columns=[*columns, "Pot"])


def shares_table(run: RunShares) -> pd.DataFrame:
    """One row per feature party, the largest contribution first."""
    rows = [
        (
            one.party,
            correlation(one.phi),
            t_value(one.t),
            MISSING if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}",
            correlation(one.plain),
            correlation(one.leave_one_out),
            correlation(one.standalone),
            percent(one.share),
            amount(one.reward, run.unit, run.scale),
        )
        for one in sorted(run.parties, key=lambda one: -one.phi)
    ]
    values = ["Shapley value", "t", "95 % interval", "Plain", "Leave one out", "Standalone"]
    return pd.DataFrame(rows, columns=["Party", *values, "Share", "Reward at close"])
