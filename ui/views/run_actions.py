"""Pausing, resuming and cancelling a run: asked for here, decided and recorded by the coordinator."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from parties.client import ClientProtocol, EntenteError, RunView, ViewerView
from ui.empty_states import explain
from ui.run_orders import Order, orders
from ui.wording import plain

__all__ = ["buttons", "refusal"]

_TITLES: Mapping[Order, tuple[str, str]] = {
    "pause": ("Pause", ":material/pause:"),
    "resume": ("Resume", ":material/play_arrow:"),
    "cancel": ("Cancel", ":material/stop_circle:"),
}
_MEANS: Mapping[Order, str] = {
    "pause": "The run stops behind the next record that all parties have, and loses nothing. It waits until it is "
    "resumed; parties stay signed.",
    "resume": "The run goes on from its records once nobody holds it any more.",
    "cancel": "The run ends for everyone and cannot be taken up again. What was opened stays opened and counts against "
    "the budget of its rows; nothing is paid.",
}
_REFUSED = "an order about a run was refused"


def buttons(client: ClientProtocol, viewer: ViewerView, run: RunView) -> None:
    """The buttons of what this viewer may ask for; each asks again before it acts.

    Not for a fragment that refreshes by itself: it would close the question under the viewer's hand.
    """
    for order in orders(run, viewer):
        title, icon = _TITLES[order]
        if st.button(title, icon=icon, key=f"{order} {run.run_id}"):
            st.dialog(f"{title} this run?", icon=icon)(_confirm)(client, viewer, run, order)


def refusal() -> None:
    """What the coordinator said to the last order, where it refused."""
    error = st.session_state.pop(_REFUSED, None)
    if error is not None:
        explain(error)


def _confirm(client: ClientProtocol, viewer: ViewerView, run: RunView, order: Order) -> None:
    st.markdown(f"**{plain(run.purpose or run.consortium, longest=90)}**")
    st.caption(_MEANS[order])
    if viewer.party:
        st.caption(f"You act for {plain(viewer.party)}; every party reads it.")
    why = f"why {order} {run.run_id}"
    if order != "resume":
        st.text_input("Why", key=why, max_chars=400, placeholder="every party reads it")
    if st.button(
        f"{_TITLES[order][0]} the run", type="primary", key=f"really {order} {run.run_id}", on_click=_give,
        args=(client, run.run_id, order, why),
    ):  # fmt: skip
        st.rerun()


def _give(client: ClientProtocol, run_id: str, order: Order, why: str) -> None:
    """Before the page is drawn again: give the order."""
    said = str(st.session_state.get(why, "") or "").strip()
    try:
        if order == "pause":
            client.pause(run_id, said)
        elif order == "resume":
            client.resume(run_id)
        else:
            client.cancel(run_id, said or "cancelled at the desk")
    except EntenteError as error:
        st.session_state[_REFUSED] = error
