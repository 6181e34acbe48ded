"""Overlap estimates at a node: proposed and answered by its operators, counted against a budget, and carried out.

``overlaps/`` in the node's folder has one folder per proposal: ``proposed.json`` where this node's operators made it,
``asked.json`` as the coordinator passed it on, ``decisions/`` of the operators, ``signed.json`` once this node has
signed (from then its epsilon counts, whatever becomes of it), and ``found.json``.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from parties.agreement.overlap import (
    OverlapAnswer,
    OverlapFound,
    OverlapProposal,
    OverlapState,
    sign_overlap,
    verify_overlap,
)
from parties.audit.log import AuditLog
from parties.drive import drive
from parties.errors import AgreementError, ConfigError, DataError, EntenteError, StorageError
from parties.node.decisions import verdict
from parties.node.overlap_sets import overlap_sets
from parties.process.supervision import start_loop
from parties.settlement.dossier_store import write_durably
from parties.terminal.console import pasted
from parties.transport.channel import Endpoint
from psi.flow import Payload, ProtocolError, Role
from psi.overlap import Overlap, estimate_overlap

if TYPE_CHECKING:
    from parties.node.home import NodeHome

__all__ = [
    "OverlapLine",
    "Overlaps",
    "check_budget",
    "known_overlaps",
    "one_overlap",
    "own_estimate",
    "propose_overlap",
    "spent",
]

_LOG = logging.getLogger(__name__)
_FOLDER = "overlaps"
_POLL_SECONDS = 0.5
_WINDOW = timedelta(days=365)
_FAULT = "its data or settings cannot be used; its operator finds the detail in the node's log"


class OverlapLine(Protocol):
    """What this needs of the line to the coordinator."""

    def overlap(self, answer: OverlapAnswer) -> None: ...


class Overlaps:
    """The thread of a node that signs what its operators decided, and carries out what all have signed."""

    def __init__(self, home: NodeHome, endpoint: Endpoint, audit: AuditLog, line: OverlapLine) -> None:
        self._home = home
        self._endpoint = endpoint
        self._audit = audit
        self._line = line
        self._folder = home.folder / _FOLDER
        self._told: list[tuple[OverlapState, ...]] = []
        self._sent: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = start_loop(self._look, "overlaps", self._stopped, every=_POLL_SECONDS, trouble=_POLL_SECONDS)

    def told(self, states: tuple[OverlapState, ...]) -> None:
        """Every overlap that concerns this party, as the coordinator knows it now."""
        with self._lock:
            self._told.append(states)

    def close(self) -> None:
        """Stop; what is decided is on disk."""
        self._stopped.set()
        self._thread.join(10.0)

    def _look(self) -> None:
        with self._lock:
            told, self._told = self._told, []
        for state in told[-1] if told else ():
            self._keep(state)
        if not self._folder.is_dir():
            return
        for folder in sorted(self._folder.iterdir()):
            try:
                self._consider(folder)
            except (EntenteError, ProtocolError) as error:
                _LOG.error("overlap %s: %s", folder.name[:12], error)

    def _keep(self, state: OverlapState) -> None:
        """Remember what the coordinator says of a proposal that names us, once its signatures are right."""
        name, roster = state.proposal.overlap_id, self._home.roster
        try:
            if self._home.identity.name not in state.proposal.members or not set(state.proposal.members) <= set(roster):
                raise AgreementError("it names others than members of this node's roster, or not this party")
            for member, signature in state.signatures.items():
                verify_overlap(state.proposal, member, roster[member].identity_key, signature)
        except AgreementError as error:
            _LOG.error("overlap %s is passed over: %s", name[:12], error)
            return
        path = self._folder / name / "asked.json"
        if not path.exists():
            home = pasted(self._home.folder)
            _LOG.info("overlap %s waits: entente overlap answer %s --home %s", name[:12], name[:12], home)
        write_durably(path, state.model_dump_json())

    def _consider(self, folder: Path) -> None:
        """Say what we have not said, and do what all have signed."""
        state = _state(folder)
        if state is None:
            return
        me, proposal = self._home.identity.name, state.proposal
        over = datetime.now(UTC) >= proposal.expires_at
        if state.status in ("refused", "failed", "done") or (over and (folder / "found.json").exists()):
            return
        if me not in state.signatures and not over:
            self._answer(folder, proposal)
        elif state.status == "signed" and not (folder / "begun").exists() and not over:
            write_durably(folder / "begun", "")
            self._perform(folder, proposal)

    def _answer(self, folder: Path, proposal: OverlapProposal) -> None:
        me, signed = self._home.identity.name, folder / "signed.json"
        decided = verdict(folder, self._home.settings)
        if decided is None:
            return
        if not decided.approved:
            self._say(OverlapAnswer(proposal=proposal, refused=decided.why[:2000]), "refused")
            return
        try:
            if not signed.exists():
                check_budget(self._home.folder, proposal, me, self._home.settings.limits.overlap_epsilon)
                self._audit.append("overlap", "", {"overlap": proposal.overlap_id, "epsilon": str(proposal.epsilon)})
                write_durably(signed, proposal.model_dump_json())
        except AgreementError as error:
            self._say(OverlapAnswer(proposal=proposal, refused=str(error)), "refused")
            raise
        signature = sign_overlap(self._home.identity.key, proposal)
        self._say(OverlapAnswer(proposal=proposal, signature=signature), "signed")

    def _perform(self, folder: Path, proposal: OverlapProposal) -> None:
        try:
            found = tuple(self._estimates(proposal))
        except (DataError, ConfigError) as error:
            self._say(OverlapAnswer(proposal=proposal, failed=_FAULT), "failed")
            raise error
        except (EntenteError, ProtocolError) as error:
            self._say(OverlapAnswer(proposal=proposal, failed=str(error)[:2000]), "failed")
            raise
        answer = OverlapAnswer(proposal=proposal, found=found)
        write_durably(folder / "found.json", answer.model_dump_json())
        _LOG.info("overlap %s is estimated", proposal.overlap_id[:12])
        self._say(answer, "found")

    def _estimates(self, proposal: OverlapProposal) -> Iterator[OverlapFound]:
        home, name, terms = self._home, proposal.overlap_id, proposal.terms
        sets = tuple(overlap_sets(proposal, home.settings, home.folder))
        me, roles = home.identity.name, dict.fromkeys(proposal.members, Role.PARTY)
        # before the first list moves: which part is too large is nobody's business
        most = max(len(ids) for _, ids in sets)
        if most > proposal.largest_set:
            raise DataError(f"{most} entities, above the {proposal.largest_set} of the proposal's largest_set")
        for number, (part, ids) in enumerate(sets):
            channel = self._endpoint.open(name, f"overlap-{number}", roles, (Payload.BLINDED, Payload.PUBLIC))
            try:
                run = bytes.fromhex(name) + part.encode()
                flow = estimate_overlap(me, terms, ids, run=run, randomness=secrets)
                yield _found(part, drive(flow, channel, silence=home.settings.transport.silence_seconds))
            except Exception as error:
                channel.abort(str(error)[:300] if not isinstance(error, DataError) else _FAULT)
                raise
            finally:
                channel.close()

    def _say(self, answer: OverlapAnswer, what: str) -> None:
        key = answer.proposal.overlap_id, what
        if key not in self._sent:
            self._line.overlap(answer)
            self._sent.add(key)


def _found(part: str, overlap: Overlap) -> OverlapFound:
    return OverlapFound(part=part, together={"+".join(group): count for group, count in overlap.together.items()})


def _state(folder: Path) -> OverlapState | None:
    """As the coordinator knows it; a proposal of our own is its own state until the coordinator has it."""
    for name in ("asked.json", "proposed.json"):
        try:
            return OverlapState.model_validate_json((folder / name).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValidationError):
            raise StorageError(f"{folder / name}: damaged; restore it from a backup, or remove the folder") from None
    return None


def propose_overlap(folder: Path, proposal: OverlapProposal) -> Path:
    """Leave a proposal for the node in ``folder`` to sign and send; where it lies."""
    place = folder / _FOLDER / proposal.overlap_id
    write_durably(place / "proposed.json", OverlapState(proposal=proposal).model_dump_json())
    return place


def known_overlaps(folder: Path) -> list[tuple[Path, OverlapState]]:
    """Every overlap that the node in ``folder`` knows of, oldest first."""
    found = [(one, state) for one in (folder / _FOLDER).glob("*") if (state := _state(one)) is not None]
    return sorted(found, key=lambda pair: pair[1].proposal.proposed_at)


def own_estimate(folder: Path) -> tuple[OverlapFound, ...] | None:
    """What the members told this node of the overlap in ``folder``; None where it has none."""
    path = folder / "found.json"
    try:
        return OverlapAnswer.model_validate_json(path.read_bytes()).found
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise StorageError(f"{path}: damaged; restore it from a backup") from None


def one_overlap(folder: Path, name: str) -> tuple[Path, OverlapState]:
    """The one whose id begins so. Raises :class:`ConfigError`."""
    found = [pair for pair in known_overlaps(folder) if pair[0].name.startswith(name)]
    if len(found) != 1 or not name:
        known = ", ".join(place.name[:12] for place, _ in known_overlaps(folder)) or "none"
        raise ConfigError(f"{name!r} names {len(found)} overlaps here; known are {known}")
    return found[0]


def spent(folder: Path, me: str, now: datetime, but: str = "") -> dict[str, float]:
    """Epsilon by counterparty of the last 365 days: of all that this node signed, whatever became of it."""
    used: dict[str, float] = {}
    for path in (folder / _FOLDER).glob("*/signed.json"):
        try:
            proposal = OverlapProposal.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise StorageError(f"{path}: damaged; restore it from a backup: it counts what was told") from None
        # by its end, which lies ahead of whoever signs: its beginning is the proposer's word
        if path.parent.name != but and now - proposal.expires_at < _WINDOW:
            for name in proposal.members:
                if name != me:
                    used[name] = used.get(name, 0.0) + proposal.epsilon
    return used


def check_budget(folder: Path, proposal: OverlapProposal, me: str, most: float) -> None:
    """Raise :class:`AgreementError` where a member would be told more than the standing limit in 365 days."""
    used = spent(folder, me, datetime.now(UTC), proposal.overlap_id)
    over = {name: used.get(name, 0.0) for name in proposal.members if name != me}
    for name, before in sorted(over.items()):
        if before + proposal.epsilon > most + 1e-9:
            raise AgreementError(
                f"with {name} estimates of epsilon {before:g} were signed in 365 days, and {proposal.epsilon:g} more "
                f"would pass this node's standing limit (limits.overlap_epsilon) of {most:g}: propose a smaller epsilon"
            )
