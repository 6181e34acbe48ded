"""One run: its phases, its live progress, what came out, and what was revealed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from parties.client import (
    ClientProtocol,
    EntenteError,
    PartyView,
    PhaseView,
    ProgressView,
    RunsQuestion,
    RunSummary,
    RunView,
    ViewerView,
)
from ui.empty_states import ask, empty
from ui.links import go, reachable
from ui.run_orders import orders, paused_words, standings
from ui.shared_reads import latest, shared
from ui.tables import run as run_tables
from ui.views import factor, run_actions
from ui.views.evidence_download import evidence_button
from ui.views.run_figures import contribution, numbers, quality, revealed, terms
from ui.wording import (
    HELP,
    PHASE_TITLES,
    STATUS_COLOURS,
    STATUS_ICONS,
    Colour,
    count,
    duration,
    instant,
    plain,
    short_id,
)

__all__ = ["render"]

_REFRESH_SECONDS = 2.0
_FIGURES_SECONDS = 4.0
_NEWEST = RunsQuestion(limit=100)
_PHASE_BADGES: Mapping[str, tuple[Colour, str]] = {
    "done": ("green", ":material/check:"),
    "running": ("blue", ":material/autorenew:"),
    "failed": ("red", ":material/close:"),
    "skipped": ("gray", ":material/redo:"),
    "waiting": ("gray", ":material/schedule:"),
}
_STANDINGS: Mapping[str, tuple[Colour, str]] = {
    "signed": ("green", ":material/signature:"),
    "deciding": ("blue", ":material/hourglass_top:"),
    "away": ("orange", ":material/cloud_off:"),
}


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page of the run named in the address (``?run=``), or of the newest one."""
    page = ask("runs", lambda: shared(client, viewer, "newest runs", lambda: client.runs_page(_NEWEST), seconds=10))
    if page is None:
        return
    wanted = st.query_params.get("run", "")
    if not page.runs and not wanted:
        st.title("Run")
        empty("No run yet", "A run appears here as soon as an admin proposes one.")
        return
    choice, actions = st.columns([3, 2], vertical_alignment="bottom")
    with choice:
        run_id = _choose(page.runs, wanted)
    # read anew, for all sessions: what the fragments below find is never older than what this page was built on
    run = ask("the run", lambda: shared(client, viewer, f"run {run_id}", lambda: client.run(run_id), seconds=0))
    if run is None:
        return
    with actions.container(horizontal=True, horizontal_alignment="right"):
        run_actions.buttons(client, viewer, run)
    run_actions.refusal()
    if run.ended:
        _now(client, viewer, run)
        _figures(client, viewer, run)
        _ended(client, viewer, run)
        evidence_button(client, viewer, run)
    else:
        st.fragment(_now, run_every=_REFRESH_SECONDS)(client, viewer, run)
        st.fragment(_figures, run_every=_FIGURES_SECONDS)(client, viewer, run)
    st.fragment(terms)(run, _members(client, viewer))
    _journal(client, run)


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
    _heading(run)
    _timeline(run)
    if run.phase == "approve":
        _standing(run, _members(client, viewer))
    _progress(run)


def _figures(client: ClientProtocol, viewer: ViewerView, seen: RunView) -> None:
    """What has been measured and counted so far; refreshes by itself, less often, and alike for every session."""
    run = seen
    if not seen.ended:
        what = f"figures {seen.run_id}"
        try:
            run = shared(client, viewer, what, lambda: client.run(seen.run_id), seconds=_FIGURES_SECONDS)
        except EntenteError:
            run = st.session_state.get(f"last seen run {seen.run_id}", seen)  # the fragment above says why
    numbers(run)
    quality(run)
    contribution(run)
    revealed(run)


def _ended(client: ClientProtocol, viewer: ViewerView, run: RunView) -> None:
    """What a finished run leads to."""
    if run.factor is not None:
        factor.render(client, run.factor)
    links = {"factor": "The factor", "contributions": "Contributions", "trust": "Trust report"}
    fit = {"factor": run.factor is not None, "contributions": bool(run.contributions), "trust": True}
    with st.container(horizontal=True):
        for key, title in links.items():
            if fit[key] and reachable(key) and st.button(title, key=f"to {key}", icon=":material/arrow_forward:"):
                go(key, run=run.run_id)
        if (
            viewer.role == "admin"
            and reachable("new_run")
            and st.button("Propose one like it", key="like", icon=":material/content_copy:")
        ):
            go("new_run", like=run.run_id)


