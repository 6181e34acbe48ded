"""The card of overlap estimates: how many entities members share, before anything is signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from parties.client import ClientProtocol, OverlapView, ViewerView
from ui.empty_states import empty
from ui.shared_reads import latest, shared
from ui.text_table import show_text_table
from ui.wording import HELP, instant, plain, when

__all__ = ["overlaps_card", "overlaps_table"]

_LOOKS = {
    "waiting": ("blue", "waits for answers"), "signed": ("orange", "under way"), "done": ("green", "estimated"),
    "refused": ("red", "refused"), "failed": ("red", "failed"), "expired": ("gray", "expired"),
}  # fmt: skip


def overlaps_card(client: ClientProtocol, viewer: ViewerView) -> None:
    """Every estimate that concerns the viewer, newest first."""
    st.subheader("Entities shared", help=HELP["overlap"])
    found = latest("overlaps", lambda: shared(client, viewer, "overlaps", client.overlaps))
    if found is None:
        return
    if not found:
        how = "Propose one below." if viewer.role == "admin" else "An admin proposes one here."
        empty("No estimate yet", f"{how} A member does on its own machine: `entente overlap propose --with MEMBER`.")
    for one in found:
        _card(one)


def _card(one: OverlapView) -> None:
    colour, word = _LOOKS[one.status]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(word, color=colour)  # type: ignore[arg-type]
            st.markdown(f"**{plain(', '.join(one.members))}**")
            st.caption(
                f"epsilon {one.epsilon:g} · proposed {when(one.proposed_at)}", width="content",
                help=f"Good until {instant(one.expires_at)}.",
            )  # fmt: skip
        if one.purpose:
            st.caption(plain(one.purpose))
        if one.lines:
            show_text_table(pd.DataFrame(overlaps_table(one)), alt="Estimates of shared entities")
        else:
            for name, said in one.answers.items():
                st.caption(f"{plain(name)}: {plain(said)}")


def overlaps_table(one: OverlapView) -> list[dict[str, Any]]:
    """Rows of the table: numbers are rounded, since their noise is larger."""
    parts: Sequence[str] = [line.part for line in one.lines if line.part]
    return [
        ({"Of": line.part} if parts else {})
        | {
            "Held by all of": ", ".join(line.group),
            "About": round(line.estimate),
            "Give or take": round(line.deviation),
        }
        for line in one.lines
    ]
