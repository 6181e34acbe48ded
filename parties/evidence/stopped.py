"""A party whose node stopped in a session of a run: its log has no end of it, others' logs show why. Pure.

A node logs a session when it ends. One that is killed in it has nothing to show of what it sent, which is no proof that
it left anything out, where the others went on without it or gave the attempt up too. Where the coordinator's log is
there, it has to name that party as the one that was lost then: of an attempt that ended for another's sake every party
that stayed has an end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parties.agreement.federated_terms import federated_rounds
from parties.agreement.group_terms import group_of
from parties.evidence.parts import Parts
from parties.names import COORDINATOR

__all__ = ["Stopped", "ended_well", "stopped"]

_KEY = "fed.key"
"""What a member sends each other one for a secure sum."""
_VALUES = 2
"""Sums that follow the rounds of a training: what the common model is worth, and what members' own ones are."""
_HELD = "group.held"
"""What a member of a group tells each other one before and after the rounds, and again of an expansion."""
_PHASE = re.compile(r"[a-z]+-[0-9]+")
"""What an attempt at a phase is called; other sessions have no attempts that others go on without."""
_UNPROVED = (
    " No coordinator's pack is here to say whose node it was: somebody who left out the session of an attempt that was "
    "given up would read the same."
)


@dataclass(frozen=True)
class Stopped:
    """A party's log lacks this session. shown: how others' logs have it leave; lacks: what only they have of it."""

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
    """Sessions that a party's log lacks because its node stopped in them.

    A session is not among them that the party's own reports, its messages or the coordinator's record say it ended.
    """
    members, coordinator = (
        [one for one in packs if not one.of_coordinator],
        [one for one in packs if one.of_coordinator],
    )
    sessions = {one.about.writer: _sessions(one) for one in members}
    found = []
    for one in members:
        name = one.about.writer
        others = [other for other in members if other is not one]
        met = {
            session for other in others for session, body in sessions[other.about.writer].items() if _with(body, name)
        }
        for session in sorted(met - set(sessions[name])):
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
                    f"only the others' logs tell: messages received by {counts}.{'' if coordinator else _UNPROVED}"
                )
                found.append(Stopped(name, session, shown, lacks))
    return tuple(found)


def _sessions(parts: Parts) -> Mapping[str, Mapping[str, Any]]:
    return {str(entry.body.get("session")): entry.body for entry in parts.logged("session")}


def _with(body: Mapping[str, Any], name: str) -> bool:
    """Whether anything went between the session's writer and this party."""
    return any(
        name in (one.get("from"), one.get("to")) and one.get("messages") for one in body.get("transcripts") or ()
    )


def _count(body: Mapping[str, Any], sender: str, message: str = "") -> int:
    """Messages that a session's entry has from ``sender``, of one type where it is named."""
    return sum(
        int(one.get("messages", 0))
        for one in body.get("traffic") or ()
        if (one.get("way"), one.get("peer")) == ("received", sender) and message in ("", one.get("message"))
    )


def _left(name: str, session: str, others: Sequence[Parts], coordinator: Sequence[Parts]) -> str:
    """How the packs have the party leave the session; "" where they have it end it, or tell nothing."""
    phase, _, attempt = session.rpartition("-")
    if not _PHASE.fullmatch(session):
        return ""
    told = {
        report.by: report.report
        for one in coordinator
        for report in one.reports
        if (report.phase, str(report.attempt)) == (phase, attempt)
    }
    if name in told:
        return ""  # its own report on the attempt: it ended it
    if COORDINATOR in told and others[0].federated:
        return _dropped(name, session, told[COORDINATOR])
    if coordinator:
        return _recorded(name, session, coordinator[0])
    ended = [other for other in others if ended_well(other, session)]
    if not ended:
        return f"Nobody here logged that session {session} came to its end."
    fewer = []
    for other in ended:
        fault = _fewer(other, name, session)
        if not fault:
            return ""
        fewer.append(f"{other.about.writer} logged {fault}")
    return f"{name} left session {session} before its end: {'; '.join(fewer)}."


def _recorded(name: str, session: str, coordinator: Parts) -> str:
    """How the coordinator logged that the party was lost in the session; "" where it did not, or heard its own end."""
    found = ""
    for entry in coordinator.log:
        body = entry.body
        if f"{body.get('phase')}-{body.get('attempt')}" == session:
            if body.get("party") == name:
                return ""
            if body.get("lost") is True and body.get("peer") == name:
                found = found or f"{body.get('party', COORDINATOR)} lost touch with {name} in session {session}"
        elif body.get("during") == session and body.get("party") == name:
            what = "was silent" if entry.kind == "party_lost" else "began anew"
            found = found or f"{name}'s node {what} in session {session}, or right after it"
    return found and f"The coordinator logged that {found}."


def _fewer(other: Parts, name: str, session: str) -> str:
    """What a writer that came to the session's end lacks of the party's messages; "" where nothing is known to lack."""
    body = _sessions(other)[session]
    if session.startswith("encode-"):
        return _digests(other, body, name)
    if not session.startswith("train-") or not other.federated:
        return ""  # a valuation that ends well takes everybody who is left; other phases have no count
    keys, sums = _count(body, name, _KEY), _sums(other, name)
    return f"{keys:,} of its keys for {sums:,} sums" if keys < sums else ""


def _digests(other: Parts, body: Mapping[str, Any], name: str) -> str:
    """Of what a group makes: who comes to its end tells as many digests as any member, whatever was trained."""
    group = group_of(other.agreement, other.about.writer)
    told = _count(body, name, _HELD)
    due = max((_count(body, one, _HELD) for one in (group.members if group else ()) if one != name), default=0)
    return f"{told} of the {due} digests that members tell" if told < due else ""


def _dropped(name: str, session: str, report: Mapping[str, Any]) -> str:
    """What the coordinator's own report on the rounds says of the member; "" where it took part to the end."""
    rounds, gone = report.get("rounds"), report.get("gone")
    if not isinstance(rounds, list) or not isinstance(gone, list) or name not in gone:
        return ""
    inside = [number for number, names in enumerate(rounds, start=1) if isinstance(names, list) and name in names]
    was = f"its last was round {inside[-1]:,} of {len(rounds):,}" if inside else f"it was in none of {len(rounds):,}"
    return f"The coordinator logged that {name} dropped out of session {session}: {was}."


def _sums(other: Parts, name: str) -> int:
    """Secure sums of a federated training that both members were drawn for."""
    rounds = federated_rounds(other.agreement)
    if rounds.model.rule != "sum":
        return _VALUES
    drawn = (rounds.wanted(number) for number in range(rounds.model.rounds))
    return sum({name, other.about.writer} <= set(names) for names in drawn) + _VALUES
