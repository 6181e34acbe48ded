"""The groups of a new run: members with the same columns that train one encoder together, each a card of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from parties.client import DraftView, PartyView, TemplateView
from ui.form_fields import FEATURES, Value
from ui.group_form import (
    FREE,
    GROUP_FIELDS,
    GROUPS,
    MORE,
    common_columns,
    fault_at_group,
    group_values,
    new_group,
)
from ui.views.form_input import draw_input, in_rows, wrong
from ui.wording import things

__all__ = ["draw_groups", "seed_groups"]

_MOST = 8
_NARROW = 20  # characters that half a row of a card shows whole


def seed_groups(
    start: TemplateView, members: Sequence[PartyView], features: Sequence[str]
) -> list[tuple[dict[str, Any], dict[str, Value]]]:
    """Each group's table and values: as typed so far, else as the terms to begin with say. Parties are ``features``.

    Values are put where the inputs look for them.
    """
    offers = {member.name: member.columns for member in members}
    found = []
    for number, table in _tables(start).items():
        values = group_values(table)
        for path, value in values.items():
            values[path] = st.session_state.setdefault(_key(start, number, path), value)
        values[FEATURES] = list(features)
        _keep(start, number, values, "members", features)
        values[FREE] = common_columns([offers.get(name, ()) for name in values["members"]])
        for path in ("encoder.columns", "expand.columns"):
            _keep(start, number, values, path, values[FREE])
        found.append((table, values))
    return found


def draw_groups(
    start: TemplateView, members: Sequence[PartyView], values: Mapping[str, Any], draft: DraftView | None
) -> None:
    """A card for each, and the way to add one or to take one out."""
    groups, features = values[GROUPS], values[FEATURES]
    faulty = draft is not None and bool(draft.fault) and draft.field.startswith("group")
    told = f": {things(len(groups), 'groups')}" if groups else ""
    with st.expander(
        f"Members with the same columns train one encoder{told}", icon=":material/hub:", expanded=bool(groups)
    ):
        st.caption(
            "Before the model is trained, members of a group train an encoder of their columns together, by rounds at "
            "home and secure sums. Each then makes columns of its own entities with it."
        )
        shown = False
        for place, (number, (_, own)) in enumerate(zip(_tables(start), groups, strict=True)):
            with st.container(border=True, key=f"group {place}"):
                shown |= _card(start, number, place, own, draft if faulty else None)
        if faulty and draft is not None and not shown:
            wrong(draft.fault)
        offers = {member.name: member.columns for member in members if member.name in features}
        st.button(
            "Add a group", icon=":material/group_add:", key=f"draft {start.key} add group", on_click=_add,
            args=(start, offers, [{"name": own["name"], "members": own["members"]} for _, own in groups]),
            disabled=len(groups) >= _MOST,
        )  # fmt: skip


def _card(start: TemplateView, number: int, place: int, values: dict[str, Value], fault: DraftView | None) -> bool:
    """One group's fields; whether what is wrong stands at one of them."""

    def at(path: str = "") -> bool:
        return fault is not None and fault_at_group(fault.field, fault.fault, place, str(values["name"]), path)

    shown = at()
    if shown and fault is not None:
        wrong(fault.fault)
    fields = [field for field in GROUP_FIELDS if field.when(values)]
    for folded in (False, True):
        some = [field for field in fields if (field.path in MORE) == folded]
        inside = (
            st.expander("More of its rounds and what they make", icon=":material/tune:") if folded else st.container()
        )
        with inside:
            for row in in_rows(some, values, _NARROW):
                for cell, field in zip(st.columns(2) if len(row) == 2 else [st.container()], row, strict=True):
                    with cell:
                        draw_input(_key(start, number, field.path), field, values)
                        if at(field.path) and fault is not None:
                            wrong(fault.fault)
                            shown = True
    st.button(
        "Take this group out", icon=":material/group_remove:", key=_key(start, number, "out"), on_click=_take_out,
        args=(start, number), type="tertiary",
    )  # fmt: skip
    return shown


def _tables(start: TemplateView) -> dict[int, dict[str, Any]]:
    """The table that each group began with, by a number that stays its own."""
    key = f"draft {start.key} groups"
    if key not in st.session_state:
        st.session_state[key] = dict(enumerate(start.terms.get("group", ())))
    tables: dict[int, dict[str, Any]] = st.session_state[key]
    return tables


def _key(start: TemplateView, number: int, path: str) -> str:
    return f"draft {start.key} group {number} {path}"


def _keep(start: TemplateView, number: int, values: dict[str, Value], path: str, offered: Sequence[str]) -> None:
    """Of the names that were chosen those that are still offered."""
    values[path] = [name for name in values[path] if name in offered]
    st.session_state[_key(start, number, path)] = values[path]


def _add(start: TemplateView, offers: Mapping[str, Sequence[str]], taken: Sequence[Mapping[str, Any]]) -> None:
    tables = _tables(start)
    tables[max(tables, default=-1) + 1] = new_group(offers, taken)


def _take_out(start: TemplateView, number: int) -> None:
    _tables(start).pop(number, None)
