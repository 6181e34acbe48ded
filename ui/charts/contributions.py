"""Contributions drawn: across runs, within a run, and by every way of counting. Parties differ in colour and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from parties.client import BandPoint, PartyShare, RunShares
from ui.charts.runs import COLOURS

__all__ = ["WAYS", "party_scales", "runs_chart", "settling_chart", "share_chart", "ways_chart"]

WAYS: Mapping[str, str] = {
    "phi": "conditioned (paid)",
    "plain": "plain",
    "leave_one_out": "leave one out",
    "standalone": "standalone",
}
_HEIGHT = 300
_ROW = 34
_AXIS = 90
_WHEEL = ("blue", "orange", "green", "pink", "sky", "red", "yellow", "grey")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_LABELS = 8
_TICKS = 6
_FEW = 8  # runs that stand side by side, each party in its own place


def party_scales(parties: Sequence[str]) -> tuple[alt.Scale, alt.Scale]:
    """Colours and shapes of parties: by name, so that a party looks the same in every chart of a page."""
    names = sorted(parties)
    colours = [COLOURS[_WHEEL[i % len(_WHEEL)]] for i in range(len(names))]
    return alt.Scale(domain=names, range=colours), alt.Scale(
        domain=names, range=[_SHAPES[i % len(_SHAPES)] for i in range(len(names))]
    )


def runs_chart(runs: Sequence[RunShares], parties: Sequence[str], party: str = "") -> alt.LayerChart:
    """Shapley values of each run with their intervals, by the time it was valued; of one party where it is named."""
    rows = [
        {"at": run.at, "run": run.run_id[:12], "party": one.party, "phi": one.phi, "low": one.low, "high": one.high}
        for run in sorted(runs, key=lambda run: run.at)
        for one in run.parties
        if party in ("", one.party)
    ]
    frame = pd.DataFrame(rows, columns=["at", "run", "party", "phi", "low", "high"])
    colour, shape = party_scales(parties)
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1)
    base = alt.Chart(frame).encode(
        color=alt.Color("party:N", scale=colour, legend=legend),
        tooltip=["run:N", "party:N", "at:T", *_values("phi", "low", "high")],
    )
    y = alt.Y("phi:Q", title="Shapley value (rank IC)")
    if len(runs) <= _FEW:
        order = list(dict.fromkeys(frame["run"]))
        axis = alt.Axis(labelAngle=0)
        base = base.encode(x=alt.X("run:N", sort=order, title="run", axis=axis), xOffset=alt.XOffset("party:N"))
    else:
        base = base.encode(x=alt.X("at:T", title="valued"))
    layers = [_zero(), base.mark_rule(strokeWidth=2, opacity=0.9).encode(y=alt.Y("low:Q"), y2="high:Q")]
    if len(runs) > _FEW:
        layers.append(base.mark_line(strokeWidth=1.5, opacity=0.9).encode(y=y))
    points = base.mark_point(filled=True, size=70, opacity=1)
    layers.append(points.encode(y=y, shape=alt.Shape("party:N", scale=shape, legend=legend)))
    return alt.LayerChart(layer=layers, height=_HEIGHT)


def settling_chart(over_time: Sequence[tuple[str, Sequence[BandPoint]]], parties: Sequence[str]) -> alt.LayerChart:
    """How each party's mean contribution settled over the run's periods, with its 95 % interval."""
    rows = [
        {"period": point.period, "party": party, "mean": point.mean, "low": point.low, "high": point.high}
        for party, points in over_time
        for point in points
    ]
    frame = pd.DataFrame(rows, columns=["period", "party", "mean", "low", "high"])
    names = list(dict.fromkeys(frame["period"]))
    step = max(1, -(-len(names) // _LABELS))
    colour, _ = party_scales(parties)
    x = alt.X("period:O", sort=names, title="periods counted up to", axis=alt.Axis(values=names[::step], labelAngle=0))
    base = alt.Chart(frame).encode(
        x=x,
        color=alt.Color("party:N", scale=colour, legend=alt.Legend(orient="top", title=None, symbolOpacity=1)),
        tooltip=["period:O", "party:N", *_values("mean", "low", "high")],
    )
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=alt.Y("mean:Q", title="mean so far (rank IC)"))
    return alt.LayerChart(layer=[_zero(), band, line], height=_HEIGHT)


def ways_chart(shares: Sequence[PartyShare]) -> alt.LayerChart:
    """Each party by every way of counting: only the first is paid. Intervals where the report gives them."""
    rows = []
    for one in shares:
        for key, title in WAYS.items():
            value = getattr(one, key)
            if value is None:
                continue
            low, high = (one.low, one.high) if key == "phi" else _plain_band(one) if key == "plain" else (None, None)
            rows.append({"party": one.party, "way": title, "value": value, "low": low, "high": high})
    frame = pd.DataFrame(rows, columns=["party", "way", "value", "low", "high"])
    ways = list(WAYS.values())
    colours = alt.Scale(domain=ways, range=[COLOURS[c] for c in ("blue", "orange", "green", "pink")])
    shapes = alt.Scale(domain=ways, range=["circle", "square", "triangle-up", "diamond"])
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, columns=2)  # four in one line are cut at 1280 pixels
    order = [one.party for one in sorted(shares, key=lambda one: -one.phi)]
    base = alt.Chart(frame).encode(
        y=alt.Y("party:N", sort=order, title=None),
        yOffset=alt.YOffset("way:N", sort=ways),
        color=alt.Color("way:N", scale=colours, legend=legend),
        tooltip=["party:N", "way:N", *_values("value", "low", "high")],
    )
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=COLOURS["grey"]).encode(x="value:Q")
    whiskers = base.mark_rule(strokeWidth=2, opacity=0.9).encode(x=alt.X("low:Q"), x2="high:Q")
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=alt.X("value:Q", title="rank IC", axis=alt.Axis(tickCount=_TICKS)),
        shape=alt.Shape("way:N", scale=shapes, legend=legend),
    )
    return alt.LayerChart(layer=[zero, whiskers, points], height=2 * _ROW * max(1, len(shares)) + _AXIS)


def share_chart(shares: Sequence[PartyShare]) -> alt.LayerChart:
    """Part of the pot that each party gets, largest first."""
    rows = [{"party": o.party, "share": 100 * o.share, "text": f"{100 * o.share:.1f} %"} for o in shares]
    frame = pd.DataFrame(rows, columns=["party", "share", "text"])
    order = [one.party for one in sorted(shares, key=lambda one: -one.share)]
    base = alt.Chart(frame).encode(y=alt.Y("party:N", sort=order, title=None))
    top, every = alt.Scale(domain=[0, 115], nice=False), alt.Axis(values=list(range(0, 101, 20)))
    bars = base.mark_bar(color=COLOURS["green"], height=18, cornerRadius=2).encode(
        x=alt.X("share:Q", title="% of the pot", scale=top, axis=every),
        tooltip=["party:N", alt.Tooltip("text:N", title="share")],
    )
    labels = base.mark_text(align="left", dx=6, color=COLOURS["grey"]).encode(x="share:Q", text="text:N")
    return alt.LayerChart(layer=[bars, labels], height=_ROW * max(1, len(shares)) + _AXIS)


def _plain_band(one: PartyShare) -> tuple[float | None, float | None]:
    if one.plain is None or one.plain_standard_error is None:
        return None, None
    reach = 1.96 * one.plain_standard_error
    return one.plain - reach, one.plain + reach


def _values(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", format="+.4f") for name in names]


def _zero() -> alt.Chart:
    level: alt.Chart = (
        alt.Chart(pd.DataFrame({"y": [0.0]})).mark_rule(color=COLOURS["grey"], opacity=0.7).encode(y="y:Q")
    )
    return level
