"""How this person likes pages to look: the mark between thousands, and the light or the dark theme.

The theme is Streamlit's own, which a browser remembers by page; what a person chose is written there for every page,
with a mark that it was written here. Without a choice only what bears the mark is taken back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

__all__ = ["GROUPING", "THEMES", "apply_theme", "recall", "thousands"]

GROUPING: Mapping[str, str] = {
    "": "\N{NARROW NO-BREAK SPACE}",
    "comma": ",",
    "apostrophe": "\N{RIGHT SINGLE QUOTATION MARK}",
}
"""The mark between thousands, by the preference that asks for it."""
THEMES: Mapping[str, str] = {"": "The browser's", "Light": "Light", "Dark": "Dark"}

_MARK = "mark between thousands"
_THEME_KEY = "stActiveTheme-{}-v2"  # of Streamlit 1.67: a later one asks for the theme once more
_SCRIPT = """
<script>
{
const wanted = %s, mark = 'entente-theme'; let moved = false;
const put = (key, value) => value ? localStorage.setItem(key, value) : localStorage.removeItem(key);
if (wanted || localStorage.getItem(mark)) {
  for (const key of %s) {
    if ((localStorage.getItem(key) || '') === wanted) continue;
    put(key, wanted);
    moved = true;
  }
  put(mark, wanted);
}
if (moved) location.reload();
}
</script>
"""


def thousands() -> str:
    """The mark between thousands; outside a visit, a narrow space."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return GROUPING[""]
    return GROUPING.get(str(st.session_state.get(_MARK, "")), GROUPING[""])


def recall(thousands_by: str) -> None:
    """Go on with this mark."""
    st.session_state[_MARK] = thousands_by


def apply_theme(theme: str, places: Sequence[str]) -> None:
    """Show the pages at ``places`` in this theme, "" in the browser's; a page that this changes is read again."""
    wanted = json.dumps(json.dumps(theme) if theme in THEMES and theme else "")
    keys = json.dumps([_THEME_KEY.format(place) for place in places])
    st.html(_SCRIPT % (wanted, keys), unsafe_allow_javascript=True)
