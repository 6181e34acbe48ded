"""A table as text: cells wrap and are never cut, a moment is told as long ago with the exact one in its hint.

Streamlit's own table draws on a canvas: it cuts what is wider than its column, has no hint on a cell, and is no text to
the browser. It stays where rows are chosen or sorted; what is read is shown with this. On a phone each row becomes a
small card. Every cell is escaped here.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Collection
from datetime import datetime

import pandas as pd
import streamlit as st

from ui.wording import MISSING, count, instant, when

__all__ = ["show_text_table", "text_table"]

_LONG, _SHOWN = 24, 16  # characters of a hash
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")  # broken at a hyphen otherwise


def show_text_table(
    frame: pd.DataFrame,
    *,
    alt: str,
    right: Collection[str] = (),
    code: Collection[str] = (),
    group: str = "",
    total: bool = False,
    tall: bool = False,
) -> None:
    """The frame on the page. ``alt`` names the table for those who cannot see it."""
    st.html(text_table(frame, alt=alt, right=right, code=code, group=group, total=total, tall=tall))


def text_table(
    frame: pd.DataFrame,
    *,
    alt: str,
    right: Collection[str] = (),
    code: Collection[str] = (),
    group: str = "",
    total: bool = False,
    tall: bool = False,
) -> str:
    """The frame as HTML.

    right: columns of numbers, aligned right. code: columns of hashes and ids, of which long ones show their beginning
    and have the whole in the hint. group: the column whose value is told once, above the rows that share it. total:
    whether the last row is a sum. tall: whether the table scrolls within the page once it is higher than most of it.
    """
    columns = [str(name) for name in frame.columns if name != group]
    numbers = {*right, *(str(name) for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name]))}
    looks = {name: "number" if name in numbers else "code" if name in code else "" for name in columns}
    head = "".join(f'<th scope="col"{_class(looks[name])}>{html.escape(name)}</th>' for name in columns)
    lines, told = list[str](), ""
    rows = list(frame.to_dict("records"))
    for i, row in enumerate(rows):
        if group and str(row[group]) != told:
            told = str(row[group])
            lines.append(
                f'<tr class="group"><th scope="colgroup" colspan="{len(columns)}">{html.escape(told)}</th></tr>'
            )
        cells = "".join(
            f'<td{_class(looks[name])} data-of="{html.escape(name, quote=True)}">'
            f"{_cell(row[name], hash_like=name in code)}</td>"
            for name in columns
        )
        lines.append(f"<tr{_class('total' if total and i == len(rows) - 1 else '')}>{cells}</tr>")
    named = html.escape(alt, quote=True)
    return (
        f'<div class="text-table{" tall" if tall else ""}" role="region" tabindex="0" aria-label="{named}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _cell(value: object, *, hash_like: bool) -> str:
    """One value as it is read: a moment relative, a count with thin thousands, ``None`` as a dash."""
    if isinstance(value, datetime) and not pd.isna(value):
        at = value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
        return f'<time title="{html.escape(instant(at), quote=True)}">{html.escape(when(at))}</time>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return f"{value:g}"
    if isinstance(value, int | float):
        return count(value)
    if value is None or value is pd.NaT:
        return MISSING
    text = html.escape(str(value), quote=True)
    if _DAY.fullmatch(text):
        return f'<span class="whole">{text}</span>'
    if hash_like and len(str(value)) > _LONG:
        return f'<abbr title="{text}">{html.escape(str(value)[:_SHOWN])}…</abbr>'
    return f'<span class="whole">{text}</span>' if hash_like and text else text
