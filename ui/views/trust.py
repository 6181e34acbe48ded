"""Trust: the audit log, signed heads, what a run revealed, and what was agreed. Each can be checked again elsewhere."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, ViewerView
from ui.views import trust_log, trust_run

__all__ = ["render"]

_SECTIONS = {
    "log": ("Audit log", trust_log.render),
    "heads": ("Signed heads", trust_log.render_heads),
    "revealed": ("What a run revealed", trust_run.render_revealed),
    "agreements": ("Agreements", trust_run.render_agreement),
}


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page; ``?section=`` names the part of it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Trust", width="content")
        badge = st.empty()
    wanted = st.query_params.get("section", "")
    chosen = st.segmented_control(
        "Section", list(_SECTIONS), format_func=lambda key: _SECTIONS[key][0], key="trust section", required=True,
        default=wanted if wanted in _SECTIONS else "log", label_visibility="collapsed",
    )  # fmt: skip
    if chosen != wanted and (wanted or chosen != "log"):
        st.query_params["section"] = chosen or "log"
    _SECTIONS[chosen or "log"][1](client)
    with badge:  # a check that was asked for just now counts
        trust_log.verdict()
