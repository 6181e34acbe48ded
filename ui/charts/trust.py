"""What a run revealed, drawn: bytes by link, coloured by what such bytes can reveal."""

from __future__ import annotations

import altair as alt
import pandas as pd

from parties.client import MinimisationView, RevealedLine
from ui.charts.runs import COLOURS, PAYLOAD_COLOURS

__all__ = ["links_chart"]

_ROW = 30
_AXIS, _LEGEND = 90, 26
_CLASSES = 2
_MOST_LINKS = 8


def links_chart(report: MinimisationView) -> alt.LayerChart:
    """Megabytes from each sender to each receiver, by class of payload; the links that carry least share one bar."""
    by_link: dict[str, int] = {}
    for line in report.lines:
        by_link[_link(line)] = by_link.get(_link(line), 0) + line.bytes
    busiest = sorted(by_link, key=lambda link: (-by_link[link], link))
    rest = busiest[_MOST_LINKS:] if len(busiest) > _MOST_LINKS + 1 else []
    least = f"{len(rest)} other links"
    totals: dict[tuple[str, str], int] = {}
    for line in report.lines:
        key = (least if _link(line) in rest else _link(line), line.payload)
        totals[key] = totals.get(key, 0) + line.bytes
    rows = [{"link": link, "payload": payload, "megabytes": size / 1e6} for (link, payload), size in totals.items()]
    frame = pd.DataFrame(rows, columns=["link", "payload", "megabytes"])
    present = [name for name in PAYLOAD_COLOURS if name in set(frame["payload"])]
    present += sorted(set(frame["payload"]) - set(present))
    colours = alt.Scale(domain=present, range=[COLOURS[PAYLOAD_COLOURS.get(name, "red")] for name in present])
    links = [link for link in busiest if link not in rest] + ([least] if rest else [])
    bars = (
        alt.Chart(frame)
        .mark_bar(height=16)
        .encode(
            y=alt.Y("link:N", sort=links, title=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
            x=alt.X("megabytes:Q", title="MB sent", axis=alt.Axis(tickCount=6)),
            color=alt.Color("payload:N", scale=colours, legend=alt.Legend(orient="top", title=None, columns=_CLASSES)),
            tooltip=["link:N", "payload:N", alt.Tooltip("megabytes:Q", format=".3f", title="MB")],
        )
    )
    return alt.LayerChart(
        layer=[bars], height=_ROW * max(1, len(links)) + _AXIS + _LEGEND * -(-len(present) // _CLASSES)
    )


def _link(line: RevealedLine) -> str:
    return f"{line.sender} to {line.receiver or 'others'}"
