"""The rank ICs of several runs in one chart."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from parties.client import SeriesPoint
from ui.charts.periods import crosshair, period_axis
from ui.charts.runs import COLOURS
from ui.charts.thinned_series import bucketed, running_sum

__all__ = ["compared_chart"]

_WHEEL = ("blue", "orange", "green", "pink", "red")
_DASHES = ([1, 0], [5, 3], [2, 2], [8, 3, 2, 3], [1, 3])
_HEIGHT, _LINE = 290, 16
_LONG = 22  # characters of a name, of which two do not fit beside each other


def compared_chart(lines: Sequence[tuple[str, Sequence[SeriesPoint]]], summed: bool) -> alt.LayerChart:
    """One line per run, by colour and dash; ``summed``: the running sum in place of each period's own."""
    shape = running_sum if summed else bucketed
    drawn = {name: shape(series, lambda point: point.ic_joint) for name, series in lines}
    periods = sorted({period for line in drawn.values() for period, _ in line})
    place = {period: i for i, period in enumerate(periods)}
    # a name may hold what Vega-Lite reads as a path, so columns are numbered and named in the legend
    names = list(drawn)
    rows = [
        {"i": place[period], "period": period, "run": name, "line": f"run{k}", "value": value}
        for k, name in enumerate(names)
        for period, value in drawn[name]
    ]
    frame = pd.DataFrame(rows, columns=["i", "period", "run", "line", "value"])
    base = alt.Chart(frame).encode(x=period_axis(periods))
    columns = 1 if max(map(len, names), default=0) > _LONG else 2
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, labelLimit=260, columns=columns)
    colours = alt.Scale(domain=names, range=[COLOURS[colour] for colour in _WHEEL[: len(names)]])
    dashes = alt.Scale(domain=names, range=[list(dash) for dash in _DASHES[: len(names)]])
    title = "cumulative rank IC" if summed else "rank IC"
    line = base.mark_line(strokeWidth=2, opacity=0.9, clip=True).encode(
        y=alt.Y("value:Q", title=title),
        color=alt.Color("run:N", scale=colours, legend=legend),
        strokeDash=alt.StrokeDash("run:N", scale=dashes, legend=legend),
    )
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=COLOURS["grey"]).encode(y="value:Q")
    tips = [alt.Tooltip("period:N")]
    tips += [alt.Tooltip(f"run{k}:Q", format="+.3f", title=name) for k, name in enumerate(names) if drawn[name]]
    return alt.LayerChart(
        layer=[zero, line, crosshair(base, tips, series="line")], height=_HEIGHT + _LINE * -(-len(names) // columns)
    )
