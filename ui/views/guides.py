"""Guides: the manual that came with the program, in the page."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, ViewerView
from ui.empty_states import empty
from ui.guides import GUIDES, guide_text

__all__ = ["render"]


def render(_: ClientProtocol, __: ViewerView) -> None:
    """The page; ``?name=`` is the guide."""
    st.title("Guides")
    wanted = st.query_params.get("name", "")
    names = list(GUIDES)
    name = st.selectbox(
        "Guide", names, index=names.index(wanted) if wanted in names else 0, format_func=GUIDES.__getitem__,
        key=f"guide {wanted}",
    )  # fmt: skip
    if name != wanted:
        st.query_params["name"] = name
    text = guide_text(name)
    if text is None:
        empty("The guides are not here", "The program was installed without its documentation; its source has it.")
        return
    with st.container(key="guide"):
        st.markdown(text)
