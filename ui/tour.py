"""The guided tour: a few sentences on each page, one page after the other, offered once and remembered."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from parties.client import ClientProtocol, EntenteError
from ui.guides import GUIDES
from ui.links import go, reachable

__all__ = ["SEEN", "STEPS", "Step", "end", "offer", "show", "start"]

_AT = "step of the tour"
SEEN = "tour was seen"


@dataclass(frozen=True)
class Step:
    """What is said on the page ``key``; ``guide`` says more."""

    key: str
    title: str
    text: str
    guide: str


STEPS: tuple[Step, ...] = (
    Step(
        "overview",
        "Everything at a glance",
        "What needs you is on top, each with the page or the command for it. Below: what runs, who is there, what "
        "money waits. It refreshes by itself.",
        "operator-guide",
    ),
    Step(
        "runs",
        "A run, from its agreement to the ledger",
        "Every run begins as one agreement that all parties sign. Its page tells how far each party is, what came of "
        "it, and what was opened against the limit that each party's node counts itself. Features never leave "
        "their owner.",
        "threat-model",
    ),
    Step(
        "factors",
        "What came out, and who is paid for it",
        "Each factor with its rank IC beside the label party's own, its validation and its files. Contributions, "
        "Ledger and Settlement tell what each party's data brought, and what became of the reward.",
        "quant-guide",
    ),
    Step(
        "trust",
        "Nothing here is to be believed",
        "The audit log and its check, what each run revealed to whom, and every agreement with its signatures. Members "
        "tells who belongs and whether their data are ready.",
        "audit",
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
            if reachable("guides") and st.button(
                GUIDES[step.guide], icon=":material/menu_book:", type="tertiary", help="Opens the guide; the tour waits"
            ):
                go("guides", name=step.guide)
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
