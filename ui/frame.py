"""What is around every page: whose session it is, the way out, the tour, and whose site this is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from parties.client import ClientProtocol, EntenteError, ViewerView
from ui import tour
from ui.connection import known_as
from ui.incidents import guarded
from ui.links import addresses, go, reachable
from ui.preferences import apply_theme, recall
from ui.shortcuts import listen, offer_keys, recall_keys
from ui.wording import HELP, plain
from ui.zone import CHOSEN

__all__ = ["around"]

_LOOK = Path(__file__).with_name("look.css")
_KNOWN = "preferences were read"
_ASKED, _ASKS = "asked for everywhere", "asks everywhere"


def around(
    key: str, client: ClientProtocol, viewer: ViewerView, leave: Callable[[], None], show: Callable[[], None]
) -> None:
    """Show the page ``key`` by ``show``, within its frame; ``leave`` signs out."""
    theme = _recall(client)
    st.html(_LOOK)
    with st.sidebar:
        _search()
        _person(viewer, leave)
        offer_keys()
        if theme is not None:
            apply_theme(theme, addresses())
    listen()
    if key == "overview":
        tour.offer()
    tour.show(key, client)
    guarded(show)()
    _foot(client)


def _recall(client: ClientProtocol) -> str | None:
    """Read what this person prefers, once in a visit, and go on with it; gives the theme where it was read now."""
    if st.session_state.get(_KNOWN):
        return None
    try:
        preferred = client.preferences()
    except EntenteError:
        return None
    st.session_state[_KNOWN] = True
    recall(preferred.get("thousands", ""))
    recall_keys(preferred.get("shortcuts", ""))
    if zone := preferred.get("zone"):
        st.session_state[CHOSEN] = zone
    if preferred.get("tour"):
        st.session_state[tour.SEEN] = True
    return preferred.get("theme", "")


def _search() -> None:
    """A field on every page; what is typed leads to the page that answers."""
    words = st.text_input(
        "Search everything", key=_ASKED, type="search", icon=":material/search:", label_visibility="collapsed",
        placeholder="Search everything", max_chars=200, on_change=lambda: st.session_state.update({_ASKS: True}),
    )  # fmt: skip
    if st.session_state.pop(_ASKS, False) and words and words.strip() and reachable("search"):
        go("search", q=words.strip())


def _person(viewer: ViewerView, leave: Callable[[], None]) -> None:
    with st.container(border=True, key="person"):
        party = f" of {plain(viewer.party)}" if viewer.party else ""
        st.markdown(
            f":material/person: **{plain(viewer.name, longest=40)}**  \n{viewer.role}{party}", help=HELP[viewer.role]
        )
        if st.button("Sign out", icon=":material/logout:", width="stretch"):
            leave()


def _foot(client: ClientProtocol) -> None:
    name = st.session_state.get("name of the consortium")
    if not name:
        try:
            told = client.coordinator()
        except EntenteError:
            return
        known_as(told.name)
        name = st.session_state["name of the consortium"] = f"{plain(told.name)} · Entente {plain(told.version)}"
    st.caption(name, text_alignment="center")
