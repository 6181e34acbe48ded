"""Where a visitor is who asked for an address that no page has."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, ViewerView
from ui.empty_states import empty
from ui.links import go, reachable
from ui.wording import plain

__all__ = ["render"]

_WAYS = (("overview", "Overview", ":material/dashboard:"), ("search", "Search", ":material/search:"))


def render(_: ClientProtocol, __: ViewerView) -> None:
    """The page."""
    st.title("No such page")
    asked = st.query_params.get("asked", "")
    what = f"There is no page /{plain(asked, longest=200)}" if asked else "There is no page at that address"
    empty(what, "The address may be mistyped, or the page may have another name now. All pages are at the left.")
    with st.container(horizontal=True):
        for key, title, icon in _WAYS:
            if reachable(key) and st.button(title, icon=icon, key=f"from nowhere to {key}"):
                go(key)
