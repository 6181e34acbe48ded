"""What a run agreed to, who signed it, where its time went, and its entries in the event log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from parties.client import ClientProtocol, PartyView, RunView
from ui.charts import runs as run_charts
from ui.charts.drawn_once import draw
from ui.empty_states import ask, empty
from ui.links import go, reachable
from ui.tables import run as run_tables
from ui.tables.run_list import columns_table
from ui.text_table import show_text_table
from ui.wording import HELP

__all__ = ["agreed", "log"]


def agreed(run: RunView, members: Sequence[PartyView]) -> None:
    """The agreement with its columns, and the signatures."""
    st.caption(HELP["run"])
    st.code(run.run_id, language=None)
    if run.signatures:
        show_text_table(run_tables.signatures_table(run.signatures), alt="Signatures", code=("Ed25519 signature",))
    columns = columns_table(run.agreement, members)
    if len(columns):
        st.markdown("**Columns that the run may use**", help=HELP["grants"])
        st.dataframe(columns, hide_index=True, height=240, alt="Columns by party, as agreed")
    st.markdown("**Every term**", help=HELP["canonical"])
    if reachable("trust") and st.button(
        "In words, with each signature checked", icon=":material/arrow_forward:", key=f"words {run.run_id}"
    ):
        go("trust", section="agreements", run=run.run_id)
    st.json(run.agreement, expanded=1)


def log(client: ClientProtocol, run: RunView) -> None:
    """Where the time went, and what the coordinator wrote about the run."""
    st.markdown("**Where the time went**")
    if any(phase.started_at for phase in run.phases):
        # to the second: one chart serves every session that looks within it
        now = run.ended_at or datetime.now(UTC).replace(microsecond=0)
        # without progress, which the chart does not show and by which no chart can be known again
        spans = tuple(phase.model_copy(update={"progress": ()}) for phase in run.phases)
        draw(run_charts.phase_chart, spans, now, alt="Start, end and duration of each phase")
    show_text_table(run_tables.phases_table(run.phases), alt="Phases", right=("Took", "Attempt"))
    st.markdown("**Event log**")
    events = ask("the event log", lambda: client.events(run.run_id))
    if events:
        show_text_table(run_tables.events_table(events), alt="Event log of the run", right=("No.",), tall=True)
    elif events is not None:
        empty("No entry", "The coordinator has written nothing about this run.")
