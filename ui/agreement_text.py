"""The text of an agreement on a page: the sections that operators sign, and what to look at twice."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from parties.client import TextSection
from ui.caution_words import caution_words
from ui.wording import marked, plain

__all__ = ["show_text"]


def show_text(text: Sequence[TextSection], cautions: Sequence[str]) -> None:
    """Every section under its heading, each sentence whole."""
    for section in text:
        lines = "\n".join(f"- {plain(marked(line), longest=4000)}" for line in section.lines)
        st.markdown(f"**{plain(section.title)}**\n\n{lines}")
    if cautions:
        words = "\n".join(
            f"- :orange[:material/warning:] {plain(caution_words(line), longest=600)}" for line in cautions
        )
        st.markdown(f"**Look twice**\n\n{words}")
