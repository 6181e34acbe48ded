"""Approvals of settlements that parties' nodes give over their standing lines: asked for, recorded, posted once.

A request lies beside its dossier on disk before anybody is told of it, and an answer before it counts; so whatever ends
this process, the request is carried again when a node attaches, and a dossier that has all its approvals is posted when
the coordinator starts. Posting is idempotent, and computes the amounts again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.control.commands import Command, SettleBody
from parties.coordinator.closed_runs import closed_run
from parties.coordinator.committed_rows import CommittedRows
from parties.coordinator.engine import Engine
from parties.errors import AgreementError, ConfigError, LedgerError, StorageError
from parties.ledger.settlement import pending_id
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import COORDINATOR, NO_PARTIES, PartyName
from parties.settlement.closed_run import ClosedRun
from parties.settlement.committed_rows import check_flags
from parties.settlement.dossier import Dossier, Intended, Requirement
from parties.settlement.dossier_store import FOLDER, Dossiers, is_posted, post, requirement, write_durably
from parties.settlement.licence import booked_earnings
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer, Asked, Facts
from parties.settlement.roll_over import carried_of, pot_entries
from vfl.terms import Terms

__all__ = ["Approvals", "Refusal", "Request", "Waiting"]

_LOG = logging.getLogger(__name__)


class Refusal(Terms):
    """A party's refusal, in its own words."""

    party: PartyName
    why: str
    at: AwareDatetime


class Request(Terms):
    """Whose approval was asked for, and what came of it besides approvals, which stand in the dossier.

    ``ended``: why nobody is asked any more though nothing was posted, or "".
    """

    digest: str
    asked_by: str
    asked_at: AwareDatetime
    asked: tuple[PartyName, ...]
    facts: Facts = Facts()
    refusals: tuple[Refusal, ...] = ()
    ended: str = ""


@dataclass(frozen=True)
class Waiting:
    """A request with its dossier as it stands."""

    request: Request
    dossier: Dossier
    posted: bool

    @property
    def open(self) -> bool:
        return not self.posted and not self.request.ended


