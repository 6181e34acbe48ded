"""One run: its phases, its live progress, what came out, and what was revealed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from parties.client import ClientProtocol, EntenteError, PhaseView, RunSummary, RunView, ViewerView
from ui import charts, tables
from ui.states import ask, empty, explain
from ui.text import (
    HELP,
    MISSING,
    PHASE_TITLES,
    STATUS_COLOURS,
    STATUS_ICONS,
    Colour,
    amount,
    correlation,
    count,
    data_size,
    duration,
    instant,
    plain,
    short_id,
    t_value,
)
from ui.views import factor

__all__ = ["render"]

_REFRESH_SECONDS = 2.0
_PHASE_BADGES: Mapping[str, tuple[Colour, str]] = {
    "done": ("green", ":material/check:"),
    "running": ("blue", ":material/autorenew:"),
    "failed": ("red", ":material/close:"),
    "skipped": ("gray", ":material/redo:"),
    "waiting": ("gray", ":material/schedule:"),
}


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page of the run named in the address (``?run=``), or of the newest one."""
    runs = ask("runs", client.runs)
    if runs is None:
        return
    if not runs:
        st.title("Run")
        empty("No run yet", "A run appears here as soon as an admin proposes one.")
        return
    run_id = _choose(runs)
    run = ask("the run", lambda: client.run(run_id))
    if run is None:
        return
    refresh = None if run.ended else _REFRESH_SECONDS
    st.fragment(_live, run_every=refresh)(client, run)
    if run.ended:
        _journal(client, run)


def _choose(runs: list[RunSummary]) -> str:
    """A selector of runs that writes its choice into the address, so that a page can be shared."""
    named = {run.run_id: f"{short_id(run.run_id)} · {run.purpose or run.consortium} · {run.status}" for run in runs}
    wanted = st.query_params.get("run", "")
    if wanted and wanted not in named:
        named = {wanted: short_id(wanted)} | named
    ids = list(named)
    chosen = st.selectbox("Run", ids, index=ids.index(wanted) if wanted else 0, format_func=lambda key: named[key])
    if chosen != wanted:
        st.query_params["run"] = chosen
    return chosen


def _live(client: ClientProtocol, seen: RunView) -> None:
    """Everything that moves. While the coordinator is away, the last state stays on the page, and says so."""
    run = seen
    if not seen.ended:
        key = f"last seen {seen.run_id}"
        try:
            run = client.run(seen.run_id)
            st.session_state[key] = run
        except EntenteError as error:
            run = st.session_state.get(key, seen)
            explain(error)
            st.caption("Below is the last state that was read; it goes on by itself when the coordinator answers.")
        if run.ended:
            st.rerun()
    _heading(run)
    _timeline(run)
    _progress(run)
    _numbers(run)
    _quality(run)
    _contribution(run)
    if run.factor is not None and run.ended:
        factor.render(client, run.factor)
    _revealed(run)
    _terms(run)


