"""Files that the coordinator makes when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ui.empty_states import ask
from ui.wording import plain

__all__ = ["made_file"]


def made_file(label: str, name: str, mime: str, make: Callable[[], bytes], of: str = "") -> None:
    """A file that is made when it is asked for, and then handed over; a refusal is said in its own words."""
    key = f"file {name} {of}"
    if st.button(plain(label), icon=":material/note_add:", key=f"make {key}"):
        made = ask(name, make)
        if made is not None:
            st.session_state[key] = made
    if key in st.session_state:
        st.download_button(
            f"Download {plain(name)}", st.session_state[key], file_name=name, mime=mime, icon=":material/download:",
            on_click="ignore", key=f"take {key}", type="primary",
        )  # fmt: skip
