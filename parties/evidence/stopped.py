"""A member whose node stopped in a session of a federated run: its log has no end of it, others' logs show why. Pure.

A node logs a session when it ends. One that is killed in it has nothing to show of what it sent, which is no proof that
it left anything out, where the others went on without it or gave the attempt up too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parties.agreement.federated_terms import federated_rounds
from parties.evidence.parts import Parts
from parties.names import COORDINATOR

__all__ = ["Stopped", "ended_well", "stopped"]

_KEY = "fed.key"
"""What a member sends each other one for a secure sum."""
_VALUES = 2
"""Sums that follow the rounds of a training: what the common model is worth, and what members' own ones are."""


@dataclass(frozen=True)
class Stopped:
    """A member's log lacks this session. shown: how others' logs have it leave; lacks: what only they have of it."""

    member: str
    session: str
    shown: str
    lacks: str


def ended_well(parts: Parts, session: str) -> bool:
    """Whether the writer logged that the session came to its end."""
    return any(
        entry.body.get("session") == session and entry.body.get("outcome") == "done"
        for entry in parts.logged("session")
    )


def stopped(packs: Sequence[Parts]) -> tuple[Stopped, ...]:
    """Sessions that a member's log lacks because its node stopped in them; none of runs of other kinds.

    A session is not among them that the member's own reports, its messages or the coordinator's record say it ended.
    """
    if not packs[0].federated:
        return ()
    members, coordinator = (
        [one for one in packs if not one.of_coordinator],
        [one for one in packs if one.of_coordinator],
    )
    sessions = {one.about.writer: _sessions(one) for one in members}
    found = []
    for one in members:
        name = one.about.writer
        others = [other for other in members if other is not one]
        for session in sorted({session for other in others for session in sessions[other.about.writer]}):
            if session in sessions[name]:
                continue
            told = {
                other.about.writer: count
                for other in others
                if (count := _count(sessions[other.about.writer].get(session, {}), name))
            }
            shown = _left(name, session, others, coordinator)
            if shown:
                counts = ", ".join(f"{writer} {count:,}" for writer, count in told.items()) or "nobody"
                lacks = (
                    f"That {name}'s node stopped in session {session}: its log has no end of it. Of what it sent there "
                    f"only the others' logs tell: messages received by {counts}."
                )
                found.append(Stopped(name, session, shown, lacks))
    return tuple(found)


def _sessions(parts: Parts) -> Mapping[str, Mapping[str, Any]]:
    return {str(entry.body.get("session")): entry.body for entry in parts.logged("session")}


def _count(body: Mapping[str, Any], sender: str, message: str = "") -> int:
    """Messages that a session's entry has from ``sender``, of one type where it is named."""
    return sum(
        int(one.get("messages", 0))
        for one in body.get("traffic") or ()
        if (one.get("way"), one.get("peer")) == ("received", sender) and message in ("", one.get("message"))
    )


def _left(name: str, session: str, others: Sequence[Parts], coordinator: Sequence[Parts]) -> str:
    """How the packs have the member leave the session; "" where they have it end it, or tell nothing."""
    phase, _, attempt = session.rpartition("-")
    told = {
        report.by: report.report
        for one in coordinator
        for report in one.reports
        if (report.phase, str(report.attempt)) == (phase, attempt)
    }
    if name in told:
        return ""  # its own report on the attempt: it ended it
    if COORDINATOR in told:
        return _dropped(name, session, told[COORDINATOR])
    ended = [other for other in others if ended_well(other, session)]
    if not ended:
        return f"Nobody here logged that session {session} came to its end."
    if phase != "train":
        return ""  # a valuation that ends well takes everybody who is left
    fewer = []
    for other in ended:
        sums, had = _sums(other, name), _count(_sessions(other)[session], name, _KEY)
        if had >= sums:
            return ""
        fewer.append(f"{other.about.writer} logged {had:,} of its keys for {sums:,} sums")
    return f"{name} left session {session} before its end: {'; '.join(fewer)}."


def _dropped(name: str, session: str, report: Mapping[str, Any]) -> str:
    """What the coordinator's own report on the rounds says of the member; "" where it took part to the end."""
    rounds, gone = report.get("rounds"), report.get("gone")
    if not isinstance(rounds, list) or not isinstance(gone, list) or name not in gone:
        return ""
    inside = [number for number, names in enumerate(rounds, start=1) if isinstance(names, list) and name in names]
    was = f"its last was round {inside[-1]:,} of {len(rounds):,}" if inside else f"it was in none of {len(rounds):,}"
    return f"The coordinator logged that {name} dropped out of session {session}: {was}."


def _sums(other: Parts, name: str) -> int:
    """Secure sums of the training that both members were drawn for."""
    rounds = federated_rounds(other.agreement)
    if rounds.model.rule != "sum":
        return _VALUES
    drawn = (rounds.wanted(number) for number in range(rounds.model.rounds))
    return sum({name, other.about.writer} <= set(names) for names in drawn) + _VALUES
