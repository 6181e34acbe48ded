"""Getting from one page to another, whatever a view is asked to show."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from ui.sign_in import below

__all__ = ["addresses", "go", "reachable", "remember", "titled"]

_PAGES = "pages of the site"


def remember(pages: Mapping[str, StreamlitPage]) -> None:
    """Say which pages this session has, by key."""
    st.session_state[_PAGES] = dict(pages)


def go(key: str, **parameters: str) -> None:
    """Leave for another page, such as ``go("run", run=run_id)``; raises KeyError for one the session does not have."""
    pages: Mapping[str, StreamlitPage] = st.session_state[_PAGES]
    st.switch_page(pages[key], query_params=parameters)


def addresses() -> list[str]:
    """Where the pages of this session are, on this site."""
    return [below("/"), *(below(f"/{key}") for key in st.session_state.get(_PAGES, {}))]


def reachable(key: str) -> bool:
    """Whether this session has that page: its role may see it."""
    return key in st.session_state.get(_PAGES, {})


def titled(key: str) -> str:
    """What this session's page is called, less how much waits there; raises KeyError for one it does not have."""
    pages: Mapping[str, StreamlitPage] = st.session_state[_PAGES]
    return pages[key].title.partition(" (")[0]
