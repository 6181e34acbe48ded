"""One run: what came out first, then its parts in tabs; live while it is under way."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from parties.client import (
    ClientProtocol,
    EntenteError,
    PartyView,
    RunsQuestion,
    RunSummary,
    RunView,
    ViewerView,
)
from ui.empty_states import empty
from ui.favourites import star
from ui.incidents import live_part
from ui.links import go, reachable
from ui.run_orders import orders
from ui.shared_reads import kept, latest, shared
from ui.views import factor, run_actions
from ui.views.daily_use import daily_detail, daily_use, scored_periods, trained_run
from ui.views.evidence_download import evidence
from ui.views.run_figures import contribution, numbers, quality, revealed
from ui.views.run_head import heading, progress, standing, timeline
from ui.views.run_rounds import dropped
from ui.views.run_terms import agreed, log
from ui.wording import short_id

__all__ = ["TABS", "render"]

TABS = ("Result", "Contributions", "Privacy", "Terms", "Log")
_REFRESH_SECONDS = 2.0
_FIGURES_SECONDS = 4.0
_NEWEST = RunsQuestion(limit=100)


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page of the run named in the address (``?run=``), or of the newest one."""
    newest = "newest runs"
    page = kept(newest, "runs", lambda: shared(client, viewer, newest, lambda: client.runs_page(_NEWEST), seconds=10))
    if page is None:
        return
    wanted = st.query_params.get("run", "")
    if not page.runs and not wanted:
        st.title("Run")
        empty("No run yet", "A run appears here as soon as an admin proposes one.")
        return
    missing = st.container()  # the heading of a run is its purpose, which only a run that there is has
    choice, actions = st.columns([3, 2], vertical_alignment="bottom")
    with choice:
        run_id = _choose(page.runs, wanted)
    # read anew, for all sessions: what the fragments below find is never older than what this page was built on
    one = f"run {run_id}"
    run = kept(one, "the run", lambda: shared(client, viewer, one, lambda: client.run(run_id), seconds=0))
    if run is None:
        missing.title("Run")
        if reachable("runs") and st.button("All runs", icon=":material/list:", key="all runs"):
            go("runs")
        return
    with actions.container(horizontal=True, horizontal_alignment="right"):
        star(client, "run", run.run_id)
        run_actions.buttons(client, viewer, run)
    run_actions.refusal()
    if run.ended:
        _now(client, viewer, run)
    else:
        live_part(_now, run_every=_REFRESH_SECONDS)(client, viewer, run)
    # only the tab that is open is made; which one stands in the address
    for name, tab in zip(TABS, st.tabs(TABS, key="part", bind="query-params"), strict=True):
        if tab.open:
            with tab:
                _part(client, viewer, run, name)


def _part(client: ClientProtocol, viewer: ViewerView, run: RunView, name: str) -> None:
    if name == "Terms":
        agreed(run, _members(client, viewer))
    elif name == "Log":
        log(client, run)
    elif run.ended:
        _figures(client, viewer, run, name)
        if name == "Result":
            daily_detail(run.daily, run.run_id)
            _ended(client, viewer, run)
            evidence(client, viewer, run.run_id)
    else:
        live_part(_figures, run_every=_FIGURES_SECONDS)(client, viewer, run, name)


def _choose(runs: Sequence[RunSummary], wanted: str) -> str:
    """A selector of the newest runs that writes its choice into the address, so that a page can be shared."""
    named = {run.run_id: f"{short_id(run.run_id)} · {run.purpose or run.consortium}" for run in runs}
    if wanted and wanted not in named:
        named = {wanted: short_id(wanted)} | named
    ids = list(named)
    chosen = st.selectbox("Run", ids, index=ids.index(wanted) if wanted else 0, format_func=lambda key: named[key])
    if chosen != wanted:
        st.query_params["run"] = chosen
    return chosen


def _read(client: ClientProtocol, viewer: ViewerView, seen: RunView) -> RunView:
    """The run as it is now; while the coordinator is away, as it was last seen."""
    if seen.ended:
        return seen
    what = f"run {seen.run_id}"
    return latest(what, lambda: shared(client, viewer, what, lambda: client.run(seen.run_id)), seen) or seen


def _members(client: ClientProtocol, viewer: ViewerView) -> list[PartyView]:
    """The parties, for what they offer and whether they are there; nobody while the coordinator is away."""
    try:
        return shared(client, viewer, "parties", client.parties, seconds=5)
    except EntenteError:
        return []


def _now(client: ClientProtocol, viewer: ViewerView, seen: RunView) -> None:
    """What the run does now, and what may be done with it; refreshes by itself."""
    run = _read(client, viewer, seen)
    if orders(run, viewer) != orders(seen, viewer) or run.ended != seen.ended:
        st.rerun()
    heading(run)
    dropped(run.federated)
    if run.ended:
        numbers(run)
        daily_use(run.daily)
    timeline(run)
    if run.phase == "approve" and not run.ended:
        standing(run, _members(client, viewer))
    if not run.ended:
        progress(run, _members(client, viewer))
        numbers(run)


def _figures(client: ClientProtocol, viewer: ViewerView, seen: RunView, name: str) -> None:
    """A tab of what has been measured and counted so far; refreshes by itself, less often, alike for every session."""
    run = seen
    if not seen.ended:
        what = f"figures {seen.run_id}"
        try:
            run = shared(client, viewer, what, lambda: client.run(seen.run_id), seconds=_FIGURES_SECONDS)
        except EntenteError:
            run = st.session_state.get(f"last seen run {seen.run_id}", seen)  # the fragment above says why
    if name == "Result":
        if trained_run(run):
            scored_periods(run)
        else:
            quality(run, viewer)
    elif name == "Contributions":
        contribution(run)
    else:
        revealed(run)


def _ended(client: ClientProtocol, viewer: ViewerView, run: RunView) -> None:
    """What a finished run leads to."""
    if run.factor is not None:
        factor.render(client, run.factor)
    links = {"factor": "The factor", "contributions": "Contributions over runs", "trust": "Trust report"}
    fit = {"factor": run.factor is not None, "contributions": bool(run.contributions), "trust": True}
    with st.container(horizontal=True):
        for key, title in links.items():
            if fit[key] and reachable(key) and st.button(title, key=f"to {key}", icon=":material/arrow_forward:"):
                go(key, run=run.run_id)
        trained = trained_run(run)
        if trained and st.button("The run that was trained", key="trained run", icon=":material/arrow_forward:"):
            go("run", run=trained)
        if reachable("compare") and st.button("Compare", key="compare run", icon=":material/compare_arrows:"):
            go("compare", runs=run.run_id)
        if (
            viewer.role == "admin"
            and not trained
            and reachable("new_run")
            and st.button("Propose one like it", key="like", icon=":material/content_copy:")
        ):
            go("new_run", like=run.run_id)
