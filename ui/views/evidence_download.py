"""The evidence on a run: the coordinator's pack to download, for who may have it, and what writes and checks one."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, ViewerView
from ui.wording import HELP, short_id

__all__ = ["evidence"]


def evidence(client: ClientProtocol, viewer: ViewerView, run_id: str) -> None:
    """The section; nothing for readers, who get no pack of anybody."""
    if viewer.role == "reader":
        return
    run = short_id(run_id)
    st.subheader("Evidence", help=HELP["evidence"])
    st.caption(
        "One signed file for a model-risk committee, a regulator or an auditor: agreement, signatures, logs, what "
        "opened in bits, contributions. It holds no row, score, label or key. Whoever has it checks it offline, and "
        "reads what is proved and what is only somebody's word."
    )
    if viewer.role in ("admin", "auditor"):
        st.download_button(
            "Download the evidence pack",
            lambda: client.evidence(run_id),
            file_name=f"evidence-{run}-coordinator.zip",
            mime="application/zip",
            icon=":material/verified:",
            on_click="ignore",
            key=f"evidence {run_id}",
        )
        st.caption("That is the coordinator's. Each party writes its own; together they show what one alone cannot:")
    else:
        st.caption("Your party's own pack, and how anybody checks one:")
    st.code(f"entente evidence {run} --home NODE\nentente evidence check FILE... --roster roster.json", language=None)
