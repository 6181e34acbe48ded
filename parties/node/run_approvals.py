"""Agreements that a node is asked to sign: checked against its own data and limits, decided on, answered once."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.signing import sign_agreement, verify_signature
from parties.agreement.text import agreement_lines
from parties.audit.log import AuditLog
from parties.control.commands import ApproveBody
from parties.control.reports import LinksBody
from parties.errors import AgreementError, ConfigError, DataError, StorageError
from parties.node.decisions import Verdict, verdict
from parties.node.home import NodeHome
from parties.node.openings import OpeningStore
from parties.node.own_rows import keep_own_rows
from parties.node.policy import left_to_a_person
from parties.node.readiness import Ready, check_ready
from parties.node.report_outbox import ReportOutbox
from parties.node.run_ends import RunEnd, forget_end, keep_end
from parties.node.scoring_run import IncompleteError
from parties.node.signed_data import data_stamp, keep_signed_data, kept_signed_data
from parties.private_files import write_private
from parties.process.supervision import start_loop
from parties.terminal.console import pasted

__all__ = ["RunApprovals"]

_LOG = logging.getLogger(__name__)

_DATA_FAULT = "its data cannot be used: its operator finds the detail in the node's log"
_NOT_YET = "its data of the new period is not complete yet: score it later"
_POLL_SECONDS = 0.2
_TROUBLE_SECONDS = 5.0


@dataclass
class _Waiting:
    """An agreement that waits for this node's operators or hours.

    ``by_hand``: for its operators, whatever the node may sign alone. ``told``: that it is signed in its hours only.
    ``waited``: it was not signed at once.
    """

    agreement: Agreement
    folder: Path
    by_hand: bool = False
    told: bool = False
    waited: bool = False


class RunApprovals:
    """One thread for every run that asks for approval. Thread-safe.

    Nothing that goes wrong loses an approval: what a full disk stops is taken up again, what the operators decided is
    in the run's folder, and a signature waits in the outbox until the coordinator has it.
    """

    def __init__(self, home: NodeHome, audit: AuditLog, openings: OpeningStore, outbox: ReportOutbox) -> None:
        self._home = home
        self._audit = audit
        self._openings = openings
        self._outbox = outbox
        self._lock = threading.Lock()
        self._asked: dict[str, ApproveBody] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._agreements: dict[str, Agreement] = {}
        self._stopped = threading.Event()
        self._thread = start_loop(self._look, "approvals", self._stopped, every=_POLL_SECONDS, trouble=_TROUBLE_SECONDS)

    def ask(self, run_id: str, body: ApproveBody) -> None:
        """The coordinator asks for approval of a run."""
        with self._lock:
            if run_id not in self._agreements:
                self._asked[run_id] = body

    def agreement(self, run_id: str, signatures: Mapping[str, str]) -> Agreement | None:
        """What this node approved, in this life or before it restarted; None when it approved nothing of the run."""
        with self._lock:
            known = self._agreements.get(run_id)
        if known is None:
            known = self._signed_before(run_id, signatures)
            if known is not None:
                with self._lock:
                    self._agreements[run_id] = known
        return known

    def known(self, run_id: str) -> Agreement | None:
        """The run's agreement, if it was looked at since this node started."""
        with self._lock:
            return self._agreements.get(run_id)

    def forget(self, run_id: str) -> str:
        """The run has ended; should it go on after all, we are asked or started anew. Its purpose, where it is known.

        An agreement that nobody here has answered yet is in no file, so that its purpose would be lost.
        """
        with self._lock:
            asked = self._asked.pop(run_id, None)
            self._waiting.pop(run_id, None)
            known = self._agreements.pop(run_id, None)
        if known is None and asked is not None:
            with contextlib.suppress(ValidationError):
                known = Agreement.model_validate(asked.agreement)
        return known.purpose if known is not None and known.run_id == run_id else ""

    def close(self) -> None:
        """Stop answering; what is decided is on disk."""
        self._stopped.set()
        self._thread.join(10.0)

    # -- the thread

    def _look(self) -> None:
        with self._lock:
            asked, waiting = dict(self._asked), dict(self._waiting)
        for run_id, body in asked.items():
            if self._over(run_id, partial(self._consider, run_id, body)):
                with self._lock:
                    self._asked.pop(run_id, None)
        for run_id, one in waiting.items():
            if self._over(run_id, partial(self._decided, one)):
                with self._lock:
                    self._waiting.pop(run_id, None)

    def _over(self, run_id: str, step: Callable[[], bool | None]) -> bool:
        """Whether a step needs no other. What a full disk stops is taken up again, what nobody expected is refused."""
        try:
            return step() is not False
        except StorageError as error:
            _LOG.error("run %s: the agreement waits: %s", run_id[:12], error)
            self._stopped.wait(_TROUBLE_SECONDS)
            return False
        except Exception as error:
            _LOG.exception("run %s: the agreement cannot be looked at", run_id[:12])
            self._reject(run_id, f"an internal error ({type(error).__name__}): see the node's log")
            return True

    def _consider(self, run_id: str, body: ApproveBody) -> None:
        """Check an agreement; reject it, or let it wait for a decision."""
        home = self._home
        try:
            agreement = Agreement.model_validate(body.agreement)
            if agreement.run_id != run_id:
                raise AgreementError("the agreement does not hash to the run it was sent for")
        except ValidationError:
            self._reject(run_id, "the agreement is not one this version understands")
            return
        except AgreementError as error:
            self._refuse(run_id, str(error), str(error), "")
            return
        ready = self._checked(agreement)
        if ready is None:
            return
        folder = home.folder / "runs" / run_id
        with self._lock:
            if run_id not in self._asked:
                return  # it has ended meanwhile
            self._agreements[run_id] = agreement
        try:
            folder.mkdir(parents=True, exist_ok=True)
            forget_end(folder)
            write_private(folder / "agreement.json", agreement.canonical())
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written ({error.strerror}); check the disk") from None
        self._keep(folder, ready)
        self._audit.append("agreement", run_id, {"agreement": run_id})
        if agreement.scores is None:
            self._outbox.data_usable()
        if ready.links:
            self._outbox.links(run_id, LinksBody(at=datetime.now(UTC), peers=dict(ready.links)))
        for line in (*agreement_lines(agreement), *ready.lines):
            level = logging.WARNING if line.startswith("warning:") else logging.INFO
            _LOG.log(level, "agreement %s: %s", run_id[:12], line.removeprefix("warning: "))
        agreed = agreement.scores is not None  # by the run that it scores, whose terms this one was held to
        asked = home.settings.approve == "ask" and not agreed
        automatic = home.settings.approve == "automatic" and not agreed
        by_hand = left_to_a_person(agreement, home.settings, ready.own) if automatic else ()
        for reason in by_hand:
            _LOG.warning("run %s is not signed without a person: %s", run_id[:12], reason)
        if by_hand or asked:
            _LOG.info(
                "run %s waits for you: entente run review %s --home %s",
                run_id[:12],
                run_id[:12],
                pasted(folder.parents[1]),
            )
        one = _Waiting(agreement, folder, by_hand=bool(by_hand))
        if not self._decided(one):
            one.waited = True
            with self._lock:
                self._waiting[run_id] = one

    def _checked(self, agreement: Agreement) -> Ready | None:
        """What this node's own checks found; None where they refuse, which everybody is told."""
        run_id, purpose = agreement.run_id, agreement.purpose
        try:
            return check_ready(agreement, self._home, self._openings, datetime.now(UTC))
        except IncompleteError as error:
            self._refuse(run_id, _NOT_YET, str(error), purpose)
        except DataError as error:  # a party's detail stays at home
            self._refuse(run_id, _DATA_FAULT, str(error), purpose)
        except (AgreementError, ConfigError) as error:
            self._refuse(run_id, str(error), str(error), purpose)
        return None

    def _keep(self, folder: Path, ready: Ready) -> None:
        """What was found holds in the run: what rows hold, and what the data were."""
        if ready.own is not None:
            keep_own_rows(folder, ready.own)
        if ready.seen is not None:
            keep_signed_data(folder, ready.seen)

    def _as_looked_at(self, one: _Waiting) -> bool:
        """Look again where data may have changed while the agreement waited; False where this node refuses now."""
        before = kept_signed_data(one.folder)
        if before is None or not one.waited:
            return True
        if before.stamp and before.stamp == data_stamp(self._home.settings, self._home.folder):
            return True
        ready = self._checked(one.agreement)
        if ready is not None:
            self._keep(one.folder, ready)
        return ready is not None

    def _decided(self, one: _Waiting) -> bool:
        """Answer once the operators' verdict is there, in the hours in which this node signs; whether that is over."""
        settings, run_id = self._home.settings, one.agreement.run_id
        if datetime.now(UTC) >= one.agreement.expires_at:
            return True
        decided = (
            Verdict(True, ())
            if one.agreement.scores is not None or (settings.approve == "automatic" and not one.by_hand)
            else verdict(one.folder, settings)
        )
        if decided is None:
            return False
        if not decided.approved:
            self._reject(run_id, decided.why)
            return True
        if settings.limits.open_at(datetime.now(UTC)):
            if self._as_looked_at(one):
                self._sign(one.agreement)
            return True
        if not one.told:
            one.told = True
            _LOG.info("run %s: signed at the next of this node's hours", run_id[:12])
        return False

    def _sign(self, agreement: Agreement) -> None:
        signature = sign_agreement(self._home.identity.key, agreement)
        self._audit.append("approval", agreement.run_id, {"signature": signature})
        self._outbox.signed(agreement.run_id, signature)
        _LOG.info("run %s: signed", agreement.run_id[:12])

    def _reject(self, run_id: str, why: str, own: str = "") -> None:
        """Tell everybody why, and this node's log what its operator alone may read."""
        self._audit.append("rejection", run_id, {"why": why[:300]})
        self._outbox.rejected(run_id, why)
        _LOG.error("run %s: rejected: %s", run_id[:12], own or why)

    def _refuse(self, run_id: str, why: str, own: str, purpose: str) -> None:
        """Reject what this node's own checks do not pass, and keep why for its operators."""
        end = RunEnd(status="refused", reason=own[:2000], at=datetime.now(UTC), purpose=purpose)
        keep_end(self._home.folder, run_id, end)
        self._reject(run_id, why, own)

    def _signed_before(self, run_id: str, signatures: Mapping[str, str]) -> Agreement | None:
        """The agreement that this node signed before it restarted: its own copy, under its own signature."""
        path = self._home.folder / "runs" / run_id / "agreement.json"
        if not re.fullmatch("[0-9a-f]{64}", run_id):
            return None
        try:
            agreement = Agreement.model_validate_json(path.read_bytes())
            verify_signature(agreement, self._home.identity.name, signatures.get(self._home.identity.name, ""))
        except (OSError, ValidationError, AgreementError):
            return None
        return agreement if agreement.run_id == run_id else None
