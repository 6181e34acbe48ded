"""Charts: data in, Altair chart out. Nothing here knows of Streamlit.

The colours are Okabe and Ito's, which people with any common colour blindness tell apart; lines also differ in
dash and marks in shape, so that no meaning rests on colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import altair as alt
import pandas as pd

from parties.client import BytesView, ContributionView, OpeningsView, PhaseView, SeriesPoint
from ui.charts.periods import crosshair, period_axis
from ui.charts.thinned_series import bucketed, running_sum
from ui.message_words import message_words
from ui.wording import MISSING, PHASE_TITLES, correlation, data_size, duration

__all__ = [
    "COLOURS",
    "PAYLOAD_COLOURS",
    "bytes_chart",
    "cumulative_chart",
    "gain_chart",
    "ic_chart",
    "loss_chart",
    "openings_chart",
    "phase_chart",
    "shapley_chart",
]

COLOURS: Mapping[str, str] = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "sky": "#56B4E9",
    "pink": "#CC79A7",
    "yellow": "#F0E442",
    "grey": "#999999",
}

_JOINT, _ALONE = "joint factor", "label party alone"
_PHASE_COLOUR = alt.Scale(
    domain=["done", "running", "failed", "skipped", "waiting"],
    range=[COLOURS["green"], COLOURS["blue"], COLOURS["red"], COLOURS["grey"], COLOURS["grey"]],
)
PAYLOAD_COLOURS = {
    "ciphertext": "blue", "uniform share": "sky", "masked sum": "green", "blinded id": "orange", "commitment": "pink",
    "public metadata": "grey", "agreed result": "yellow",
}  # fmt: skip
# heights in pixels, axes and legend included
_HEIGHT = 320
_ROW = 34
_AXIS = 70
_LEGEND = 60
_TICKS = 6
_CLASSES = 2  # of payload in a line of the legend: more are cut on a phone
_FEW_POINTS = 40  # above, marks on a line hide it


def _layered(*layers: alt.Chart, height: int) -> alt.LayerChart:
    return alt.LayerChart(layer=list(layers), height=height)


def _ic_lines(
    series: Sequence[SeriesPoint], title: str, alone: str, *, cumulative: bool, marks: bool
) -> alt.LayerChart:
    picked: Mapping[str, Callable[[SeriesPoint], float | None]] = {
        _JOINT: lambda point: point.ic_joint,
        alone: lambda point: point.ic_own,
    }
    names = list(picked)
    shown = {name: (running_sum if cumulative else bucketed)(series, pick) for name, pick in picked.items()}
    named = {period for line in shown.values() for period, _ in line}
    periods = [point.period for point in series if point.period in named]
    place = {period: i for i, period in enumerate(periods)}
    rows = [
        {"i": place[at], "period": at, "model": name, "value": value}
        for name, line in shown.items()
        for at, value in line
    ]
    frame = pd.DataFrame(rows, columns=["i", "period", "model", "value"])
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1)
    base = alt.Chart(frame).encode(x=period_axis(periods))
    colour = alt.Scale(domain=names, range=[COLOURS["blue"], COLOURS["orange"]])
    lines = base.encode(y=alt.Y("value:Q", title=title), color=alt.Color("model:N", scale=colour, legend=legend))
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=COLOURS["grey"]).encode(y="value:Q")
    dash = alt.StrokeDash("model:N", scale=alt.Scale(domain=names, range=[[1, 0], [5, 3]]), legend=legend)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=names, range=["circle", "triangle-up"]), legend=legend)
    layers = [zero, lines.mark_line(strokeWidth=2, opacity=0.9, clip=True).encode(strokeDash=dash)]
    if marks and len(periods) <= _FEW_POINTS:
        layers.append(lines.mark_point(filled=True, size=40, opacity=1, clip=True).encode(shape=shape))
    tips = [alt.Tooltip("period:N"), *(alt.Tooltip(f"{name}:Q", format="+.3f") for name in shown if shown[name])]
    layers.append(crosshair(base, tips, series="model"))
    return _layered(*layers, height=_HEIGHT)


def ic_chart(series: Sequence[SeriesPoint], alone: str = _ALONE) -> alt.LayerChart:
    """Rank IC of each period, of the joint factor and of what ``alone`` names: the label party's own model."""
    return _ic_lines(series, "rank IC", alone, cumulative=False, marks=True)


