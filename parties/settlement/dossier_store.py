"""Dossiers on disk, who must approve them, and their posting: recorded first, posted after, checked for ever.

``settlements/`` in the coordinator's home keeps one JSON file per dossier. It is written and on disk before anything
is posted, and what is posted carries its digest, so a posting that nobody approved is found by :func:`audit`.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.errors import ConfigError, LedgerError, StorageError
from parties.ledger.entries import Entry, Receipt, State, Transaction
from parties.ledger.settlement import CASH, FORFEITS, POT, SUBSCRIPTIONS, party_account, pending_id
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import COORDINATOR, DESK
from parties.private_files import write_whole
from parties.settlement.closed_run import ClosedRun
from parties.settlement.dossier import Dossier, Intended, Requirement
from parties.settlement.licence import propose_licence
from parties.settlement.live_record import LiveRecord
from parties.settlement.proposals import propose_close, propose_final, settlement_rules

__all__ = ["FOLDER", "Dossiers", "audit", "check_current", "is_posted", "post", "requirement", "write_durably"]

FOLDER = "settlements"
_MONEY = ("pay", "receipt", "release")  # what leaves, what came, and stake that becomes payable
_FEWEST_REPORTERS = 3  # fewer reports of fees are never opened
_OWN = ("dispute", "exit")  # what a party does with its own money
_PARTY_ACCOUNT = re.compile(r"Liabilities:Party:([^:]+):[A-Za-z]+")
_NEEDS_DOSSIER = ("/final", "/void", "/rejected", "/upheld", "/released")


class Dossiers:
    """The dossiers of a coordinator's home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def path(self, dossier: Dossier) -> Path:
        about = dossier.run_id[:12] or dossier.party or "all"
        return self._folder / f"{dossier.kind}-{about}-{dossier.digest[:12]}.json"

    def save(self, dossier: Dossier, path: Path | None = None) -> Path:
        """Write the dossier durably, to its place or to ``path``."""
        target = path or self.path(dossier)
        write_durably(target, dossier.model_dump_json(indent=2) + "\n")
        return target

    def record(self, dossier: Dossier) -> tuple[Path, Dossier]:
        """Write the dossier to its place with its approvals and those recorded there before; and what stands there.

        Commands and a running coordinator may do so at once: no approval is lost.
        """
        target = self.path(dossier)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be written ({error.strerror}); check the permissions") from None
        with os.fdopen(descriptor) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if target.exists() and (before := self.load(target)).digest == dossier.digest:
                known = {approval.name for approval in before.approvals}
                new = (approval for approval in dossier.approvals if approval.name not in known)
                dossier = before.model_copy(update={"approvals": (*before.approvals, *new)})
            return self.save(dossier, target), dossier

    @staticmethod
    def load(path: Path) -> Dossier:
        """Read one dossier. Raises :class:`ConfigError` naming the file and the fault."""
        try:
            return Dossier.model_validate_json(path.read_bytes())
        except OSError:
            raise ConfigError(f"{path}: no such dossier; entente settle list names those that wait") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfigError(f"{path}: {where}: {first['msg']}; propose the step again") from None

    def named(self, digest: str) -> list[Dossier]:
        """The dossiers whose file carries the beginning of this digest."""
        return [self.load(path) for path in sorted(self._folder.glob(f"*-{digest[:12]}.json"))]

    def all(self) -> dict[Path, Dossier]:
        """Every dossier, by file."""
        return {path: self.load(path) for path in sorted(self._folder.glob("*.json"))}

    def of_run(self, run_id: str) -> list[Dossier]:
        """The dossiers about one run."""
        found = (self.load(path) for path in sorted(self._folder.glob(f"*-{run_id[:12]}-*.json")))
        return [dossier for dossier in found if dossier.run_id == run_id]


