"""Favourites: runs, factors and searches that this person marked with a star. They are read once in a visit."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, EntenteError, FactorsQuestion, FavouriteKind, FavouriteView, RunsQuestion
from ui.empty_states import explain
from ui.links import go, reachable
from ui.shortcuts import heard
from ui.wording import plain, short_id

__all__ = ["favourites", "show_favourites", "star"]

_READ, _REFUSED = "favourites as last read", "a favourite was refused"
_MOST = 8
_KINDS: dict[FavouriteKind, str] = {
    "run": ":material/monitoring:",
    "factor": ":material/query_stats:",
    "search": ":material/search:",
}


def favourites(client: ClientProtocol) -> list[FavouriteView]:
    """This person's own, the latest first; none while the coordinator is away."""
    if _READ not in st.session_state:
        try:
            st.session_state[_READ] = client.favourites()
        except EntenteError:
            return []
    found: list[FavouriteView] = st.session_state[_READ]
    return found


def star(client: ClientProtocol, kind: FavouriteKind, what: str) -> None:
    """The button that makes the ``kind`` on this page a favourite, or none any more."""
    kept = FavouriteView(kind=kind, what=what) in favourites(client)
    st.button(
        f"★ Favourite {kind}" if kept else "☆ Add to favourites",
        key=f"star {kind}",
        type="tertiary",
        shortcut=heard("F"),
        help=f"{'Takes this' if kept else 'Keeps this'} {kind} {'from' if kept else 'among'} your favourites, on the "
        "Overview. Only you see them.",
        on_click=_keep,
        args=(client, kind, what, not kept),
    )  # fmt: skip
    error = st.session_state.pop(_REFUSED, None)
    if error is not None:
        explain(error)


def show_favourites(client: ClientProtocol) -> None:
    """The favourites as a row of ways to them; nothing where there are none."""
    found = [one for one in favourites(client) if reachable(one.kind)]
    if not found:
        return
    names = _names(client, {one.kind for one in found})
    with st.container(horizontal=True, vertical_alignment="center", key="favourites"):
        st.markdown("**Favourites**", width="content")
        for one in found[:_MOST]:
            name = one.what if one.kind == "search" else names.get((one.kind, one.what), short_id(one.what))
            icon, key = _KINDS[one.kind], f"favourite {one.kind} {one.what}"
            if st.button(plain(name, longest=40), icon=icon, key=key, type="tertiary", help=f"Opens the {one.kind}"):
                go(one.kind, **({"q": one.what} if one.kind == "search" else {"run": one.what}))
        if len(found) > _MOST and st.button(f"{len(found) - _MOST} more", key="more favourites", type="tertiary"):
            go("runs", favourites="true")


def _names(client: ClientProtocol, kinds: set[FavouriteKind]) -> dict[tuple[str, str], str]:
    """What runs and factors are called, by kind and id."""
    names: dict[tuple[str, str], str] = {}
    try:
        if "run" in kinds:
            runs = client.runs_page(RunsQuestion(favourites=True, limit=100)).runs
            names |= {("run", run.run_id): run.purpose or run.consortium for run in runs}
        if "factor" in kinds:
            cards = client.factor_page(FactorsQuestion(favourites=True, limit=100)).cards
            names |= {("factor", card.run_id): f"{card.factor_id} {card.version}" for card in cards}
    except EntenteError:
        return names  # the ids stand in their place
    return names


def _keep(client: ClientProtocol, kind: FavouriteKind, what: str, kept: bool) -> None:
    """Before the page is drawn again: keep it, or take it away."""
    try:
        client.favour(kind, what, kept=kept)
    except EntenteError as error:
        st.session_state[_REFUSED] = error
    st.session_state.pop(_READ, None)
