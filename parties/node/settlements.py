"""Settlements that wait for this party: judged here, signed by the node's policy or its operators, answered once.

``settlements/`` in the node's folder has one folder per dossier: ``asked.json`` as it was told, ``decisions/`` of the
operators, and ``answer.json``, on disk before it is sent, so that a node killed on the way sends the same answer later.
``open.json`` lists what waits, as the coordinator told it last. ``live/`` holds what a label party attests.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.errors import AgreementError, ConfigError, EntenteError, LedgerError, StorageError
from parties.node.decisions import Verdict, verdict
from parties.node.kept_contribution import kept_contribution
from parties.node.settlement_judgement import Judgement, judge
from parties.process.supervision import start_loop
from parties.settlement.dossier_store import write_durably
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer, Asked
from parties.settlement.roll_over import BookedEntry, check_remembered
from vfl.terms import Terms

if TYPE_CHECKING:
    from parties.node.home import NodeHome

__all__ = ["AnswerLine", "Settlements", "WaitingSettlement", "attest", "signed_agreement", "waiting", "waiting_one"]

_LOG = logging.getLogger(__name__)
_FOLDER = "settlements"
_POLL_SECONDS = 0.5


class AnswerLine(Protocol):
    """What this needs of the line to the coordinator."""

    def settlement(self, run_id: str, answer: Answer) -> None: ...

    def live(self, run_id: str, record: LiveRecord) -> None: ...


@dataclass(frozen=True)
class WaitingSettlement:
    """One that waits for the operators: its folder, what is asked, and what the node verified of it."""

    folder: Path
    asked: Asked
    judgement: Judgement


class Settlements:
    """The thread of a node that answers. ``told`` is called with what the coordinator says."""

    def __init__(self, home: NodeHome, audit: AuditLog, line: AnswerLine) -> None:
        self._home = home
        self._audit = audit
        self._line = line
        self._folder = home.folder / _FOLDER
        self._lists: list[tuple[Asked, ...]] = []
        self._sent: set[str] = set()
        self._judgements: dict[str, Judgement] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = start_loop(self._look, "settlements", self._stopped, every=_POLL_SECONDS, trouble=_POLL_SECONDS)

    def told(self, requests: tuple[Asked, ...]) -> None:
        """Everything that waits for us now."""
        with self._lock:
            self._lists.append(requests)

    def close(self) -> None:
        """Stop answering; what is decided is on disk."""
        self._stopped.set()
        self._thread.join(10.0)

    def _look(self) -> None:
        try:
            with self._lock:
                lists, self._lists = self._lists, []
            if lists:
                self._take(lists[-1])
            for asked in _listed(self._folder):
                self._consider(asked)
            self._attest()
        except EntenteError as error:
            _LOG.error("settlements: %s", error)

    def _take(self, listed: tuple[Asked, ...]) -> None:
        """Remember what waits, and send again what was answered without the coordinator having heard it."""
        for asked in listed:
            path = self._folder / asked.dossier.digest / "asked.json"
            if not path.exists():
                write_durably(path, asked.model_dump_json())
                _LOG.info("settlement %s asks for our approval", asked.dossier.digest[:12])
            self._sent.discard(asked.dossier.digest)
        write_durably(self._folder / "open.json", json.dumps([asked.dossier.digest for asked in listed]))

    def _consider(self, asked: Asked) -> None:
        digest = asked.dossier.digest
        if digest in self._sent:
            return
        folder = self._folder / digest
        answer = _answer(folder) or self._decide(asked, folder)
        if answer is None:
            return
        try:
            self._line.settlement(asked.dossier.run_id, answer)
        except (AgreementError, LedgerError) as error:
            _LOG.error("the answer to settlement %s was not taken: %s", digest[:12], error)
        except EntenteError as error:
            _LOG.warning("the answer to settlement %s waits: %s", digest[:12], error)
            return
        self._sent.add(digest)

    def _decide(self, asked: Asked, folder: Path) -> Answer | None:
        """Our answer, on disk; None while it waits for an operator, or for this node's hours."""
        settings, digest = self._home.settings, asked.dossier.digest
        try:
            if digest not in self._judgements:
                self._judgements[digest] = _judged(self._home, self._audit, asked)
            found = self._judgements[digest]
        except LedgerError as error:
            return self._answered(folder, asked, Answer(digest=digest, refused=f"the node refuses: {error}"[:2000]))
        alone = settings.settlements == "within_agreement" and found.confirmed
        decided = Verdict(True, ()) if alone else verdict(folder, settings)
        if decided is None:
            return None
        if not decided.approved:
            return self._answered(folder, asked, Answer(digest=digest, refused=decided.why, by=decided.by))
        now = datetime.now(UTC).replace(microsecond=0)
        if not settings.limits.open_at(now) or asked.dossier.made_at > now:
            return None  # dated ahead of our clock, it would seem to be due before it is
        identity = self._home.identity
        _remember(self._home.folder, asked.facts.pot_entries)
        signed = asked.dossier.model_copy(update={"approvals": ()}).approved_by(identity.name, identity.key, now)
        return self._answered(folder, asked, Answer(digest=digest, approval=signed.approvals[0], by=decided.by))

    def _answered(self, folder: Path, asked: Asked, answer: Answer) -> Answer:
        word = "refused" if answer.approval is None else "approved"
        body = {"digest": answer.digest, "step": asked.dossier.kind, "what": word, "by": list(answer.by)}
        self._audit.append(
            "settlement", asked.dossier.run_id, body | ({"why": answer.refused} if answer.refused else {})
        )
        write_durably(folder / "answer.json", answer.model_dump_json())
        _LOG.info("settlement %s: %s%s", answer.digest[:12], word, f": {answer.refused}" if answer.refused else "")
        return answer

    def _attest(self) -> None:
        """Send attested live records that the coordinator does not have yet."""
        for path in sorted((self._folder / "live").glob("*.json")):
            text = path.read_text(encoding="utf-8")
            mark, digest = path.with_suffix(".sent"), hashlib.sha256(text.encode()).hexdigest()
            if mark.exists() and mark.read_text(encoding="ascii") == digest:
                continue
            record = LiveRecord.model_validate_json(text)
            try:
                self._line.live(record.run_id, record)
            except (AgreementError, LedgerError) as error:
                _LOG.error("the live record of run %s was not taken: %s", record.run_id[:12], error)
            except EntenteError as error:
                _LOG.warning("the live record of run %s waits: %s", record.run_id[:12], error)
                return
            write_durably(mark, digest)