def cumulative_chart(series: Sequence[SeriesPoint], alone: str = _ALONE) -> alt.LayerChart:
    """Running sum of the rank ICs: the gap between the lines is what joining has brought so far."""
    return _ic_lines(series, "cumulative rank IC", alone, cumulative=True, marks=False)


def loss_chart(series: Sequence[SeriesPoint]) -> alt.LayerChart:
    """Training loss at the end of each period (no unit)."""
    return _one_line(bucketed(series, lambda point: point.loss), "loss", "training loss", ".4f", zero=False)


def gain_chart(series: Sequence[SeriesPoint]) -> alt.LayerChart:
    """What the latest tree of each period's fit took off the squared residuals (share of the label's variance)."""
    return _one_line(bucketed(series, lambda point: point.gain), "gain", "gain of the latest tree", ".3%", zero=True)


def _one_line(points: Sequence[tuple[str, float]], name: str, title: str, words: str, *, zero: bool) -> alt.LayerChart:
    axis = alt.Axis(format=words.replace("3", "1")) if words.endswith("%") else alt.Undefined
    frame = pd.DataFrame([(i, *point) for i, point in enumerate(points)], columns=["i", "period", name])
    base = alt.Chart(frame).encode(x=period_axis([period for period, _ in points]))
    line = base.mark_line(color=COLOURS["blue"], strokeWidth=2, point=len(points) < _FEW_POINTS, clip=True).encode(
        y=alt.Y(f"{name}:Q", title=title, scale=alt.Scale(zero=zero), axis=axis)
    )
    tips = [alt.Tooltip("period:N"), alt.Tooltip(f"{name}:Q", format=words, title=title)]
    return _layered(line, crosshair(base, tips), height=_HEIGHT)


def phase_chart(phases: Sequence[PhaseView], now: datetime) -> alt.LayerChart:
    """When each phase began and ended, in seconds since the first began; one under way ends at ``now``."""
    begun = [p for p in phases if p.started_at is not None]
    origin = min((p.started_at for p in begun if p.started_at is not None), default=now)
    rows = []
    for phase in begun:
        assert phase.started_at is not None
        end = phase.ended_at or now
        start = (phase.started_at - origin).total_seconds()
        stop = max(start, (end - origin).total_seconds())
        title = PHASE_TITLES.get(phase.name, phase.name)
        took = duration(stop - start)
        rows.append({"phase": title, "start": start, "stop": stop, "status": phase.status, "took": took})
    frame = pd.DataFrame(rows, columns=["phase", "start", "stop", "status", "took"])
    order = [PHASE_TITLES.get(p.name, p.name) for p in begun]
    base = alt.Chart(frame).encode(y=alt.Y("phase:N", sort=order, title=None))
    bars = base.mark_bar(cornerRadius=3, height=16).encode(
        x=alt.X("start:Q", title="seconds since the run was proposed"),
        x2="stop:Q",
        color=alt.Color("status:N", scale=_PHASE_COLOUR, legend=None),
        tooltip=["phase:N", "status:N", alt.Tooltip("took:N", title="took")],
    )
    labels = base.mark_text(align="left", dx=6, color=COLOURS["grey"]).encode(x="stop:Q", text="took:N")
    return _layered(bars, labels, height=_ROW * max(1, len(begun)) + _AXIS)


def shapley_chart(contributions: Sequence[ContributionView]) -> alt.LayerChart:
    """Shapley values in rank IC, largest first, with 1.96 standard errors each side where these are known."""
    rows = []
    for view in sorted(contributions, key=lambda c: -c.shapley):
        error = 1.96 * (view.standard_error or 0.0)
        text = correlation(view.shapley) + (f" ± {error:.3f}" if error else "")
        low, high = view.shapley - error, view.shapley + error
        rows.append({"party": view.party, "shapley": view.shapley, "low": low, "high": high, "text": text})
    frame = pd.DataFrame(rows, columns=["party", "shapley", "low", "high", "text"])
    least, most = min([0.0, *frame["low"]]), max([0.0, *frame["high"]])
    room = alt.Scale(domain=[least, most + 0.3 * (most - least)]) if most > least else alt.Undefined
    base = alt.Chart(frame).encode(y=alt.Y("party:N", sort=[str(row["party"]) for row in rows], title=None))
    bars = base.mark_bar(color=COLOURS["blue"], height=18, cornerRadius=2).encode(
        x=alt.X("shapley:Q", title="Shapley value (rank IC)", scale=room, axis=alt.Axis(tickCount=_TICKS)),
        tooltip=["party:N", *(alt.Tooltip(f"{c}:Q", format="+.4f") for c in ("shapley", "low", "high"))],
    )
    errors = base.mark_rule(strokeWidth=2, color=COLOURS["orange"]).encode(x="low:Q", x2="high:Q")
    labels = base.mark_text(align="left", dx=6, color=COLOURS["grey"]).encode(x="high:Q", text="text:N")
    return _layered(bars, errors, labels, height=_ROW * max(1, len(rows)) + _AXIS)


