"""Lists whose rows lead somewhere: a click anywhere on a row opens or chooses it, the boxes at its left choose several.

Streamlit tells a click on a cell apart from a ticked box. Status chips are drawn by its column of several values, which
is the one that has colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui.wording import MISSING, Colour

__all__ = ["GROUNDS", "chips", "choose_row", "open_or_tick", "open_row"]

GROUNDS: Mapping[Colour, str] = {
    "green": "#00664a",
    "orange": "#8a4b00",
    "red": "#a4262c",
    "blue": "#00588b",
    "gray": "#46525e",
}
"""Of a chip, in both themes: Streamlit writes in white on what is as dark as this, with a contrast of 6.5 or more."""


def open_row(table: pd.DataFrame, hint: str, *, key: str, **more: Any) -> int | None:
    """The list under ``hint``; gives the row that was clicked, if one was."""
    line = _line(hint, key)
    event = st.dataframe(table, hide_index=True, key=key, on_select="rerun", selection_mode="single-cell", **more)
    return _opened(event, table, key, line)


def open_or_tick(table: pd.DataFrame, hint: str, *, key: str, **more: Any) -> tuple[int | None, list[int]]:
    """The list under ``hint``, as high as its rows; gives the row that was clicked, if one was, and those ticked."""
    line = _line(hint, key)
    event = st.dataframe(
        table, hide_index=True, key=key, on_select="rerun", selection_mode=("multi-row", "single-cell"),
        height="content", placeholder=MISSING, **more,
    )  # fmt: skip
    return _opened(event, table, key, line), [row for row in event["selection"]["rows"] if row < len(table)]


def choose_row(table: pd.DataFrame, *, key: str, first: int | None = None, **more: Any) -> int | None:
    """The list, of which one row is chosen by a click anywhere on it: ``first`` until then, None where none need be."""
    if first is not None:
        more["selection_default"] = {"selection": {"rows": [first]}}
    event = st.dataframe(
        table, hide_index=True, key=key, on_select=partial(_tick, key),
        selection_mode=("single-row" if first is None else "single-row-required", "single-cell"), **more,
    )  # fmt: skip
    return next((row for row in event["selection"]["rows"] if row < len(table)), first)


def _line(hint: str, key: str) -> DeltaGenerator:
    """The line above a list: ``hint``, and as much room as a button takes, where the list's tools do not cover it."""
    line = st.container(
        horizontal=True, vertical_alignment="center", height=44, border=False, gap="medium", key=f"line above {key}"
    )  # fmt: skip
    line.caption(hint, width="content")
    return line


def _opened(event: Mapping[str, Any], table: pd.DataFrame, key: str, line: DeltaGenerator) -> int | None:
    """The row of the cell that was clicked. One that keys may have reached is opened by a button in ``line``."""
    row, by_keys = _clicked(event, table, key)
    if row is None or not by_keys:
        return row
    return row if line.button(f"Open row {row + 1}", key=f"open row of {key}") else None


def _clicked(event: Mapping[str, Any], table: pd.DataFrame, key: str) -> tuple[int | None, bool]:
    """The row of the cell that was chosen, and whether keys may have chosen it.

    While the pointer is over a list, keys choose cells too: Tab comes in at the first one, and each further key goes on
    to a neighbour. Neither may open anything by itself, or nobody could pass the list by keys.
    """
    names, at = [str(name) for name in table.columns], f"cell reached by keys in {key}"
    before = st.session_state.pop(at, None)
    for row, name in event["selection"]["cells"]:
        if row < len(table) and name in names:
            column = names.index(name)
            by_keys = row == column == 0 or (before and abs(row - before[0]) + abs(column - before[1]) <= 1)
            if by_keys:
                st.session_state[at] = (row, column)
            return int(row), bool(by_keys)
    return None, False


def _tick(key: str) -> None:
    """What was clicked is ticked, so that the list shows which row is chosen."""
    found = st.session_state[key]["selection"]
    if found["cells"]:
        st.session_state[key] = {"selection": {"rows": [found["cells"][0][0]], "columns": [], "cells": []}}


def chips(colours: Mapping[str, Colour], *, width: int | None = None) -> Any:
    """A column whose cells are lists of words, each in its colour."""
    return st.column_config.MultiselectColumn(
        options=list(colours), color=[GROUNDS[colour] for colour in colours.values()], width=width
    )
