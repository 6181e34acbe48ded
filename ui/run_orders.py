"""What a viewer may ask of a run, and where each party stands before it has begun. Nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from parties.client import PartyView, PhaseView, RunSummary, RunView, ViewerView
from ui.wording import listed, when

__all__ = ["Order", "Standing", "awaited_words", "orders", "paused_words", "standings"]

Order = Literal["pause", "resume", "cancel"]
Standing = tuple[str, str, str]


def orders(run: RunSummary, viewer: ViewerView) -> tuple[Order, ...]:
    """What to offer. The coordinator decides: an operator acts for a party of the run, an admin for the consortium."""
    own = viewer.party if viewer.role == "operator" else "admin"
    if run.ended or viewer.role not in ("admin", "operator") or (own != "admin" and own not in run.parties):
        return ()
    held = [pause.by for pause in run.pauses]
    found: list[Order] = []
    if own not in held and run.phase != "settle":
        found.append("pause")
    if own in held or (own == "admin" and held):
        found.append("resume")
    return (*found, "cancel")


def paused_words(run: RunSummary) -> tuple[str, ...]:
    """By whom a run is held, and why; and what it still does. As peers wrote it: not yet escaped."""
    words = [f"Paused by {pause.by}" + (f": {pause.why}" if pause.why else "") for pause in run.pauses]
    if run.pauses and run.stopping:
        words.append("It stops behind the next record that all parties have.")
    return tuple(words)


def standings(run: RunView, members: Sequence[PartyView]) -> list[Standing]:
    """For each party: its name, ``signed``, ``deciding`` or ``away``, and what that means."""
    seen: Mapping[str, PartyView] = {member.name: member for member in members}
    signed = {signature.party: signature for signature in run.signatures}
    found: list[Standing] = []
    for name in run.parties:
        member = seen.get(name)
        if name in signed:
            found.append((name, "signed", "its node has checked and signed the agreement"))
        elif member is not None and member.health == "offline":
            found.append((name, "away", "its node is not connected; it is asked when it is back"))
        else:
            found.append((name, "deciding", "its node has the agreement; its operator or its policy decides"))
    return found


def awaited_words(run: RunView, phase: PhaseView, members: Sequence[PartyView]) -> tuple[str, ...]:
    """Who is awaited in a phase under way, and since when it has been away. As peers wrote it: not yet escaped."""
    seen = {member.name: member for member in members}
    done = {*phase.finished, *(run.federated.dropped if run.federated is not None else ())}
    still = [name for name in phase.participants or run.parties if name not in done]
    away = [seen[name] for name in still if name in seen and seen[name].health != "online"]
    words = [
        f"{one.name} is away, last heard of {when(one.last_seen)}; the run goes on when it is back." for one in away
    ]
    if phase.finished and still:
        words.insert(0, f"Waits for {listed(still)}.")
    return tuple(words)