def write_durably(target: Path, text: str) -> None:
    """Write the file so that after a crash it is the old one or the new one. Raises :class:`StorageError`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text.encode())
    except OSError as error:
        raise StorageError(f"{target}: cannot be written ({error.strerror}); check disk and permissions") from None


def is_posted(ledger: LedgerStore, dossier: Dossier) -> bool:
    """Whether the books hold what this dossier says."""
    entry = ledger.entry(dossier.transactions[-1].id)
    return entry is not None and entry.transaction.evidence == dossier.digest


def requirement(dossier: Dossier, agreement: Agreement | None, roster: Roster) -> Requirement:
    """Who must approve: the party alone for what is its own; else different people of those agreed on.

    Money that leaves, came in or becomes payable needs each party it concerns and somebody else besides: neither two
    bystanders nor those who are paid decide on it. Nobody judges a dispute of their own.

    Raises :class:`LedgerError` for a dossier that posts something else than its kind, its run and its party say, for
    these decide who must approve.
    """
    _check_kind(dossier)
    if dossier.run_id and agreement is None:
        raise LedgerError(f"the dossier is of run {dossier.run_id[:12]}, which this coordinator does not know")
    if dossier.kind in _OWN:
        return Requirement(people={dossier.party: _key(dossier.party, agreement, roster)}, needed=1)
    people = {name: member.identity_key for name, member in roster.items() if name not in (COORDINATOR, DESK)}
    needed = 2
    if agreement is not None:
        rules = settlement_rules(agreement)
        people, needed = dict(rules.approvers) or people, rules.approvals
    if dossier.kind == "judgement":
        people.pop(dossier.party, None)
    must = _concerned(dossier) if dossier.kind in _MONEY and dossier.version > 1 else ()
    gone = sorted(set(must) - set(people))
    if gone:
        raise LedgerError(f"this concerns {', '.join(gone)}, who must approve it and is no member: invite it first")
    return Requirement(people=people, needed=max(needed, len(must) + 1) if must else needed, must=must)


def _concerned(dossier: Dossier) -> tuple[str, ...]:
    """The parties whose money it is: those whose accounts it moves, and who is said to have paid in or reported."""
    accounts = {account for one in dossier.transactions for account, _ in one.postings}
    found = {match[1] for account in accounts if (match := _PARTY_ACCOUNT.fullmatch(account))}
    return tuple(sorted(found | ({dossier.party} if dossier.party else set(_reporters(dossier)))))


def _reporters(dossier: Dossier) -> tuple[str, ...]:
    """Who reported the fees whose total this books, where it says so; nobody in any other dossier."""
    said = dossier.basis.get("reporters", []) if dossier.kind == "receipt" and not dossier.party else []
    return tuple(name for name in said if isinstance(name, str)) if isinstance(said, list) else ()


def check_current(dossier: Dossier) -> None:
    """Raise :class:`LedgerError` for a money dossier of an earlier version, which is kept and never posted anew."""
    if dossier.kind in _MONEY and dossier.version < 2:
        raise LedgerError("this dossier was made before money needed the parties it concerns: propose the step again")
    if dossier.kind == "receipt" and not dossier.party and len(set(_reporters(dossier))) < _FEWEST_REPORTERS:
        raise LedgerError(
            f"this books fees without naming {_FEWEST_REPORTERS} parties or more that reported them and must approve "
            "it: propose the step again with entente fees book"
        )


def _check_kind(dossier: Dossier) -> None:
    run, party = re.escape(dossier.run_id), re.escape(dossier.party)
    settlement = f"settlement/{run}"
    allowed = {
        "close": f"{settlement}|stake-exit/.*",
        "final": f"{settlement}/final",
        "void": f"{settlement}/void",
        "correction": f"{settlement}/correction/[0-9]+",
        "dispute": f"dispute/{run}/{party}",
        "judgement": f"dispute/{run}/{party}/(?:upheld|rejected)",
        "receipt": "(?:stake|subscription)/.+",
        "exit": f"stake-exit/{party}/[0-9TZ]+/1",
        "release": f"stake-exit/{party}/[0-9TZ]+/[0-9]+/released",
        "pay": "payout/.+",
        "licence": f"licence/{run}/[1-9][0-9]*",
    }[dossier.kind]
    if dossier.kind == "receipt" and not dossier.party:
        allowed = "subscription/fees/.+"  # of nobody in particular: a total that all parties proved
    about_a_run = dossier.kind in ("close", "final", "void", "correction", "dispute", "judgement", "licence")
    fits = bool(dossier.run_id) == about_a_run
    for one in dossier.transactions:
        fits = fits and re.fullmatch(allowed, one.id) is not None
        if dossier.kind in _OWN:
            stake, *others = [account for account, _ in one.postings] or [""]
            free = {POT, FORFEITS} if dossier.kind == "dispute" else {party_account(dossier.party, "Payable")}
            fits = fits and one.state is State.PENDING and len(others) == 1 and set(others) <= free
            fits = fits and stake == party_account(dossier.party, "Stake") and one.postings[0][1] > 0
        fits = fits and (dossier.kind not in _MONEY or _moves_money(dossier, one))
    if not fits:
        raise LedgerError(f"the dossier posts something else than a {dossier.kind} may: propose the step again")


def _moves_money(dossier: Dossier, one: Intended) -> bool:
    """Whether it moves what its kind may: from one account to one other, of the party it says."""
    if dossier.kind == "release":
        return one.state is State.POSTED and not one.postings and one.resolves == one.id.removesuffix("/released")
    if len(one.postings) != 2 or one.state is not State.POSTED or one.resolves is not None:
        return False
    (first, amount), (second, other) = one.postings
    if dossier.kind == "pay":
        party = one.id.rsplit("/", 1)[-1]
        return (first, second) == (party_account(party, "Payable"), CASH) and amount == -other > 0
    into = party_account(dossier.party, "Stake") if one.id.startswith("stake/") else SUBSCRIPTIONS
    return (first, second) == (CASH, into) and amount == -other > 0


def _key(party: str, agreement: Agreement | None, roster: Roster) -> str:
    return roster.member(party).identity_key if agreement is None else agreement.party(party).identity_key


def post(
    ledger: LedgerStore, dossiers: Dossiers, dossier: Dossier, run: ClosedRun | None, roster: Roster, now: datetime
) -> list[Receipt]:
    """Post an approved dossier; the same again changes nothing.

    A close, a final settlement and a licence are computed again from the books, the run and the live record, so that
    nobody's arithmetic is trusted. Raises :class:`LedgerError` when approvals are missing, when the amounts are not
    what the rules give, or when the books refuse.
    """
    if ledger.entry(dossier.transactions[-1].id) is None:
        check_current(dossier)
    dossier.check(requirement(dossier, run.agreement if run else None, roster))
    if dossier.made_at > now:
        raise LedgerError("the dossier was made in the future: check the clocks, and propose the step again")
    if run is not None and ledger.entry(dossier.transactions[-1].id) is None:
        _check_amounts(ledger, dossier, run)
    dossiers.record(dossier)
    return ledger.append_all(dossier.intended())


def _check_amounts(ledger: LedgerStore, dossier: Dossier, run: ClosedRun) -> None:
    by, at = dossier.proposer, dossier.made_at
    if dossier.kind == "final":
        said = dossier.basis.get("live")
        live = None if said is None else LiveRecord.model_validate(said)
        again = propose_final(ledger, run, live, by, at)
    elif dossier.kind == "close":
        again = propose_close(ledger, run, by, at)
    elif dossier.kind == "licence":
        again = propose_licence(ledger, run, by, at)
    else:
        return
    if again.transactions != dossier.transactions:
        raise LedgerError("the amounts are not what the rules and the books give now: propose the step again")


def audit(
    journal: list[Entry], dossiers: Mapping[Path, Dossier], runs: Mapping[str, ClosedRun], roster: Roster
) -> list[str]:
    """What stands in the books without the approvals it needs; empty when all is well."""
    by_digest = {dossier.digest: dossier for dossier in dossiers.values()}
    faults = []
    for entry in journal:
        transaction = entry.transaction
        if not _needs_dossier(transaction, runs):
            continue
        dossier = by_digest.get(transaction.evidence)
        if dossier is None:
            faults.append(f"{transaction.id!r} was posted without a dossier")
        elif transaction not in dossier.intended():
            faults.append(f"{transaction.id!r} is not what its dossier says")
        else:
            run = runs.get(dossier.run_id)
            try:
                dossier.check(requirement(dossier, run.agreement if run else None, roster))
            except LedgerError as error:
                faults.append(f"{transaction.id!r}: {error}")
    return faults


def _needs_dossier(transaction: Transaction, runs: Mapping[str, ClosedRun]) -> bool:
    """Money that comes or goes, and whatever ends what was pending; the close too where that is agreed."""
    if transaction.id == pending_id(transaction.run_id):
        run = runs.get(transaction.run_id)
        return run is not None and settlement_rules(run.agreement).at_close == "approved"
    return transaction.id.startswith(("payout/", "stake/", "subscription/", "licence/")) or (
        transaction.id.startswith(("settlement/", "dispute/", "stake-exit/"))
        and (transaction.id.endswith(_NEEDS_DOSSIER) or "/correction/" in transaction.id)
    )
