"""What a page shows when there is nothing yet, or when the coordinator does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from parties.client import EntenteError
from ui.wording import as_sentence, with_commands

__all__ = ["ask", "empty", "explain"]

T = TypeVar("T")


def ask(what: str, read: Callable[[], T]) -> T | None:
    """What ``read`` gives, with a spinner meanwhile; on an error, say it, offer to try again, and give ``None``."""
    try:
        with st.spinner(f"Reading {what}"):
            return read()
    except EntenteError as error:
        explain(error)
        st.button("Try again", icon=":material/refresh:", key=f"again {what}")
        return None


def explain(error: EntenteError) -> None:
    """The error's own sentence."""
    st.error(with_commands(as_sentence(str(error))), icon=":material/error:")


def empty(title: str, hint: str) -> None:
    """A quiet box where content will be; ``hint`` says how it gets there."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f"**{title}**", width="content")
        st.caption(hint, width="content")
