"""Lines over periods: an axis that can be zoomed, and a crosshair that reads the values nearest to the pointer.

Periods are drawn by their place, so that the axis can be moved: drag pans, Shift and the wheel zoom, a double click
shows everything again. The wheel alone goes on scrolling the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt

__all__ = ["crosshair", "period_axis", "thousands_axis"]

_LABELS = 6
_APART, _HALF_A_LABEL = 8, 30
"""Pixels; a label as near to an end as this stands within the chart, which would cut it."""


def thousands_axis(mark: str) -> alt.Axis:
    """An axis of numbers with this mark between thousands, and few enough labels to be read."""
    return alt.Axis(tickCount=_LABELS, labelExpr=f"replace(datum.label, regexp(',', 'g'), {json.dumps(mark)})")


def period_axis(periods: Sequence[str], title: str | None = "period", field: str = "i") -> alt.X:
    """The axis of the column ``field``, which holds places in ``periods``."""
    names = json.dumps(list(periods))
    axis = alt.Axis(
        labelExpr=f"datum.value == round(datum.value) ? ({names}[datum.value] || '') : ''",
        labelAngle=0, labelOverlap=True, labelSeparation=_APART, labelFlush=_HALF_A_LABEL, tickMinStep=1,
        tickCount=_LABELS, grid=False,
    )  # fmt: skip
    last = max(1, len(periods) - 1)
    return alt.X(f"{field}:Q", title=title, axis=axis, scale=alt.Scale(domain=[0, last], nice=False, zero=False))


def crosshair(
    base: alt.Chart, tips: Sequence[alt.Tooltip], *, series: str = "", value: str = "value", field: str = "i"
) -> alt.Chart:
    """A layer with a rule at the period nearest to the pointer and all its values; ``series`` names the line's column.

    ``base`` has the data and the x axis.
    """
    near = alt.selection_point(
        name="near", nearest=True, on="pointermove", clear="pointerout", fields=[field], empty=False
    )
    zoom = alt.selection_interval(
        name="zoom", bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]", clear="dblclick"
    )
    if series:
        base = base.transform_pivot(series, value=value, groupby=[field, "period"])
    rule: alt.Chart = base.mark_rule(strokeWidth=1, color="#777777").encode(
        opacity=alt.when(near).then(alt.value(0.8)).otherwise(alt.value(0.0)), tooltip=list(tips)
    )
    return rule.add_params(near, zoom)
