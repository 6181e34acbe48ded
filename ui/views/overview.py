"""The consortium at a glance: what runs, who is there, what money waits, and what needs somebody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import streamlit as st

from parties.client import (
    AuditQuestion,
    BalancesView,
    ClientProtocol,
    FactorsQuestion,
    HouseView,
    PartyView,
    RunPage,
    RunSummary,
    ViewerView,
)
from ui.empty_states import empty
from ui.favourites import show_favourites
from ui.glance import glance
from ui.incidents import live_part
from ui.links import go, reachable
from ui.log_sentences import sentence
from ui.needs_attention import Concern, pending_money
from ui.shared_reads import latest, shared
from ui.tables.run import status_text
from ui.tables.trust import moment, moment_of
from ui.wording import (
    HELP,
    MISSING,
    STATUS_COLOURS,
    STATUS_ICONS,
    Colour,
    amount,
    correlation,
    count,
    data_size,
    instant,
    percent,
    plain,
    short_id,
    things,
    when,
    with_commands,
)

__all__ = ["render"]

_REFRESH_SECONDS = 5.0
_SHORT_OF_ROOM = 0.1
_NEWEST = 6
_KINDS: Mapping[str, tuple[Colour, str, str]] = {
    "grave": ("red", ":material/error:", "Wrong:"),
    "own": ("orange", ":material/assignment_ind:", "Yours:"),
    "ended": ("gray", ":material/block:", "Stopped:"),
    "waits": ("gray", ":material/hourglass_top:", "Waits:"),
}
_HEALTH: Mapping[str, tuple[Colour, str]] = {
    "online": ("green", ":material/check_circle:"),
    "silent": ("orange", ":material/schedule:"),
    "offline": ("gray", ":material/cloud_off:"),
}


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title("Overview", width="content")
        if reachable("new_run") and st.button("New run", type="primary", icon=":material/add:"):
            go("new_run")
    show_favourites(client)
    live_part(_live, run_every=_REFRESH_SECONDS)(client, viewer)


def _live(client: ClientProtocol, viewer: ViewerView) -> None:
    read = latest("overview", lambda: glance(client, viewer))
    if read is None:
        if st.button("Try again", icon=":material/refresh:", key="again overview"):
            st.rerun()
        return
    house, page, parties, balances = read.house, read.page, read.parties, read.balances
    _attention(read.concerns(viewer))
    _numbers(page, parties, balances, viewer)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("Under way", help=HELP["run"])
        for run in page.runs:
            _card(run)
        if not page.runs:
            empty("Nothing is under way", "A run appears here as soon as an admin proposes one.")
        elif page.total > len(page.runs):
            st.caption(f"{count(page.total - len(page.runs))} more are on the page Runs.")
        _factors(client, viewer)
    with right:
        st.subheader("Parties")
        _parties(parties)
        st.subheader("The coordinator")
        _house(house, viewer)
        _lately(client, viewer)


def _attention(found: list[Concern]) -> None:
    if not found:
        st.success("Nothing needs attention.", icon=":material/task_alt:")
        return
    for number, concern in enumerate(found):
        kind = "grave" if concern.grave else "own" if concern.own else "ended" if concern.ended else "waits"
        with st.container(border=True, key=f"{kind} {number}"):
            leads = bool(concern.page) and reachable(concern.page)
            words, *way = st.columns([5, 1] if leads else 1, vertical_alignment="center")
            colour, icon, title = _KINDS[kind]
            words.markdown(f":{colour}[{icon} **{title}**] {with_commands(concern.text)}")
            if concern.command:
                words.code(concern.command, language=None)
            if leads and way[0].button(
                "Open", key=f"to do {number}", width="stretch", type="primary" if concern.own else "secondary"
            ):
                go(concern.page, **({"run": concern.run} if concern.run else {}))


def _numbers(page: RunPage, parties: list[PartyView], balances: BalancesView | None, viewer: ViewerView) -> None:
    online = sum(party.health == "online" for party in parties)
    sees_money = viewer.role != "reader"
    cells = st.columns([2, 2, 2, 3] if sees_money else 3)
    cells[0].metric("In progress", count(page.total), border=True, help=HELP["run"])
    cells[1].metric("Parties online", f"{online} of {len(parties)}", border=True)
    cells[2].metric("Best rank IC", correlation(page.best_ic), border=True, help=HELP["rank_ic"])
    if not sees_money:
        return
    waiting = [amount(sum_, unit, scale) for (unit, scale), sum_ in pending_money(balances).items()]
    cells[3].metric("Money pending", " + ".join(waiting) or MISSING, border=True, help=HELP["pending"])


def _card(run: RunSummary) -> None:
    with st.container(border=True):
        words, button = st.columns([4, 1], vertical_alignment="center")
        with words:
            colour, icon = STATUS_COLOURS.get(run.status, "blue"), STATUS_ICONS.get(run.status, ":material/autorenew:")
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{plain(run.purpose or run.consortium, longest=70)}**", width="content")
                st.badge(status_text(run), color=colour, icon=icon)
            st.caption(f"`{short_id(run.run_id)}` · proposed {when(run.proposed_at)}", help=instant(run.proposed_at))
        with button:
            if st.button("Open", key=f"open {run.run_id}", width="stretch", help="The run's own page"):
                go("run", run=run.run_id)
        st.progress(min(1.0, max(0.0, run.progress)), text=percent(run.progress))


def _factors(client: ClientProtocol, viewer: ViewerView) -> None:
    st.subheader("Latest factors")
    question = FactorsQuestion(limit=3)
    page = latest(
        "overview factors", lambda: shared(client, viewer, "newest factors", lambda: client.factor_page(question))
    )
    if page is None:
        return
    for card in page.cards:
        with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(
                f"**{plain(card.purpose or card.factor_id, longest=60)}**  \n"
                f"rank IC {correlation(card.ic_joint)}"
                + ("" if card.ic_own is None else f", alone {correlation(card.ic_own)}")
                + f" · made {when(card.created_at)}",
                width="content",
            )
            if st.button("Open", key=f"factor {card.run_id}"):
                go("factor", run=card.run_id)
    if not page.cards:
        empty("No factor yet", "A run that is carried out to its end leaves one.")


def _parties(parties: list[PartyView]) -> None:
    if not parties:
        empty("No party yet", "Invite one with `entente invite`.")
        return
    with st.container(border=True):
        for party in parties:
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                role = f" · {party.role}" if party.role else ""
                doing = " · in a run" if party.running else ""
                st.markdown(f"**{plain(party.name)}**{role}{doing}", width="content")
                colour, icon = _HEALTH[party.health]
                heard = f" · {when(party.last_seen)}" if party.health != "online" and party.last_seen else ""
                word = f"{party.health}{heard}"
                st.badge(word, color=colour, icon=icon, help=f"Last heard of {instant(party.last_seen)}")


def _house(house: HouseView, viewer: ViewerView) -> None:
    with st.container(border=True):
        st.markdown(f"**{plain(house.name)}** · version {plain(house.version)}")
        st.caption(f"Serving since {instant(house.started_at)} on {house.database}.")
        if viewer.role not in ("admin", "auditor"):
            return
        short = house.disk_free < _SHORT_OF_ROOM * house.disk_total
        free = f"{_room(house.disk_free)} of {_room(house.disk_total)} disk free"
        said = f":red[:material/hard_drive: {free}]" if short else free
        st.caption(f"{things(house.log_entries, 'audit entries')} · {said}", help=HELP["disk"])


def _room(size: int) -> str:
    """Of a disk: in whole gigabytes, unless it is tiny."""
    return f"{count(size / 1e9)} GB" if size >= 1e10 else data_size(size)


def _lately(client: ClientProtocol, viewer: ViewerView) -> None:
    """The newest entries of the audit log, for those who may read it."""
    if not reachable("trust"):
        return
    st.subheader("Lately", help=HELP["audit_log"])
    asked = AuditQuestion(limit=_NEWEST)
    page = latest(
        "lately", lambda: shared(client, viewer, "newest entries", lambda: client.audit_page(asked), seconds=10)
    )
    if page is None:
        return
    if not page.entries:
        empty("Nothing has happened yet", "Each step of a run leaves an entry here.")
        return
    with st.container(border=True, gap="small"):
        for entry in page.entries:
            at = moment_of(entry.at)
            stamp = when(at) if isinstance(at, datetime) else ""
            run = f" · `{short_id(entry.run_id)}`" if entry.run_id else ""
            st.markdown(plain(sentence(entry.kind, entry.body)))
            st.caption(f"{stamp}{run}", help=moment(entry.at))
        if st.button("All entries", key="all entries", icon=":material/list:", type="tertiary"):
            go("trust")
