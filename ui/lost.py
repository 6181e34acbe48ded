"""While the coordinator does not answer: since when, and going on by itself once it does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from parties.client import EntenteError, PeerError
from ui.wording import as_sentence, instant, plain, when

__all__ = ["away_since", "banner", "found", "lost"]

_SINCE = "coordinator away since"
_RETRY_SECONDS = 5.0


def lost() -> datetime:
    """Note that it did not answer; since when it has not."""
    since: datetime = st.session_state.setdefault(_SINCE, datetime.now(UTC))
    return since


def found() -> None:
    """Note that it answered."""
    st.session_state.pop(_SINCE, None)


def away_since() -> datetime | None:
    """Since when this session has had no answer; None while it has."""
    since: datetime | None = st.session_state.get(_SINCE)
    return since


def banner(error: EntenteError, again: Callable[[], object], *, last: bool) -> None:
    """Say it, and ask ``again`` every few seconds; the page is drawn anew at the first answer.

    ``last``: what was read before is shown below.
    """
    lost()
    st.fragment(_retry, run_every=_RETRY_SECONDS)(str(error), again, last)


def _retry(said: str, again: Callable[[], object], last: bool) -> None:
    try:
        again()
    except PeerError as error:
        said = str(error)
    except EntenteError:  # it answers, if only to refuse: the page itself says how
        found()
        st.rerun()
    else:
        found()
        st.rerun()
    since = lost()
    below = " Below is the last state that was read." if last else ""
    st.error(
        f"{plain(as_sentence(said))}\n\nNo answer for {when(since, ago=False)}.{below} It is asked again "
        f"every {_RETRY_SECONDS:.0f} seconds; nothing has to be done here.",
        title="The coordinator does not answer", icon=":material/cloud_off:",
    )  # fmt: skip
    st.caption(f"Since {instant(since)}.")
