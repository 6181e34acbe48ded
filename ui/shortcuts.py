"""Keyboard shortcuts: which keys there are, whether this person wants them, and the unseen buttons that hear them.

They are Streamlit's own, a button's ``shortcut``: a letter or a digit, alone or with Shift. So none is a browser's key,
none is heard while somebody types in a field, and a screen reader keeps its own. None acts: it opens, turns or asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from ui.links import go, reachable, titled

__all__ = ["JUMPS", "heard", "listen", "offer_keys", "recall_keys", "show_keys", "turn_by_keys", "uses_keys"]

JUMPS: Mapping[str, str] = {
    "overview": "Shift+1",
    "runs": "Shift+2",
    "new_run": "Shift+3",
    "factors": "Shift+4",
    "compare": "Shift+5",
    "contributions": "Shift+6",
    "ledger": "Shift+7",
    "settlement": "Shift+8",
    "trust": "Shift+9",
    "members": "Shift+0",
    "guides": "Shift+G",
    "settings": "Shift+S",
}
"""The key that leads to a page, by the page's name."""
_OTHERS: Mapping[str, str] = {
    "S": "To the field *Search everything*",
    "N": "Next page of a list; next tab of a new run",
    "P": "Previous page of a list; previous tab of a new run",
    "Shift+P": "*Propose* a new run: it shows the agreement and asks, as the button does",
    "F": "Keep this run, factor or search among your favourites, or take it from there",
    "R": "Read this page again, after a fault too",
    "K": "This list",
}
_OFF, _PRESSED = "keyboard shortcuts are off", "search was asked for by key"
_TO_SEARCH = """
<script>
{ /* %d */
const hidden = document.querySelector('[data-testid=stExpandSidebarButton]');
hidden?.click();
setTimeout(() => document.querySelector('[data-testid=stSidebar] input[type=search]')?.focus(), hidden ? 400 : 0);
}
</script>
"""


def recall_keys(preferred: str) -> None:
    """Go on with what this person prefers: "off", or "" for the keys."""
    st.session_state[_OFF] = preferred == "off"


def uses_keys() -> bool:
    """Whether this person has not turned them off."""
    return not st.session_state.get(_OFF, False)


def heard(key: str) -> str | None:
    """The key for a button's ``shortcut``; None where the person uses none."""
    return key if uses_keys() else None


def listen() -> None:
    """Hear the keys of every page: to the other pages, and to the search."""
    if not uses_keys():
        return
    with st.container(key="unseen everywhere"):
        for page, key in JUMPS.items():
            if reachable(page) and st.button(key, key=f"key of {page}", shortcut=key):
                go(page)
        _search()


@st.fragment
def _search() -> None:
    """Apart, so that the field has the next letter although the page is still being drawn."""
    if st.button("S", key="key of the search", shortcut="S"):
        times = st.session_state[_PRESSED] = st.session_state.get(_PRESSED, 0) + 1
        st.html(_TO_SEARCH % times, unsafe_allow_javascript=True)  # numbered: the same would not run again


def turn_by_keys(name: str, at: int, last: int, turn: Callable[[int], None]) -> None:
    """Hear N and P where there is a next or a previous of something: ``turn`` gets the number it goes to, from 1."""
    if not uses_keys():
        return
    with st.container(key=f"unseen {name}"):
        for key, to in (("N", at + 1), ("P", at - 1)):
            if 1 <= to <= last:
                st.button(key, key=f"key {key} of {name}", shortcut=key, on_click=turn, args=(to,))


def offer_keys() -> None:
    """The button that shows the list."""
    with st.container(key="keys"):
        if st.button("Keyboard shortcuts", icon=":material/keyboard:", type="tertiary", shortcut=heard("K")):
            st.dialog("Keyboard shortcuts", icon=":material/keyboard:")(show_keys)()


def show_keys() -> None:
    """The list, for the pages that this session has."""
    rows = {**_OTHERS, **{key: titled(page) for page, key in JUMPS.items() if reachable(page)}}
    lines = [f"| `{key}` | {does} |" for key, does in rows.items()]
    st.markdown("\n".join(["| Key | What it does |", "|---|---|", *lines]))
    st.caption(
        "No key is heard while you type in a field, and none signs, pays, pauses or cancels anything. A screen "
        "reader's own keys come first. *Settings* turns them off."
        if uses_keys()
        else "You have turned them off, in *Settings*. R alone stays: it is Streamlit's own."
    )