class Approvals:
    """The requests of one coordinator. Thread-safe; never calls the engine while it holds its own lock."""

    def __init__(
        self,
        home: Path,
        ledger: LedgerStore,
        engine: Engine,
        roster: Roster,
        now: Callable[[], datetime],
        audit: AuditLog | None = None,
        rows: CommittedRows | None = None,
    ) -> None:
        self._rows = rows
        self._folder = home / FOLDER / "requests"
        self._live = home / FOLDER / "live"
        self._dossiers = Dossiers(home)
        self._ledger = ledger
        self._engine = engine
        self._roster = roster
        self._now = now
        self._audit = audit
        self._lock = threading.RLock()
        self._telling = threading.Lock()
        self._open: dict[str, Request] = {}
        self._over: dict[str, Waiting] = {}  # what is over does not change, so it is read once

    def restore(self) -> None:
        """Take up what was open, and post what has all its approvals; once the engine has its runs."""
        for path in sorted(self._folder.glob("*.json")):
            request = self._read(path)
            if not request.ended:
                self._open[request.digest] = request
        for digest in list(self._open):
            self._complete(digest)

    def clock(self) -> datetime:
        """The present to the second, UTC: the times of dossiers."""
        return self._now().replace(microsecond=0)

    # -- asking

    def ask(self, dossier: Dossier, run: ClosedRun | None, by: str) -> Waiting:
        """Record the dossier, unapproved, and ask every approver that has a node. An open one for the same is kept.

        Raises :class:`LedgerError` for what the books cannot take, or where no node could approve.
        """
        accounts = self._ledger.accounts()
        closed = [account for one in dossier.transactions for account, _ in one.postings if account not in accounts]
        if closed:
            raise LedgerError(f"account {closed[0]!r} is not open: check the party's name, or open its accounts")
        need = requirement(dossier, run.agreement if run else None, self._roster)
        able = self._able(need, run)
        if not able:
            raise LedgerError("none of those who may approve this has a node here: they sign it with entente settle")
        with self._lock:
            for one in self._waiting():
                if (one.dossier.kind, one.dossier.run_id, one.dossier.party) == (
                    dossier.kind, dossier.run_id, dossier.party,
                ):  # fmt: skip
                    return one
            _, dossier = self._dossiers.record(dossier.model_copy(update={"approvals": ()}))
            request = Request(
                digest=dossier.digest, asked_by=by, asked_at=self._now(), asked=able, facts=self._facts(dossier, run)
            )
            self._keep(request)
            made = Waiting(request, dossier, posted=False)
        self._logged(made, "asked", by)
        self._tell(able)
        return made

    def withdraw(self, digest: str, by: str, why: str) -> Waiting:
        """Ask nobody any more. What was posted stays. Raises :class:`ConfigError` when nothing of the kind is open."""
        with self._lock:
            one = self._one(digest)
            self._keep(one.request.model_copy(update={"ended": f"withdrawn by {by}" + (f": {why}" if why else "")}))
            one = self._found(self._request(digest))
        self._logged(one, "withdrawn", by)
        self._tell(one.request.asked)
        return one

    def greet(self, party: str) -> None:
        """Tell a party that has just attached what waits for it, once anything has ever been asked."""
        try:
            if self._folder.is_dir():
                self._tell((party,))
        except (StorageError, ConfigError) as error:
            _LOG.error("settlements are not carried to %s: %s", party, error)  # its runs go on all the same

    # -- answers

    def heard(self, party: str, answer: Answer) -> bool:
        """Take in a party's answer. False: it was repeated or late. Raises :class:`AgreementError` for a false one."""
        run = self._run_of(answer.digest)
        with self._lock:
            one = self._found(self._request(answer.digest))
            if party not in one.request.asked:
                raise AgreementError(f"{party} was not asked to approve settlement {answer.digest[:12]}")
            if not one.open:
                return False
            refused = {refusal.party for refusal in one.request.refusals}
            approved = {approval.name for approval in one.dossier.approvals}
            if answer.approval is None:
                if party in refused:
                    return False
                if party in approved:
                    raise AgreementError(f"{party} has approved settlement {answer.digest[:12]} already")
                self._refuse(one, run, Refusal(party=party, why=answer.refused, at=self._now()))
            else:
                if party in refused:
                    raise AgreementError(f"{party} has refused settlement {answer.digest[:12]} already")
                self._check_approval(party, answer, one.dossier, run)
                if party not in approved:
                    signed = one.dossier.model_copy(update={"approvals": (*one.dossier.approvals, answer.approval)})
                    self._dossiers.record(signed)
            new = answer.approval is None or party not in approved
            one = self._found(self._request(answer.digest))
        if new:
            self._logged(one, "refused" if answer.approval is None else "approved", party)
        self._complete(
            answer.digest
        )  # a repeated answer too: the first may have met a full disk on its way to the books
        self._tell(one.request.asked)
        return new

    def take_live(self, party: str, record: LiveRecord) -> bool:
        """Keep what the label party attests of a run on live data. False: known already.

        Raises :class:`AgreementError` unless it is the label party's, of this run and horizon, and goes on from what it
        attested before.
        """
        run = self._closed(record.run_id)
        if run is None or run.agreement.label.party != party:
            raise AgreementError(f"{party} is not the label party of a run that waits for live data")
        if record.horizon is None:
            raise AgreementError("the live record does not say its horizon: attest it with this version")
        try:
            record.verify(run.run_id, run.agreement, 1)
            if run.agreement.reward.rows == "committed":
                self._check_rows(run.agreement, record)
        except LedgerError as error:
            raise AgreementError(str(error)) from None
        with self._lock:
            before = self.live(record.run_id)
            if before is not None:
                if record == before or set(record.periods) < set(before.periods):
                    return False
                if not set(before.periods) < set(record.periods):
                    raise AgreementError("the live record drops or changes periods that were attested before")
            write_durably(self._live / f"{record.run_id}.json", record.model_dump_json(indent=2) + "\n")
        if self._audit is not None:
            self._audit.append("live", record.run_id, {"by": party, "periods": list(record.periods)})
        return True

    def _check_rows(self, agreement: Agreement, record: LiveRecord) -> None:
        """Raise :class:`LedgerError` where the record counts rows that nobody saw committed in time."""
        cutoffs = dict(zip(record.periods, record.cutoffs, strict=False))
        for party in record.contribution.parties:
            told = self._rows.told(party) if self._rows is not None else ()
            check_flags(agreement, record.contribution, party, told, cutoffs)

    def live(self, run_id: str) -> LiveRecord | None:
        """What the run's label party has attested over its line."""
        path = self._live / f"{run_id}.json"
        try:
            return LiveRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            raise StorageError(f"{path}: damaged; remove it, and the label party attests anew") from None

    # -- reading

    def latest(self, most: int = 100) -> list[Waiting]:
        """Every open request, and of those that are over the ``most`` that changed last; the latest asked first."""
        with self._lock:
            names = set(self._open)
            files = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
            names |= set([path.stem for path in files if path.stem not in names][:most])
            found = [self._over.get(name) or self._found(self._request(name)) for name in names]
            self._over |= {one.request.digest: one for one in found if not one.open}
        return sorted(found, key=lambda one: one.request.asked_at, reverse=True)

    def needed(self, one: Waiting) -> Requirement:
        """Who may approve it, and how many must."""
        run = self._closed(one.dossier.run_id) if one.dossier.run_id else None
        return requirement(one.dossier, run.agreement if run else None, self._roster)

    # -- inside

    def _able(self, need: Requirement, run: ClosedRun | None) -> tuple[str, ...]:
        """Those who may approve and whose node holds the key: parties of the run, under their roster's identity."""
        members = {party.name for party in run.agreement.parties} if run else set(self._roster) - NO_PARTIES
        known = {name: self._roster[name].identity_key for name in members if name in self._roster}
        return tuple(sorted(name for name, key in need.people.items() if known.get(name) == key))

    def _facts(self, dossier: Dossier, run: ClosedRun | None) -> Facts:
        if run is not None and dossier.kind == "licence":
            return Facts(earning_entries=booked_earnings(self._ledger, run.run_id))
        if run is None or dossier.kind not in ("close", "final"):
            return Facts()
        entry = self._ledger.entry(pending_id(run.run_id)) if dossier.kind == "final" else None
        moved = pot_entries(self._ledger, entry.sequence if entry else None)
        pending = Intended.of(entry.transaction) if entry else None
        return Facts(
            contribution=run.contribution, pending=pending, carried=carried_of(moved), pot_entries=moved
        )  # fmt: skip

    def _check_approval(self, party: str, answer: Answer, dossier: Dossier, run: ClosedRun | None) -> None:
        assert answer.approval is not None
        if answer.approval.name != party:
            raise AgreementError(f"{party} cannot approve in the name of {answer.approval.name}")
        need = requirement(dossier, run.agreement if run else None, self._roster)
        try:
            alone = dossier.model_copy(update={"approvals": (answer.approval,)})
            if not alone.signers(need.people):
                raise LedgerError(f"{party} may not approve this")
        except LedgerError as error:
            raise AgreementError(str(error)) from None

    def _refuse(self, one: Waiting, run: ClosedRun | None, refusal: Refusal) -> None:
        """Record it; when too few are left to approve, the request is over."""
        refusals = (*one.request.refusals, refusal)
        need = requirement(one.dossier, run.agreement if run else None, self._roster)
        left = set(need.people) - {refusal.party for refusal in refusals}
        ended = "" if not need.missing(left) else "too few are left who could approve it"
        self._keep(one.request.model_copy(update={"refusals": refusals, "ended": ended}))

    def _complete(self, digest: str) -> None:
        """Post what has all its approvals; what the books do not take any more is over, with the reason."""
        run = self._run_of(digest)
        with self._lock:
            one = self._found(self._request(digest))
            if not one.open:
                self._open.pop(digest, None)
                return
            need = requirement(one.dossier, run.agreement if run else None, self._roster)
            try:
                if need.missing(one.dossier.signers(need.people)):
                    return
                post(self._ledger, self._dossiers, one.dossier, run, self._roster, self._now())
            except LedgerError as error:
                _LOG.error("settlement %s was not posted: %s", digest[:12], error)
                self._keep(one.request.model_copy(update={"ended": f"not posted: {error}"}))
                return
            self._open.pop(digest, None)
            one = self._found(one.request)
        _LOG.info("settlement %s is posted", digest[:12])
        self._logged(one, "posted", COORDINATOR)

    def _command(self, party: str) -> Command:
        with self._lock:
            waits = tuple(
                Asked(dossier=one.dossier, facts=one.request.facts, by=one.request.asked_by)
                for one in self._waiting()
                if party in one.request.asked
                and party not in {approval.name for approval in one.dossier.approvals}
                and party not in {refusal.party for refusal in one.request.refusals}
            )
        return Command(SettleBody(requests=waits))

    def _tell(self, parties: tuple[str, ...]) -> None:
        with self._telling:  # a list that is older is never told after a newer one
            for party in parties:
                self._engine.tell(party, self._command(party))

    def _waiting(self) -> list[Waiting]:
        found = [self._found(request) for request in self._open.values()]
        return [one for one in found if one.open]

    def _one(self, digest: str) -> Waiting:
        one = self._found(self._request(digest))
        if not one.open:
            raise ConfigError(f"settlement {digest[:12]} is not open any more")
        return one

    def _request(self, digest: str) -> Request:
        try:
            return self._open.get(digest) or self._read(self._folder / f"{digest}.json")
        except ConfigError:
            raise AgreementError(f"nobody asked for approval of a settlement {digest[:12]}") from None

    def _found(self, request: Request) -> Waiting:
        matching = [d for d in self._dossiers.named(request.digest) if d.digest == request.digest]
        if not matching:
            raise StorageError(f"the dossier of settlement {request.digest[:12]} is gone; restore it from a backup")
        return Waiting(request, matching[0], is_posted(self._ledger, matching[0]))

    def _run_of(self, digest: str) -> ClosedRun | None:
        run_id = self._found(self._request(digest)).dossier.run_id
        return self._closed(run_id) if run_id else None

    def _closed(self, run_id: str) -> ClosedRun | None:
        try:
            known = self._engine.known(run_id)
        except ConfigError:
            return None
        return closed_run(known.state, known.agreement)

    def _keep(self, request: Request) -> None:
        write_durably(self._folder / f"{request.digest}.json", request.model_dump_json(indent=2) + "\n")
        if request.ended:
            self._open.pop(request.digest, None)
        else:
            self._open[request.digest] = request

    @staticmethod
    def _read(path: Path) -> Request:
        try:
            return Request.model_validate_json(path.read_bytes())
        except OSError:
            raise ConfigError(f"{path}: no such request") from None
        except ValidationError as error:
            raise StorageError(f"{path}: damaged ({error.errors()[0]['msg']}); restore it from a backup") from None

    def _logged(self, one: Waiting, what: str, by: str) -> None:
        if self._audit is not None:
            body = {"digest": one.request.digest, "step": one.dossier.kind, "what": what, "by": by}
            self._audit.append("settlement", one.dossier.run_id, body)
