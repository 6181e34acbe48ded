"""Daily use of a finished run in one line: when it was scored last, what is due next, and when it ends."""

from __future__ import annotations

import streamlit as st

from parties.client import DailyView
from ui.wording import count, instant, plain, when

__all__ = ["daily_use"]


def daily_use(daily: DailyView | None) -> None:
    """Nothing where no daily use was agreed."""
    if daily is None:
        return
    last = f"the last {when(daily.last_at)}" if daily.last_at is not None else "none yet"
    told = f"Daily use: {count(len(daily.scored))} of {count(daily.agreed)} later periods scored, {last}."
    if daily.ended:
        st.warning(plain(f"{told} No more follow: {daily.ended}."), icon=":material/event_busy:")
        return
    due = f" Next is {daily.next_period}, due from {instant(daily.next_due)}." if daily.next_due is not None else ""
    st.info(plain(f"{told}{due} The weights are kept until {daily.expires}."), icon=":material/event_repeat:")
