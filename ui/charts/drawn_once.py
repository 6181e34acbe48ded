"""Charts drawn once for every session that shows the same data.

Building an Altair chart and turning it into a specification takes tens of milliseconds, most of them in checks against
its schema; showing one that was made before takes one. What was made is kept by the chart's function and the data it
was made of, which are frozen records.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

__all__ = ["INK", "ON_DARK", "ON_LIGHT", "draw", "specification"]

_MOST_KEPT = 128
ON_LIGHT = "#46525e"
ON_DARK = "#b6c2cd"
INK = {"expr": f"luminance(background) > 0.18 ? '{ON_LIGHT}' : '{ON_DARK}'"}

Spec = dict[str, Any]


@dataclass(slots=True)
class _Made:
    """A specification without its tables, the tables, and the lock under which one session makes both."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    spec: Spec | None = None
    tables: dict[str, bytes] = field(default_factory=dict)


_made: OrderedDict[Hashable, _Made] = OrderedDict()
_lock = threading.Lock()


def draw(chart: Callable[..., alt.LayerChart], *data: Hashable, alt: str, place: DeltaGenerator | None = None) -> None:
    """Show ``chart(*data)``; ``alt`` says in words what it shows. ``data`` is all that the chart depends on."""
    (place or st).vega_lite_chart(spec=specification(chart, *data), alt=alt)


def specification(chart: Callable[..., alt.LayerChart], *data: Hashable) -> Spec:
    """The Vega-Lite specification of ``chart(*data)``, its tables as Arrow bytes. The caller may change it."""
    key = (chart.__module__, chart.__qualname__, data)
    with _lock:
        made = _made.setdefault(key, _Made())
        _made.move_to_end(key)
        while len(_made) > _MOST_KEPT:
            _made.popitem(last=False)
    with made.lock:
        if made.spec is None:
            spec = chart(*data).to_dict(validate=False)
            _readable(spec)
            made.tables = {name: _arrow(rows) for name, rows in spec.pop("datasets", {}).items()}
            made.spec = spec
    return copy.deepcopy(made.spec) | {"datasets": dict(made.tables)}


def _readable(spec: Spec) -> None:
    """Give text in the chart a colour that has a contrast of 4.5 at least on the ground that it is drawn on.

    No colour has it on both themes' grounds, and a page is not run again when the theme changes: the browser chooses.
    """
    for layer in spec.get("layer", ()):
        mark = layer.get("mark")
        if isinstance(mark, dict) and mark.get("type") == "text":
            mark["color"] = INK
    config = spec.setdefault("config", {})
    for part in ("axis", "legend"):
        config[part] = {**config.get(part, {}), "labelColor": INK, "titleColor": INK}


def _arrow(rows: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())