def openings_chart(openings: Sequence[OpeningsView], what: str = "openings") -> alt.LayerChart:
    """Openings (``what``) of the most opened row at each feature party (bar) and the agreed limit (tick)."""
    rows = [(o.party, o.max_used, o.limit, f"{o.max_used} of {o.limit}") for o in openings]
    frame = pd.DataFrame(rows, columns=["party", "used", "limit", "text"])
    top = max((max(o.limit, o.max_used) for o in openings), default=1)
    room = alt.Scale(domain=[0, 1.2 * top], nice=False)
    base = alt.Chart(frame).encode(y=alt.Y("party:N", title=None))
    bars = base.mark_bar(color=COLOURS["sky"], height=18, cornerRadius=2).encode(
        x=alt.X("used:Q", title=f"{what} per row", scale=room, axis=alt.Axis(tickMinStep=1, tickCount=_TICKS)),
        tooltip=["party:N", alt.Tooltip("used:Q", title="most used"), alt.Tooltip("limit:Q", title="limit")],
    )
    limits = base.mark_tick(color=COLOURS["red"], thickness=3, height=24, opacity=1).encode(x="limit:Q")
    labels = base.mark_text(align="left", dx=8, color=COLOURS["grey"]).encode(x="limit:Q", text="text:N")
    return _layered(bars, limits, labels, height=_ROW * max(1, len(openings)) + _AXIS)


_MOST_MESSAGES = 6
"""Message types with a bar of their own; the table below the chart has them all."""


def bytes_chart(sent: Sequence[BytesView]) -> alt.LayerChart:
    """Megabytes by message over all parties, coloured by what such a message can reveal; its own name on hover."""
    totals: dict[tuple[str, str], int] = {}
    own: dict[str, str] = {}
    for view in sent:
        words = message_words(view.message)
        own[words] = view.message
        totals[words, view.payload] = totals.get((words, view.payload), 0) + view.bytes
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    if len(ordered) > _MOST_MESSAGES + 1:
        rest, ordered = ordered[_MOST_MESSAGES:], ordered[:_MOST_MESSAGES]
        payload = max(rest, key=lambda item: item[1])[0][1]
        ordered.append(((f"{len(rest)} others", payload), sum(size for _, size in rest)))
        totals = dict(ordered)
    frame = pd.DataFrame(
        [(m, own.get(m, MISSING), p, size / 1e6, data_size(size)) for (m, p), size in ordered],
        columns=["message", "name", "payload", "megabytes", "text"],
    )
    axis = alt.Axis(labelLimit=220)
    room = alt.Scale(nice=False, domain=[0, 1.25 * max([1e-6, *frame["megabytes"]])])
    present = sorted({payload for _, payload in totals}, key=[*PAYLOAD_COLOURS, *(p for _, p in totals)].index)
    colours = alt.Scale(domain=present, range=[COLOURS[PAYLOAD_COLOURS.get(name, "red")] for name in present])
    base = alt.Chart(frame).encode(y=alt.Y("message:N", sort=[m for (m, _), _ in ordered], title=None, axis=axis))
    bars = base.mark_bar(height=16, cornerRadius=2).encode(
        x=alt.X("megabytes:Q", title="MB sent, all parties", scale=room, axis=alt.Axis(tickCount=_TICKS)),
        color=alt.Color("payload:N", scale=colours, legend=alt.Legend(orient="top", title=None, columns=_CLASSES)),
        tooltip=[
            "message:N",
            "payload:N",
            alt.Tooltip("text:N", title="sent"),
            alt.Tooltip("name:N", title="in the protocol"),
        ],
    )
    labels = base.mark_text(align="left", dx=6, color=COLOURS["grey"]).encode(x="megabytes:Q", text="text:N")
    return _layered(bars, labels, height=_ROW * max(1, len(ordered)) + _AXIS + _LEGEND)