def _heading(run: RunView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(plain(run.purpose or run.consortium, longest=90), width="content")
        icon = STATUS_ICONS.get(run.status, ":material/autorenew:")
        st.badge(tables.status_text(run), color=STATUS_COLOURS.get(run.status, "blue"), icon=icon)
    took = duration((run.ended_at - run.proposed_at).total_seconds()) if run.ended_at else "under way"
    members = ", ".join(f"{name} (label)" if name == run.label_party else name for name in run.parties)
    st.caption(f"{plain(run.consortium)} · {plain(members)} · proposed {instant(run.proposed_at)} · {took}")
    if run.status == "aborted":
        blame = f"Aborted by {run.culprit}" if run.culprit else "Aborted"
        st.error(plain(run.reason) or "no reason was given", icon=":material/cancel:", title=plain(blame))
    elif run.status == "paused":
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
            st.caption(duration(phase.seconds) if phase.ended_at else idle)


def _progress(run: RunView) -> None:
    """A bar for each party of the phase under way, with speed and time left."""
    current = next((phase for phase in run.phases if phase.status == "running"), None)
    if current is None or run.ended:
        return
    with st.container(border=True):
        st.markdown(f"**{PHASE_TITLES.get(current.name, plain(current.name))}** since {instant(current.started_at)}")
        for state in current.progress:
            parts = [plain(state.party), f"{count(state.done)} of {count(state.total)} {plain(state.unit)}"]
            if state.per_second is not None:
                parts.append(f"{count(state.per_second)} {plain(state.unit)}/s")
            if state.eta_seconds is not None:
                parts.append(f"{duration(state.eta_seconds)} left")
            st.progress(state.fraction, text=" · ".join(parts))
        if not current.progress:
            st.caption("No party has said yet how far it is.")
        if current.finished:
            st.caption(f"Finished: {plain(', '.join(current.finished))}")


def _numbers(run: RunView) -> None:
    evaluation = run.evaluation
    joint = evaluation.ic_joint if evaluation else run.ic_joint
    own = evaluation.ic_own if evaluation else run.ic_own
    uplift = evaluation.uplift if evaluation else None
    used = max((o.max_used for o in run.openings), default=None)
    limit = min((o.limit for o in run.openings), default=None)
    cells = st.columns(5)
    t_joint = f"t = {t_value(evaluation.t_joint)}" if evaluation and evaluation.t_joint is not None else None
    t_uplift = f"t = {t_value(evaluation.t_uplift)}" if evaluation and evaluation.t_uplift is not None else None
    _number(cells[0], "Rank IC, joint", correlation(joint), f"{HELP['rank_ic']} {HELP['t']}", t_joint)
    _number(cells[1], "Rank IC, own", correlation(own), HELP["ic_own"])
    _number(cells[2], "Uplift", correlation(uplift), f"{HELP['uplift']} {HELP['t']}", t_uplift)
    _number(cells[3], "Common entities", count(run.n_common), HELP["common"])
    openings = MISSING if used is None or limit is None else f"{used} of {limit}"
    _number(cells[4], "Openings per row", openings, HELP["openings"])


def _number(cell: DeltaGenerator, label: str, value: str, meaning: str, note: str | None = None) -> None:
    cell.metric(label, value, note, help=meaning, border=True, delta_color="off", delta_arrow="off", height="stretch")


def _quality(run: RunView) -> None:
    st.subheader("The factor, period by period", help=HELP["rank_ic"])
    if any(p.ic_joint is not None or p.ic_own is not None for p in run.series):
        if run.evaluation and run.evaluation.n_periods:
            st.caption(f"{run.evaluation.n_periods} periods out of sample.")
        left, right = st.columns(2)
        left.altair_chart(charts.ic_chart(run.series), alt="Rank IC per period, joint factor and label party alone")
        right.altair_chart(charts.cumulative_chart(run.series), alt="Running sum of the rank ICs")
    elif run.ended:
        empty("Not measured", "The run ended before its evaluation, or its agreement keeps the numbers private.")
    else:
        empty("Not measured yet", "The label party measures the factor once training is over.")
    if any(p.loss is not None for p in run.series):
        with st.expander("Training loss", icon=":material/trending_down:", expanded=not run.ended):
            st.caption(HELP["loss"])
            st.altair_chart(charts.loss_chart(run.series), alt="Training loss per period")


def _contribution(run: RunView) -> None:
    if not run.contributions:
        return
    st.subheader("Who contributed what", help=HELP["shapley"])
    if run.contribution_way:
        st.caption(f"Coalitions valued the {plain(run.contribution_way)} way. {HELP['standard_error']}")
    left, right = st.columns(2)
    left.altair_chart(charts.shapley_chart(run.contributions), alt="Shapley values by party")
    with right:
        table = tables.contributions_table(run.contributions, run.unit, run.scale)
        config = {name: st.column_config.TextColumn(alignment="right") for name in table.columns[1:]}
        st.dataframe(table, hide_index=True, column_config=config, alt="Shapley values, shares and rewards")
        st.caption(f"Reward pot: {plain(amount(run.pot, run.unit, run.scale))}")


def _revealed(run: RunView) -> None:
    if not run.openings and not run.bytes_by_message:
        return
    st.subheader("What was revealed and sent", help=HELP["bytes"])
    left, right = st.columns([2, 3])
    with left:
        st.markdown("**Openings of the most opened row**", help=HELP["openings"])
        if run.openings:
            st.altair_chart(charts.openings_chart(run.openings), alt="Openings used against the limit")
        else:
            st.caption("Nothing has been opened yet.")
        if run.peak_rss_mb:
            st.markdown("**Peak memory**", help=HELP["peak"])
            memory = sorted(run.peak_rss_mb.items())
            st.caption(" · ".join(f"{plain(name)} {count(size)} MB" for name, size in memory))
    with right:
        st.markdown("**Bytes by message type**", help=HELP["bytes"])
        if run.bytes_by_message:
            total = sum(view.bytes for view in run.bytes_by_message)
            st.altair_chart(charts.bytes_chart(run.bytes_by_message), alt="Megabytes sent by message type")
            with st.expander(f"{data_size(total)} in all, by sender"):
                st.dataframe(tables.bytes_table(run.bytes_by_message), hide_index=True, alt="Bytes by sender and type")
        else:
            st.caption("Nothing has been counted yet.")
        if run.relayed:
            st.markdown("**Led through the coordinator**", help=HELP["relayed"])
            pairs = (f"{plain(v.sender)} to {plain(v.receiver)} {data_size(v.bytes)}" for v in run.relayed)
            st.caption(" · ".join(pairs))


def _terms(run: RunView) -> None:
    with st.expander("Where the time went", icon=":material/timeline:"):
        if any(phase.started_at for phase in run.phases):
            chart = charts.phase_chart(run.phases, run.ended_at or datetime.now(UTC))
            st.altair_chart(chart, alt="Start, end and duration of each phase")
        st.dataframe(tables.phases_table(run.phases), hide_index=True, alt="Phases")
    with st.expander("Agreement and signatures", icon=":material/signature:"):
        st.caption(HELP["run"])
        st.code(run.run_id, language=None)
        if run.signatures:
            st.dataframe(tables.signatures_table(run.signatures), hide_index=True, alt="Signatures")
        st.json(run.agreement, expanded=1)


def _journal(client: ClientProtocol, run: RunView) -> None:
    """The run's entries in the event log, read only when asked for."""
    if st.toggle("Show the event log", key=f"events {run.run_id}"):
        events = ask("the event log", lambda: client.events(run.run_id))
        if events:
            st.dataframe(tables.events_table(events), hide_index=True, alt="Event log of the run")
        elif events is not None:
            empty("No entry", "The coordinator has written nothing about this run.")
