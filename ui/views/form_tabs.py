"""The tabs of a long form: a mark on the one with a fault, and the way to the next and the previous one."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st
from streamlit.elements.lib.mutable_tab_container import TabContainer

from ui.shortcuts import heard

__all__ = ["form_tabs", "tab_steps"]

_FAULT = " :material/error:"


def form_tabs(key: str, titles: Mapping[str, str], wrong: str) -> Mapping[str, TabContainer]:
    """A tab by each name in ``titles``, ``wrong`` marked; the open one stays open when its mark comes or goes."""
    marked = {name: f"{title}{_FAULT}" if name == wrong else title for name, title in titles.items()}
    st.session_state[key] = list(marked.values())[_open(key, titles)]
    return dict(zip(marked, st.tabs(list(marked.values()), key=key, on_change="rerun"), strict=True))


def tab_steps(key: str, titles: Mapping[str, str]) -> None:
    """Back and Next, below the tabs that :func:`form_tabs` made."""
    at, names = _open(key, titles), list(titles.values())

    def to(number: int) -> None:
        st.session_state[key] = names[number]

    with st.container(horizontal=True, horizontal_alignment="right", key=f"steps of {key}"):
        if at:
            st.button("Back", icon=":material/arrow_back:", shortcut=heard("P"), on_click=to, args=(at - 1,))
        if at < len(names) - 1:
            st.button("Next", icon=":material/arrow_forward:", shortcut=heard("N"), on_click=to, args=(at + 1,))


def _open(key: str, titles: Mapping[str, str]) -> int:
    shown = str(st.session_state.get(key, "")).removesuffix(_FAULT)
    return next((number for number, title in enumerate(titles.values()) if title == shown), 0)
