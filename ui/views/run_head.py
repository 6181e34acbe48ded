"""The head of a run's page: what it is, its phases in one row, who has signed, who is awaited, how far each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from parties.client import PartyView, PhaseView, ProgressView, RunView
from ui.run_orders import awaited_words, paused_words, standings
from ui.tables import run as run_tables
from ui.views.run_rounds import latest_round
from ui.wording import (
    HELP,
    PHASE_TITLES,
    STATUS_COLOURS,
    STATUS_ICONS,
    Colour,
    as_sentence,
    count,
    duration,
    instant,
    listed,
    plain,
    when,
)

__all__ = ["heading", "progress", "standing", "timeline"]

_PHASE_BADGES: Mapping[str, tuple[Colour, str]] = {
    "done": ("green", ":material/check:"),
    "running": ("blue", ":material/autorenew:"),
    "failed": ("red", ":material/close:"),
    "skipped": ("gray", ":material/redo:"),
    "waiting": ("gray", ":material/schedule:"),
}
_PAUSED: tuple[Colour, str] = ("orange", ":material/pause_circle:")
_STANDINGS: Mapping[str, tuple[Colour, str]] = {
    "signed": ("green", ":material/signature:"),
    "deciding": ("blue", ":material/hourglass_top:"),
    "away": ("orange", ":material/cloud_off:"),
}

_FEW = 10
"""Of so few a second the first decimal is told as well."""


def heading(run: RunView) -> None:
    """What the run is for, how it stands, and why it stopped or waits."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(plain(run.purpose or run.consortium, longest=90), width="content")
        icon = STATUS_ICONS.get(run.status, ":material/autorenew:")
        st.badge(run_tables.status_text(run), color=STATUS_COLOURS.get(run.status, "blue"), icon=icon)
    took = duration((run.ended_at - run.proposed_at).total_seconds()) if run.ended_at else "under way"
    members = ", ".join(f"{name} (label)" if name == run.label_party else name for name in run.parties)
    st.caption(
        f"{plain(run.consortium)} · {plain(members)} · proposed {when(run.proposed_at)} · {took}",
        help=f"Proposed {instant(run.proposed_at)}. {HELP['run']}",
    )
    for words in paused_words(run):
        st.warning(plain(as_sentence(words)), icon=":material/pause_circle:")
    if run.status == "aborted":
        blame = f"Aborted by {run.culprit}" if run.culprit else "Aborted"
        why = plain(as_sentence(run.reason, run.parties)) or "No reason was given."
        st.error(why, icon=":material/cancel:", title=plain(blame))
    elif run.status == "paused" and not run.pauses:
        waiting = plain(listed(run.waiting_for)) or "a party"
        st.warning(f"Paused: waiting for {waiting}. The run goes on when it is back.", icon=":material/pause_circle:")


def timeline(run: RunView) -> None:
    """The phases in one row, each with its state and duration."""
    known = {phase.name: phase for phase in run.phases}
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"phases {run.run_id}"):
        for name, title in PHASE_TITLES.items():
            if name == "encode" and name not in known:  # of a run with groups alone
                continue
            phase = known.get(name, PhaseView(name=name, status="waiting"))
            colour, icon = _PAUSED if _held(run, phase) else _PHASE_BADGES[phase.status]
            st.badge(f"{title} · {_state(run, phase)}", color=colour, icon=icon, help=HELP[name])


def _held(run: RunView, phase: PhaseView) -> bool:
    return run.status == "paused" and phase.status == "running"


def _state(run: RunView, phase: PhaseView) -> str:
    idle = "not reached" if run.ended and phase.status == "waiting" else "paused" if _held(run, phase) else phase.status
    again = f" · attempt {phase.attempt}" if phase.attempt > 1 else ""
    return f"{duration(phase.seconds) if phase.ended_at else idle}{again}"


def standing(run: RunView, members: Sequence[PartyView]) -> None:
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


def progress(run: RunView, members: Sequence[PartyView]) -> None:
    """A bar for each party of the phase under way, with speed and time left; and who is awaited, since when."""
    current = next((phase for phase in run.phases if phase.status == "running"), None)
    if current is None or run.ended:
        return
    with st.container(border=True):
        title = PHASE_TITLES.get(current.name, plain(current.name))
        st.markdown(f"**{title}** for {when(current.started_at, ago=False)}", help=instant(current.started_at))
        for state in current.progress:
            st.progress(state.fraction, text=_bar_words(run, state))
        if not current.progress and current.name != "approve":
            st.caption("It starts: no party has said yet how far it is.")
        groups = run.groups if current.name == "encode" else ()
        opened = [words for found in (run.federated, *groups) for words in latest_round(found)]
        for words in (*opened, *awaited_words(run, current, members)):
            st.caption(plain(words))
        if current.finished:
            st.caption(f"Finished by {plain(listed(current.finished))}.")


def _bar_words(run: RunView, state: ProgressView) -> str:
    parts = [plain(state.party), f"{count(state.done)} of {count(state.total)} {plain(state.unit)}"]
    if period := _period(run, state):
        parts.append(period)
    if "gain" in state.metrics:
        parts.append(f"latest gain {state.metrics['gain']:.2%}")
    if state.per_second is not None and run.status != "paused":
        parts.append(_speed(state.per_second, state.unit))
    if state.eta_seconds is not None and run.status != "paused":
        parts.append(f"{duration(state.eta_seconds)} left")
    return " · ".join(parts)


def _speed(per_second: float, unit: str) -> str:
    """How fast a party goes; in seconds of one where it does less than one in a second."""
    if 0 < per_second < 1:
        return f"{1 / per_second:.1f} s a {plain(unit.removesuffix('s'))}"
    pace = count(per_second, 1) if per_second < _FEW else count(per_second)
    return f"{pace.removesuffix('.0')} {plain(unit.removesuffix('s') if pace == '1.0' else unit)}/s"


def _period(run: RunView, state: ProgressView) -> str:
    """The decision period that training has come to, where the party says so."""
    calendar = run.agreement.get("calendar")
    periods = calendar.get("periods", ()) if isinstance(calendar, dict) else ()
    at = int(state.metrics.get("period", -1))
    return f"period {plain(str(periods[at]))} ({at + 1} of {len(periods)})" if 0 <= at < len(periods) else ""
