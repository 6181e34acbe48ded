"""Turning the pages of something long: where one is, and the way on and back."""

from __future__ import annotations

import streamlit as st

from parties.client import singular
from ui.shortcuts import turn_by_keys
from ui.wording import count

__all__ = ["offset_of", "page_words", "pages_and_keys", "turn_pages"]


def page_words(total: int, offset: int, size: int, things: str) -> str:
    """Which of how many are shown: 13 to 24 of 57 factors."""
    if total == 0:
        return f"No {things}"
    if total == 1:
        return f"1 {singular(things)}"
    return f"{count(offset + 1)} to {count(min(offset + size, total))} of {count(total)} {things}"


def offset_of(key: str, size: int) -> int:
    """How many things the page before skipped, as :func:`turn_pages` left it under ``key``."""
    return (int(st.session_state.get(key, 1)) - 1) * size


def turn_pages(key: str, total: int, size: int, things: str) -> None:
    """What is shown and, where there is more than one page, the way to the others.

    ``key`` should hold the filters, so that another question starts at its first page.
    """
    offset = offset_of(key, size)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(page_words(total, offset, size, things), width="content")
        if total > size:
            pages_and_keys(key, -(-total // size))


def pages_and_keys(key: str, pages: int) -> None:
    """The way to the other pages, by pointer and by key; which page is open stands under ``key``."""
    st.pagination(pages, key=key)
    turn_by_keys(key, int(st.session_state.get(key, 1)), pages, lambda to: st.session_state.update({key: to}))
