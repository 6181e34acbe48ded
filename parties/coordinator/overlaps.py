"""Overlap proposals at the coordinator: passed on to their members, kept on disk, shown on the page.

The coordinator takes no part in an estimate. It keeps what members say of a proposal, one file each, and tells every
member all that concerns it whenever something changes and whenever its node attaches.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from parties.agreement.overlap import OverlapAnswer, OverlapProposal, OverlapState, verify_overlap
from parties.control.commands import Command, OverlapsBody
from parties.coordinator.engine import Engine
from parties.errors import AgreementError, StorageError
from parties.members.roster import Roster
from parties.settlement.dossier_store import write_durably

__all__ = ["MOST_OPEN", "Overlaps"]

_LOG = logging.getLogger(__name__)
_FOLDER = "overlaps"
MOST_OPEN = 50
"""Proposals of one member that may wait at a time."""


class Overlaps:
    """Takes answers of members in. Thread-safe."""

    def __init__(self, home: Path, engine: Engine, roster: Roster, now: Callable[[], datetime]) -> None:
        self._folder = home / _FOLDER
        self._engine = engine
        self._roster = roster
        self._now = now
        self._lock = threading.Lock()
        self._states = {path.stem: self._read(path) for path in sorted(self._folder.glob("*.json"))}

    def heard(self, party: str, answer: OverlapAnswer) -> bool:
        """Take in what a member says. False: it was known. Raises :class:`AgreementError` for what is false."""
        proposal = answer.proposal
        name = proposal.overlap_id
        if party not in proposal.members:
            raise AgreementError(f"{party} is not among the members of overlap {name[:12]}")
        with self._lock:
            before = self._states.get(name)
            if before is None:
                self._check_new(party, answer)
            state = before or OverlapState(proposal=proposal)
            after = self._changed(state, party, answer)
            if after == before:
                return False
            write_durably(self._folder / f"{name}.json", after.model_dump_json())
            self._states[name] = after
        _LOG.info("overlap %s: %s by %s", name[:12], after.status, party)
        for member in proposal.members:
            self._tell(member)
        return True

    def proposed(self, proposal: OverlapProposal) -> None:
        """Put an admin's proposal before its members, who have yet to sign it. Raises :class:`AgreementError`."""
        name = proposal.overlap_id
        with self._lock:
            self._check_room(proposal)
            state = OverlapState(proposal=proposal)
            write_durably(self._folder / f"{name}.json", state.model_dump_json())
            self._states[name] = state
        _LOG.info("overlap %s: proposed by an admin", name[:12])
        for member in proposal.members:
            self._tell(member)

    def greet(self, party: str) -> None:
        """Tell a party that has just attached what concerns it, once there is anything."""
        if any(party in state.proposal.members for state in self.all()):
            self._tell(party)

    def all(self) -> list[OverlapState]:
        """Every proposal, newest first."""
        with self._lock:
            return sorted(self._states.values(), key=lambda state: state.proposal.proposed_at, reverse=True)

    def _tell(self, party: str) -> None:
        concern = tuple(state for state in self.all() if party in state.proposal.members)[:MOST_OPEN]
        self._engine.tell(party, Command(OverlapsBody(overlaps=concern)))

    def _check_new(self, party: str, answer: OverlapAnswer) -> None:
        proposal = answer.proposal
        if party != proposal.members[0] or answer.signature is None:
            raise AgreementError("an overlap is proposed by its first member, who signs it, or by an admin at the page")
        self._check_room(proposal)

    def _check_room(self, proposal: OverlapProposal) -> None:
        """Raise :class:`AgreementError` where it names strangers, or too many of its first member's wait already."""
        party = proposal.members[0]
        strangers = sorted(set(proposal.members) - set(self._roster))
        if strangers:
            raise AgreementError(f"the overlap names {', '.join(strangers)}, who are no members: invite them first")
        waiting = [state for state in self._states.values() if state.proposal.members[0] == party]
        if sum(state.status == "waiting" and state.proposal.expires_at > self._now() for state in waiting) >= MOST_OPEN:
            raise AgreementError(f"{MOST_OPEN} overlaps of {party} wait already: let them be answered, or expire")

    def _changed(self, state: OverlapState, party: str, answer: OverlapAnswer) -> OverlapState:
        proposal = state.proposal
        if state.status in ("refused", "failed", "done"):
            return state
        if answer.found:
            parts = proposal.parts or ("",)
            if state.status != "signed" or tuple(one.part for one in answer.found) != parts:
                raise AgreementError(f"{party} reports an overlap that not all have signed, or other parts of it")
            return state.model_copy(update={"found": answer.found})
        if answer.failed:
            return state.model_copy(update={"failed": {**state.failed, party: answer.failed}})
        if answer.refused:
            return state.model_copy(update={"refused": {**state.refused, party: answer.refused}})
        if answer.signature is None or self._now() >= proposal.expires_at:
            raise AgreementError(f"overlap {proposal.overlap_id[:12]} has expired, or the answer says nothing")
        verify_overlap(proposal, party, self._roster.member(party).identity_key, answer.signature)
        return state.model_copy(update={"signatures": {**state.signatures, party: answer.signature}})

    def _read(self, path: Path) -> OverlapState:
        try:
            return OverlapState.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise StorageError(f"{path}: damaged; restore it from a backup, or remove it") from None
