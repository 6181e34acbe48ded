"""The button with which an admin or an auditor downloads the coordinator's evidence pack of a run."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, RunView, ViewerView
from ui.wording import HELP, short_id

__all__ = ["evidence_button"]


def evidence_button(client: ClientProtocol, viewer: ViewerView, run: RunView) -> None:
    """The button, for who may have the pack; nothing for others."""
    if viewer.role not in ("admin", "auditor"):
        return
    st.download_button(
        "Download the evidence pack",
        lambda: client.evidence(run.run_id),
        file_name=f"evidence-{short_id(run.run_id)}-coordinator.zip",
        mime="application/zip",
        icon=":material/verified:",
        on_click="ignore",
        help=HELP["evidence"],
        key=f"evidence {run.run_id}",
    )