class _Remembered(Terms):
    entries: tuple[BookedEntry, ...] = ()


def waiting(home: NodeHome) -> list[WaitingSettlement]:
    """What waits for this node's operators, as the coordinator told it last."""
    found = []
    with home.audit() as audit:
        for asked in _listed(home.folder / _FOLDER):
            folder = home.folder / _FOLDER / asked.dossier.digest
            if _answer(folder) is not None or verdict(folder, home.settings) is not None:
                continue
            try:
                judgement = _judged(home, audit, asked)
            except LedgerError as error:
                judgement = Judgement(False, (f"the node refuses it: {error}",))
            found.append(WaitingSettlement(folder, asked, judgement))
    return found


def waiting_one(home: NodeHome, start: str) -> WaitingSettlement:
    """The one whose digest begins like this. Raises :class:`ConfigError` when there is none, or several."""
    found = [one for one in waiting(home) if one.asked.dossier.digest.startswith(start)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found) or 'no'} settlements that begin with {start!r} wait here: see entente settle waiting"
        )
    return found[0]


def attest(home: NodeHome, record: LiveRecord) -> LiveRecord:
    """Sign a run's live contributions as its label party, and leave them for the node to send.

    Raises :class:`LedgerError` unless they are of a run this node signed, as its label party.
    """
    name = home.identity.name
    with home.audit() as audit:
        agreement = signed_agreement(home.folder, audit, record.run_id)
    if agreement is None or agreement.label.party != name:
        raise LedgerError(f"this node has not signed run {record.run_id[:12]} as its label party")
    bound = record.model_copy(update={"horizon": agreement.walk_forward.horizon, "signature": ""})
    signed = bound.signed(home.identity.key)
    signed.verify(record.run_id, agreement, 1)
    write_durably(home.folder / _FOLDER / "live" / f"{record.run_id}.json", signed.model_dump_json(indent=2) + "\n")
    return signed


def signed_agreement(home: Path, audit: AuditLog, run_id: str) -> Agreement | None:
    """The run's agreement in the copy of the node in ``home``, if this node's log says that it signed it."""
    if not re.fullmatch("[0-9a-f]{64}", run_id):
        return None
    try:
        document = (home / "runs" / run_id / "agreement.json").read_bytes()
        agreement = Agreement.model_validate_json(document)
    except (OSError, ValidationError):
        return None
    signed = any(entry.kind == "approval" for entry in audit.entries(run_id))
    return agreement if signed and hashlib.sha256(document).hexdigest() == run_id else None


def _judged(home: NodeHome, audit: AuditLog, asked: Asked) -> Judgement:
    agreement = signed_agreement(home.folder, audit, asked.dossier.run_id) if asked.dossier.run_id else None
    run_id = asked.dossier.run_id
    kept = None if agreement is None else kept_contribution(home.folder, run_id, agreement)
    check_remembered(_remembered(home.folder), asked.facts.pot_entries)
    return judge(asked, agreement, home.roster, home.identity.name, home.identity.public_key, kept)


def _remembered(folder: Path) -> tuple[BookedEntry, ...]:
    """Entries of the books about the pot, as they were told with earlier settlements."""
    try:
        return _Remembered.model_validate_json((folder / _FOLDER / "pot.json").read_bytes()).entries
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError):
        raise StorageError(f"{folder / _FOLDER / 'pot.json'}: damaged; restore it from a backup") from None


def _remember(folder: Path, entries: tuple[BookedEntry, ...]) -> None:
    """Keep what was told of the pot beside what was told before; a longer list holds the shorter one."""
    if entries and entries[-1].sequence > max((entry.sequence for entry in _remembered(folder)), default=0):
        write_durably(folder / _FOLDER / "pot.json", _Remembered(entries=entries).model_dump_json())


def _listed(folder: Path) -> Iterator[Asked]:
    """What waits, from disk."""
    try:
        digests = json.loads((folder / "open.json").read_bytes())
    except OSError:
        return
    for digest in digests:
        try:
            asked = Asked.model_validate_json((folder / digest / "asked.json").read_bytes())
        except (OSError, ValidationError):
            raise StorageError(f"{folder / digest}: damaged; remove it, and start the node again") from None
        if asked.dossier.digest == digest:
            yield asked


def _answer(folder: Path) -> Answer | None:
    try:
        return Answer.model_validate_json((folder / "answer.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise StorageError(f"{folder / 'answer.json'}: damaged; restore it from a backup") from None
