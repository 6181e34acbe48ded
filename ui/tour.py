"""The guided tour: a few sentences on each page, one page after the other, offered once and remembered."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from parties.client import ClientProtocol, EntenteError
from ui.links import go, reachable

__all__ = ["SEEN", "STEPS", "Step", "end", "offer", "show", "start"]

_AT = "step of the tour"
SEEN = "tour was seen"


@dataclass(frozen=True)
class Step:
    """What is said on the page ``key``."""

    key: str
    title: str
    text: str


STEPS: tuple[Step, ...] = (
    Step(
        "overview",
        "Everything at a glance",
        "What runs, who is there, what money waits, and at the top whatever needs somebody. It refreshes by itself.",
    ),
    Step(
        "runs",
        "Runs, from the agreement to the ledger",
        "Every run begins as one agreement that all parties sign. Search, sort and take the list away; open one to "
        "follow it.",
    ),
    Step(
        "run",
        "One run, and what it revealed",
        "The phases, the progress of each party, and how often a row's sum was opened against the limit that each "
        "feature party enforces itself. Features never leave their owner.",
    ),
    Step(
        "factors",
        "What came out",
        "Each factor with its rank IC beside the label party's own. Open one for its validation, its verification and "
        "its files.",
    ),
    Step(
        "contributions",
        "Who added what",
        "Shapley values with their intervals: what each party's data brought, and what it is paid for it.",
    ),
    Step(
        "ledger",
        "Money that adds up",
        "Double entry: rewards are pending until the label's horizon has passed on live data, and final after two "
        "people approved. Every amount can be checked from the first entry on.",
    ),
    Step("trust", "Proof", "The audit log, its verification, and for each run what was sent and what it could reveal."),
    Step("members", "Who belongs", "Invite a party, see when its certificate ends, and put a member out."),
    Step(
        "settings",
        "Your own page",
        "Choose the time zone here, and see the coordinator's settings and everything people did, if your role may.",
    ),
)


def start() -> None:
    """Begin at the first page."""
    st.session_state[_AT] = 0
    go(_steps()[0].key)


def offer() -> None:
    """On a first visit, ask whether to begin."""
    if st.session_state.get(SEEN) or _AT in st.session_state:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(":material/tour: **New here?** A short tour shows what is where.", width="content")
        with st.container(horizontal=True, width="content"):
            if st.button("Show me around", type="primary"):
                start()
            st.button("Not now", on_click=_put_off)


def show(key: str, client: ClientProtocol) -> None:
    """The step that belongs to the page ``key``, where the tour is there."""
    at, steps = st.session_state.get(_AT), _steps()
    if at is None or at >= len(steps) or steps[at].key != key:
        return
    step, last = steps[at], at == len(steps) - 1
    with st.container(border=True, key="tour"):
        st.markdown(f":material/tour: **{step.title}**  \n{step.text}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if at and st.button("Back"):
                _to(at - 1)
            if not last and st.button("Next", type="primary", icon=":material/arrow_forward:"):
                _to(at + 1)
            if st.button("Done" if last else "End the tour", type="primary" if last else "tertiary"):
                end(client)
                st.rerun()
            st.caption(f"{at + 1} of {len(steps)}")


def end(client: ClientProtocol) -> None:
    """Leave the tour, and do not offer it again."""
    st.session_state.pop(_AT, None)
    st.session_state[SEEN] = True
    try:
        client.prefer("tour", "seen")
    except EntenteError:
        return  # it will be offered once more, which does no harm


def _put_off() -> None:
    st.session_state[SEEN] = True


def _to(at: int) -> None:
    st.session_state[_AT] = at
    go(_steps()[at].key)


def _steps() -> list[Step]:
    """The steps on pages that this session has."""
    return [step for step in STEPS if reachable(step.key)]