def _heading(run: RunView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(plain(run.purpose or run.consortium, longest=90), width="content")
        icon = STATUS_ICONS.get(run.status, ":material/autorenew:")
        st.badge(run_tables.status_text(run), color=STATUS_COLOURS.get(run.status, "blue"), icon=icon)
    took = duration((run.ended_at - run.proposed_at).total_seconds()) if run.ended_at else "under way"
    members = ", ".join(f"{name} (label)" if name == run.label_party else name for name in run.parties)
    st.caption(f"{plain(run.consortium)} · {plain(members)} · proposed {instant(run.proposed_at)} · {took}")
    for words in paused_words(run):
        st.warning(plain(words), icon=":material/pause_circle:")
    if run.status == "aborted":
        blame = f"Aborted by {run.culprit}" if run.culprit else "Aborted"
        st.error(plain(run.reason) or "no reason was given", icon=":material/cancel:", title=plain(blame))
    elif run.status == "paused" and not run.pauses:
        waiting = plain(", ".join(run.waiting_for)) or "a party"
        st.warning(f"Paused: waiting for {waiting}. The run goes on when it is back.", icon=":material/pause_circle:")


def _timeline(run: RunView) -> None:
    """The phases side by side, each with its state and duration."""
    known = {phase.name: phase for phase in run.phases}
    for column, (name, title) in zip(st.columns(len(PHASE_TITLES)), PHASE_TITLES.items(), strict=True):
        phase = known.get(name, PhaseView(name=name, status="waiting"))
        colour, icon = _PHASE_BADGES[phase.status]
        with column:
            st.badge(title, color=colour, icon=icon, help=HELP[name])
            idle = "not reached" if run.ended and phase.status == "waiting" else phase.status
            again = f" · attempt {phase.attempt}" if phase.attempt > 1 else ""
            st.caption(f"{duration(phase.seconds) if phase.ended_at else idle}{again}")


def _standing(run: RunView, members: Sequence[PartyView]) -> None:
    """Before the run begins: who has signed, and what each of the others still has to decide."""
    with st.container(border=True):
        st.markdown("**Signatures**", help=HELP["approve"])
        for name, state, words in standings(run, members):
            colour, icon = _STANDINGS[state]
            with st.container(horizontal=True, vertical_alignment="center"):
                st.badge(plain(name), color=colour, icon=icon)
                st.caption(words)
        expires = run.agreement.get("expires_at")
        if isinstance(expires, str):
            st.caption(f"The proposal lapses at {plain(expires[:16].replace('T', ' '))} UTC. Nothing is signed here.")


def _progress(run: RunView) -> None:
    """A bar for each party of the phase under way, with speed and time left."""
    current = next((phase for phase in run.phases if phase.status == "running"), None)
    if current is None or run.ended:
        return
    with st.container(border=True):
        st.markdown(f"**{PHASE_TITLES.get(current.name, plain(current.name))}** since {instant(current.started_at)}")
        for state in current.progress:
            parts = [plain(state.party), f"{count(state.done)} of {count(state.total)} {plain(state.unit)}"]
            if period := _period(run, state):
                parts.append(period)
            if "gain" in state.metrics:
                parts.append(f"latest gain {state.metrics['gain']:.2%}")
            if state.per_second is not None:
                parts.append(_speed(state.per_second, state.unit))
            if state.eta_seconds is not None:
                parts.append(f"{duration(state.eta_seconds)} left")
            st.progress(state.fraction, text=" · ".join(parts))
        if not current.progress:
            st.caption("No party has said yet how far it is.")
        if current.finished:
            st.caption(f"Finished: {plain(', '.join(current.finished))}")


def _speed(per_second: float, unit: str) -> str:
    """How fast a party goes; in seconds of one where it does less than one in a second."""
    if 0 < per_second < 1:
        return f"{1 / per_second:.1f} s a {plain(unit.removesuffix('s'))}"
    return f"{count(per_second)} {plain(unit)}/s"


def _period(run: RunView, state: ProgressView) -> str:
    """The decision period that training has come to, where the party says so."""
    calendar = run.agreement.get("calendar")
    periods = calendar.get("periods", ()) if isinstance(calendar, dict) else ()
    at = int(state.metrics.get("period", -1))
    return f"period {plain(str(periods[at]))} ({at + 1} of {len(periods)})" if 0 <= at < len(periods) else ""


def _journal(client: ClientProtocol, run: RunView) -> None:
    """The run's entries in the event log, read only when asked for."""
    if st.toggle("Show the event log", key=f"events {run.run_id}"):
        events = ask("the event log", lambda: client.events(run.run_id))
        if events:
            st.dataframe(run_tables.events_table(events), hide_index=True, alt="Event log of the run")
        elif events is not None:
            empty("No entry", "The coordinator has written nothing about this run.")
