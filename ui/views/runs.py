"""All runs of the consortium, and who is there."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, PartyView, RunSummary, ViewerView
from ui.links import go
from ui.states import ask, empty
from ui.tables import parties_table, runs_table, status_text
from ui.text import (
    HELP,
    MISSING,
    STATUS_COLOURS,
    STATUS_ICONS,
    correlation,
    count,
    instant,
    percent,
    plain,
    short_id,
)

__all__ = ["render"]

_REFRESH_SECONDS = 3.0


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page."""
    st.title("Runs")
    st.fragment(_live, run_every=_REFRESH_SECONDS)(client)


def _live(client: ClientProtocol) -> None:
    read = ask("runs", lambda: (client.runs(), client.parties()))
    if read is None:
        return
    runs, parties = read
    _numbers(runs, parties)
    if not runs:
        empty("No run yet", "A run appears here as soon as an admin proposes one; `make demo` runs a whole consortium.")
    for run in (run for run in runs if not run.ended):
        _card(run)
    if ended := [run for run in runs if run.ended]:
        _history(ended)
    st.subheader("Parties")
    if parties:
        st.dataframe(parties_table(parties), hide_index=True, alt="Members of the consortium")
    else:
        empty("No party on the roster", "A party appears here once it is enrolled.")


def _numbers(runs: list[RunSummary], parties: list[PartyView]) -> None:
    online = sum(party.health == "online" for party in parties)
    settled = [run for run in runs if run.status == "settled"]
    best = max((run.ic_joint for run in settled if run.ic_joint is not None), default=None)
    left, middle, right, last = st.columns(4)
    left.metric("In progress", count(sum(not run.ended for run in runs)), border=True, help=HELP["run"])
    middle.metric("Settled", count(len(settled)), border=True, help=HELP["settle"])
    right.metric("Best rank IC", correlation(best), border=True, help=HELP["rank_ic"])
    last.metric("Parties online", f"{online} of {len(parties)}", border=True)


def _card(run: RunSummary) -> None:
    """A run under way: what it does now, how far it is, and the way to its page."""
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        with words:
            title = plain(run.purpose or run.consortium, longest=90)
            colour, icon = STATUS_COLOURS.get(run.status, "blue"), STATUS_ICONS.get(run.status, ":material/autorenew:")
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{title}**", width="content")
                st.badge(status_text(run), color=colour, icon=icon)
            st.caption(f"{plain(run.consortium)} · `{short_id(run.run_id)}` · proposed {instant(run.proposed_at)}")
        with button:
            if st.button("Open", key=f"open {run.run_id}", icon=":material/monitoring:", width="stretch"):
                go("run", run=run.run_id)
        st.progress(min(1.0, max(0.0, run.progress)), text=percent(run.progress))


def _history(ended: list[RunSummary]) -> None:
    st.subheader("Finished")
    st.caption("Select a row to open the run.")
    config = {
        "Progress": st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100, width="small"),
        "Rank IC": st.column_config.NumberColumn(format="%+.3f", help=HELP["rank_ic"]),
        "Own rank IC": st.column_config.NumberColumn(format="%+.3f", help=HELP["ic_own"]),
        "Common entities": st.column_config.NumberColumn(help=HELP["common"]),
    }
    event = st.dataframe(
        runs_table(ended),
        hide_index=True,
        column_config=config,
        on_select="rerun",
        selection_mode="single-row",
        key="finished runs",
        placeholder=MISSING,
        alt="Finished runs",
    )
    if rows := event["selection"]["rows"]:
        go("run", run=ended[rows[0]].run_id)
