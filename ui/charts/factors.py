"""A factor's charts: data in, Altair chart out. Bands are 95 % intervals; gaps in the data stay gaps."""

from __future__ import annotations

import re
from collections.abc import Sequence

import altair as alt
import pandas as pd

from parties.client import ChartView, NumberView
from ui.charts.periods import crosshair, period_axis
from ui.charts.runs import COLOURS

__all__ = ["HEIGHT", "factor_chart"]

HEIGHT = 260
_AXIS_LABELS = 8
_FEW_NAMES = 16
_NARROW, _BAR = 3, 90
_POINTS = 40


def factor_chart(chart: ChartView, mean: NumberView | None = None) -> alt.LayerChart:
    """One chart of the battery. ``mean`` is drawn as a dashed level in a band chart, with its interval."""
    names = _names(chart)
    frame = pd.DataFrame({"i": range(len(names)), "x": names, "y": list(chart.series.y)})
    if chart.series.low:
        frame["low"], frame["high"] = list(chart.series.low), list(chart.series.high)
    x, y = _x(chart), _y(chart)
    zero = alt.Chart(pd.DataFrame({"y": [0.0]})).mark_rule(color=COLOURS["grey"], opacity=0.7).encode(y="y:Q")
    layers = [zero]
    tips = [
        alt.Tooltip("x:N", title=_x_title(chart)),
        alt.Tooltip("y:Q", format="+.4f" if chart.series.unit == "correlation" else ".4~g", title=chart.series.unit),
    ]
    base = alt.Chart(frame).encode(x=x, y=y, tooltip=tips)
    if chart.kind in ("bar", "band"):
        few = chart.kind == "bar" and len(frame) <= _NARROW  # as wide as its share, a bar alone is a wall
        layers.append(base.mark_bar(color=COLOURS["blue"], size=_BAR if few else alt.Undefined))
    elif chart.kind == "area":
        layers.append(base.mark_area(color=COLOURS["red"], opacity=0.3, clip=True, line={"color": COLOURS["red"]}))
    else:
        points = {"color": COLOURS["blue"], "clip": False} if len(frame) <= _POINTS else False
        layers.append(base.mark_line(color=COLOURS["blue"], strokeWidth=2, point=points, clip=True))
    layers += _bounds(chart, frame, x, mean)
    if chart.kind in ("line", "area"):
        layers.append(crosshair(alt.Chart(frame).encode(x=x), tips))
    return alt.LayerChart(layer=layers, height=HEIGHT)


def _bounds(chart: ChartView, frame: pd.DataFrame, x: alt.X, mean: NumberView | None) -> list[alt.Chart]:
    """The interval: one band for a mean over all periods, whiskers at bars, a ribbon along a line."""
    layers = []
    if chart.kind == "band" and "low" in frame and len(frame):
        whole = pd.DataFrame({"low": [frame["low"].iloc[0]], "high": [frame["high"].iloc[0]]})
        band = alt.Chart(whole).mark_rect(color=COLOURS["orange"], opacity=0.3)
        layers.append(band.encode(y="low:Q", y2="high:Q"))
    elif "low" in frame:
        bounds = alt.Chart(frame).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
        drawn = bounds.mark_rule(color=COLOURS["orange"], strokeWidth=2)
        layers.append(drawn if chart.kind == "bar" else bounds.mark_area(color=COLOURS["blue"], opacity=0.15))
    if chart.kind == "band" and mean is not None and mean.value is not None:
        level = alt.Chart(pd.DataFrame({"y": [mean.value]}))
        layers.append(level.mark_rule(color=COLOURS["orange"], strokeWidth=2, strokeDash=[5, 3]).encode(y="y:Q"))
    return layers


def _names(chart: ChartView) -> list[str]:
    """Where the chart's values lie; a thousand millions and more as billions."""
    if chart.key != "capacity":
        return list(chart.series.x)
    return [re.sub(r"^(\d+),000m$", r"\1bn", name) for name in chart.series.x]


def _x_title(chart: ChartView) -> str:
    known = {"decay": "delay, periods", "quantiles": "quantile of the score", "capacity": "capital"}
    return known.get(chart.key, "" if chart.kind == "bar" else "period")


def _x(chart: ChartView) -> alt.X:
    names = _names(chart)
    title = _x_title(chart) or None
    if chart.kind == "bar" and len(names) <= _FEW_NAMES:
        return alt.X("x:N", sort=names, title=title, axis=alt.Axis(labelAngle=0, labelLimit=110))
    if chart.kind in ("line", "area"):
        return period_axis(names, title)
    step = max(1, -(-len(names) // _AXIS_LABELS))
    return alt.X("x:O", sort=names, title=title, axis=alt.Axis(values=_thinned(names, step), labelAngle=0))


def _thinned(names: Sequence[str], step: int) -> list[str]:
    return list(names[::step])


def _y(chart: ChartView) -> alt.Y:
    return alt.Y("y:Q", title=chart.series.unit, axis=alt.Axis(titleLimit=HEIGHT, tickCount=6))
