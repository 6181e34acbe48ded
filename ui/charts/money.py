"""Money drawn: what each party has, final beside pending. Colour and position both say which is which."""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt
import pandas as pd

from parties.client import AccountView
from ui.charts.periods import thousands_axis
from ui.charts.runs import COLOURS
from ui.money import KINDS, in_order, whole
from ui.wording import amount

__all__ = ["balances_chart"]

_PARTS = ["final", "pending"]
_ROW = 28
_AXIS = 90


def balances_chart(accounts: Iterable[AccountView], mark: str) -> alt.LayerChart:
    """Stakes and rewards by party in whole units, in the table's order: a dark bar is final, a pale one pending.

    What is zero has no bar. ``mark``: between thousands, as the pages have it.
    """
    rows = []
    chosen = [account for account in in_order(accounts, zero=False) if account.party]
    for account in chosen:
        for place, (part, minor) in enumerate(zip(_PARTS, (account.posted, account.pending), strict=True)):
            rows.append(
                {
                    "party": account.party,
                    "row": f"{account.party} · {KINDS[account.kind].lower()}",
                    "part": part,
                    "place": place,
                    "amount": whole(minor, account.scale),
                    "text": amount(minor, account.unit, account.scale),
                }
            )
    frame = pd.DataFrame(rows, columns=["party", "row", "part", "place", "amount", "text"])
    units = sorted({account.unit for account in chosen})
    base = alt.Chart(frame).encode(
        y=alt.Y("row:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
        tooltip=["row:N", "part:N", alt.Tooltip("text:N", title="amount")],
    )
    bars = base.mark_bar(cornerRadius=2).encode(
        x=alt.X("amount:Q", title=", ".join(units), axis=thousands_axis(mark)),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=_PARTS, range=[COLOURS["blue"], COLOURS["sky"]]),
            legend=alt.Legend(orient="top", title=None),
        ),
        order=alt.Order("place:Q"),
    )
    return alt.LayerChart(layer=[bars], height=_ROW * max(1, len(chosen)) + _AXIS)
