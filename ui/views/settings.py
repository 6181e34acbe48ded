"""What is in force here, what this person prefers, who is signed in, and what was done."""

from __future__ import annotations

from zoneinfo import available_timezones

import streamlit as st

from parties.client import ClientProtocol, EntenteError, Preference, SessionView, ViewerView
from ui.empty_states import ask, empty, explain
from ui.links import addresses, go, reachable
from ui.paging import offset_of, turn_pages
from ui.preferences import GROUPING, THEMES, apply_theme, recall
from ui.shortcuts import recall_keys, show_keys
from ui.tables.desk import actions_table, sessions_table, settings_table
from ui.text_table import show_text_table
from ui.tour import start
from ui.wording import HELP, instant, plain, when
from ui.zone import CHOSEN, browser_zone

__all__ = ["render"]

_PAGE = 50
_BROWSER = ""


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    st.title("Settings")
    sees_all = viewer.role in ("admin", "auditor")
    names = [
        "You",
        *(["Coordinator", "Action log"] if sees_all else []),
        *(["Sign-ins"] if viewer.role == "admin" else []),
    ]
    for name, tab in zip(names, st.tabs(names), strict=True):
        with tab:
            {"You": _you, "Coordinator": _coordinator, "Action log": _actions, "Sign-ins": _sessions}[name](
                client, viewer
            )


def _you(client: ClientProtocol, viewer: ViewerView) -> None:
    who, zone = st.columns(2, gap="large")
    with who, st.container(border=True):
        st.markdown(f"**{plain(viewer.name)}**")
        party = f" of {plain(viewer.party)}" if viewer.party else ""
        st.markdown(f"{viewer.role}{party}", help=HELP[viewer.role])
        if viewer.way:
            st.caption(f"Signed in by {viewer.way}; the session ends {instant(viewer.expires)} at the latest.")
        st.caption("Roles are given and enforced by the coordinator; this page only follows them.")
    with who:
        _notices()
    with zone:
        _zone(client)
        _look(client)
        if st.button("Take the tour again", icon=":material/tour:"):
            start()


def _zone(client: ClientProtocol) -> None:
    zones = [_BROWSER, "UTC", *sorted(name for name in available_timezones() if "/" in name)]
    chosen = st.session_state.get(CHOSEN, _BROWSER)
    wanted = st.selectbox(
        "Time zone",
        zones,
        index=zones.index(chosen) if chosen in zones else 0,
        format_func=lambda name: name or f"The browser's ({browser_zone() or 'UTC'})",
        help="Which clock the times on all pages are read from.",
    )
    if wanted != chosen:
        try:
            client.prefer("zone", wanted or "")
        except EntenteError as error:
            explain(error)
            return
        st.session_state[CHOSEN] = wanted
        st.rerun()


def _look(client: ClientProtocol) -> None:
    """The theme, the mark between thousands and the keys, kept for the person."""
    preferred = ask("what you prefer", client.preferences)
    if preferred is None:
        return
    theme, marks = st.columns(2)
    shown, mark = preferred.get("theme", ""), preferred.get("thousands", "")
    wanted = theme.selectbox(
        "Theme", list(THEMES), index=list(THEMES).index(shown) if shown in THEMES else 0,
        format_func=THEMES.__getitem__, key="theme",
    )  # fmt: skip
    grouped = marks.selectbox(
        "Numbers", list(GROUPING), index=list(GROUPING).index(mark) if mark in GROUPING else 0,
        format_func=lambda key: f"12{GROUPING[key]}345.67", key="thousands",
        help="The mark between thousands on all pages. Files keep plain numbers.",
    )  # fmt: skip
    used = st.toggle(
        "Keyboard shortcuts", preferred.get("shortcuts") != "off", key="use shortcuts",
        help="Single keys that lead to a page or turn one. None is heard while you type.",
    )  # fmt: skip
    with st.expander("Which keys there are", icon=":material/keyboard:"):
        show_keys()
    if used == (preferred.get("shortcuts") == "off") and _kept(client, "shortcuts", "" if used else "off"):
        recall_keys("" if used else "off")
        st.rerun()
    if grouped != mark and _kept(client, "thousands", grouped):
        recall(grouped)
        st.rerun()
    if wanted != shown and _kept(client, "theme", wanted):
        apply_theme(wanted, addresses())


def _kept(client: ClientProtocol, key: Preference, value: str) -> bool:
    try:
        client.prefer(key, value)
    except EntenteError as error:
        explain(error)
        return False
    return True


def _notices() -> None:
    """How somebody who is not at the page is told."""
    with st.container(border=True):
        st.markdown(":material/notifications: **Notices**")
        st.markdown(
            "What waits for you, what failed and who is away is told by webhook or e-mail: by the coordinator to its "
            "admins, by each node to its operators. Who is told what stands in `[notices]` of `coordinator.toml` and "
            "`node.toml`; this command tries every way:"
        )
        st.code("entente notices --home DIR", language=None)
        if reachable("guides") and st.button("How to set them up", icon=":material/menu_book:", type="tertiary"):
            go("guides", name="admin-guide")


def _coordinator(client: ClientProtocol, _: ViewerView) -> None:
    found = ask("the settings", client.settings)
    if found is None:
        return
    st.caption("As they are in force. They are changed in `coordinator.toml`; the coordinator reads it when it starts.")
    only = st.toggle("Only what differs from the default", key="given settings")
    shown = [setting for setting in found if not only or setting.value != setting.default]
    if shown:
        show_text_table(settings_table(shown), alt="Settings of the coordinator", group="Table")
    else:
        empty("Nothing differs", "Every setting has its default.")


def _actions(client: ClientProtocol, _: ViewerView) -> None:
    st.caption("What people did here or tried, newest first. The coordinator's audit log has the same, signed.")
    name = st.text_input("Person", key="actions of", placeholder="everybody", help="A person's exact name.").strip()
    key = f"actions {name}"
    page = ask("the action log", lambda: client.actions(limit=_PAGE, offset=offset_of(key, _PAGE), name=name))
    if page is None:
        return
    if not page.total:
        empty("Nothing was done yet", "Signing in, proposing, approving and stopping leave an entry here.")
        return
    show_text_table(actions_table(page.actions), alt="Actions of people", code=("About",))
    turn_pages(key, page.total, _PAGE, "actions")


def _sessions(client: ClientProtocol, _: ViewerView) -> None:
    found = ask("the sign-ins", client.sessions)
    if found is None:
        return
    live = [session for session in found if session.ended is None]
    st.subheader("Signed in now", help=HELP["session"])
    for session in live:
        _session(client, session)
    if not live:
        empty("Nobody", "People sign in with a token of `entente ui token`.")
    ended = [session for session in found if session.ended is not None]
    if ended:
        st.subheader("Ended")
        show_text_table(sessions_table(ended), alt="Ended sessions")


def _session(client: ClientProtocol, session: SessionView) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        party = f" of {plain(session.party)}" if session.party else ""
        here = " · this session" if session.here else ""
        st.markdown(
            f"**{plain(session.name)}** · {session.role}{party}{here}  \n"
            f"{session.way}, began {when(session.began)}, last used {when(session.seen)}",
            width="content",
            help=f"Began {instant(session.began)}, last used {instant(session.seen)}.",
        )
        if st.button("End", key=f"end {session.number}", icon=":material/logout:", help="Sign this person out now"):
            try:
                client.end_session(session.number)
            except EntenteError as error:
                explain(error)
                return
            st.rerun()
