"""Proposing an estimate of shared entities: what members answer with their own keys, before any run is signed."""

from __future__ import annotations

from typing import Any

import streamlit as st

from parties.client import ClientProtocol, OverlapQuestion, PartyView
from ui.empty_states import ask
from ui.wording import plain

__all__ = ["overlap_form", "parts_of"]

_BY = {"all": "one number", "year": "one for each year", "sector": "one for each sector"}
_SIZES = {2**power: f"{2**power:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") for power in range(6, 18)}
_MOST = 5


def overlap_form(client: ClientProtocol) -> None:
    """The fields, folded until they are wanted."""
    with st.expander("Propose an estimate", icon=":material/join_inner:", key="propose an estimate"):
        st.caption(
            "Each member answers at its own node (`entente overlap answer`), with as many approvers as it needs, and "
            "counts its epsilon against its budget with every other. Nothing moves before all have signed."
        )
        parties = ask("who could take part", client.parties)
        if parties is not None:
            _fields(client, [one for one in parties if _brings_rows(one)])


def _brings_rows(member: PartyView) -> bool:
    return bool(member.columns or member.label_name)


def _fields(client: ClientProtocol, parties: list[PartyView]) -> None:
    names = [one.name for one in parties]
    members = st.multiselect(
        "Among", names, max_selections=_MOST, key="overlap members", placeholder="Choose members",
        help="Two to five. The first that is named counts, and learns no more than the others.",
    )  # fmt: skip
    left, right = st.columns(2)
    epsilon = left.number_input(
        "Epsilon", 0.1, 10.0, 1.0, step=0.1, key="overlap epsilon",
        help="What the estimate may tell of an entity: the smaller, the noisier. Each node has a limit for a year.",
    )  # fmt: skip
    largest = right.selectbox(
        "Most entities of a member", list(_SIZES), list(_SIZES).index(4096), format_func=_SIZES.__getitem__,
        key="overlap largest",
        help="Every list is filled up to it, so that no size shows. Where a member holds more, the estimate fails.",
    )  # fmt: skip
    by = left.selectbox("Numbers", list(_BY), format_func=_BY.__getitem__, key="overlap by")
    days = right.number_input("To be answered within, days", 1, 30, 7, key="overlap days")
    parts = ""
    if by != "all":
        example = "2023, 2024" if by == "year" else "Energy, Utilities"
        parts = st.text_input(
            "Years" if by == "year" else "Sectors", placeholder=example, key="overlap parts", max_chars=1000,
            help="With commas between. Years share the epsilon, since an entity has rows in each; sectors do not.",
        )  # fmt: skip
    purpose = st.text_input("What it is for", key="overlap purpose", max_chars=400, help="Every member reads it.")
    missing = _missing(members, by, parts)
    with st.container(horizontal=True, vertical_alignment="center"):
        wanted = st.button(
            "Propose the estimate",
            type="primary",
            icon=":material/send:",
            key="propose overlap",
            disabled=bool(missing),
        )
        if missing:
            st.caption(missing, width="content")
    if wanted:
        asked: dict[str, Any] = {
            "members": tuple(members), "epsilon": epsilon, "by": by, "parts": parts_of(parts),
            "largest_set": largest, "purpose": purpose.strip(), "days": int(days),
        }  # fmt: skip
        if ask("the proposal", lambda: client.propose_overlap(OverlapQuestion(**asked))) is not None:
            st.toast(f"Proposed to {plain(', '.join(members))}. Each answers at its own node.")


def _missing(members: list[str], by: str, parts: str) -> str:
    """What is still to be filled in before anything can be proposed, or ""."""
    if len(members) < 2:
        return "Name two members or more."
    if by != "all" and not parts_of(parts):
        return f"Name the {by}s."
    return ""


def parts_of(text: str) -> tuple[str, ...]:
    """Years or sectors, as they are typed with commas between."""
    return tuple(part for part in (one.strip() for one in text.split(",")) if part)
