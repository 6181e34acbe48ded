"""Runs and their factors side by side: numbers, the difference with its t, lines in one chart, terms that differ."""

from __future__ import annotations

import streamlit as st

from parties.client import COMPARED, ClientProtocol, CompareQuestion, ComparisonView, RunsQuestion, ViewerView
from ui.charts.compared import compared_chart
from ui.charts.drawn_once import draw
from ui.empty_states import ask, empty
from ui.links import go
from ui.shared_reads import shared
from ui.tables.compared import differences_table, numbers_table, terms_table, titles
from ui.text_table import show_text_table
from ui.wording import HELP, plain, short_id

__all__ = ["render"]

_NEWEST = RunsQuestion(limit=100)


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page of the runs named in the address (``?runs=ID,ID``)."""
    st.title("Compare")
    page = ask("runs", lambda: shared(client, viewer, "newest runs", lambda: client.runs_page(_NEWEST), seconds=10))
    if page is None:
        return
    named = {run.run_id: f"{run.purpose or run.consortium} · {short_id(run.run_id)}"[-90:] for run in page.runs}
    asked = [part for part in st.query_params.get("runs", "").split(",") if part]
    named = {run_id: short_id(run_id) for run_id in asked if run_id not in named} | named
    chosen = st.multiselect(
        f"Runs, up to {COMPARED}; the others are compared with the first",
        list(named), default=asked[:COMPARED], format_func=named.__getitem__, max_selections=COMPARED,
        placeholder="Choose runs",
    )  # fmt: skip
    if chosen != asked:
        st.query_params["runs"] = ",".join(chosen)
    if len(chosen) < 2:
        empty("Choose two runs or more", "Select rows in Runs, or name them above.")
        return
    found = ask("the comparison", lambda: client.compare(CompareQuestion(run_ids=tuple(chosen))))
    if found is not None:
        _comparison(found)


def _comparison(found: ComparisonView) -> None:
    names = titles(found)
    with st.container(horizontal=True):
        for run, name in zip(found.runs, names, strict=True):
            run_id = run.summary.run_id
            if st.button(plain(name), key=f"open {run_id}", icon=":material/monitoring:"):
                go("run", run=run_id)
    st.subheader("What they reached", help=f"{HELP['rank_ic']} {HELP['t']}")
    numbers = numbers_table(found)
    show_text_table(numbers, alt="Numbers of each run", right=list(numbers.columns[1:]))
    st.caption(f"Against {plain(names[0])}, over the periods that both have:", help=HELP["paired"])
    differences = differences_table(found)
    show_text_table(differences, alt="Differences with their t", right=list(differences.columns[1:]))
    if any(point.ic_joint is not None for run in found.runs for point in run.series):
        st.subheader("Period by period", help=HELP["rank_ic"])
        left, right = st.columns(2)
        lines = tuple((name, run.series) for name, run in zip(names, found.runs, strict=True))
        draw(compared_chart, lines, True, alt="Running sum of the rank ICs of each run", place=left)
        draw(compared_chart, lines, False, alt="Rank IC per period of each run", place=right)
    st.subheader("Terms that differ", help=HELP["agreement"])
    if found.terms:
        show_text_table(terms_table(found), alt="Terms in which the agreements differ", tall=True)
    else:
        st.caption("None that this role sees: they were agreed to in the same words.")
