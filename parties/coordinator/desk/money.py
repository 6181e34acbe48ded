"""The ledger's doors. An operator sees what moves its own party's accounts, and of it its own postings alone.

Admins and auditors see everything. A reader learns whether the books add up, and no amount.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from parties.calls.asking import Nothing, Role
from parties.calls.money import (
    AccountKind,
    AccountView,
    BalancesView,
    EntryView,
    JournalFile,
    JournalFilter,
    JournalPage,
    JournalQuestion,
    LineView,
    StandingView,
    StatementQuestion,
)
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.engine import Engine
from parties.errors import AgreementError, LedgerError
from parties.ledger.entries import Account, Entry, State
from parties.ledger.export import beancount_text, journal_rows, to_csv
from parties.ledger.search import Criteria
from parties.ledger.statements import statement, statement_csv, statement_html
from parties.ledger.store import LedgerStore
from parties.settlement.dossier_parts import METHOD

__all__ = ["MONEY", "account_view", "doors", "entry_view"]

MONEY: frozenset[Role] = frozenset(("admin", "operator", "auditor"))
_EVERYTHING: frozenset[Role] = frozenset(("admin", "auditor"))
_MOST_EXPORTED = 50_000
_PAGE = 1000
_PARTY = "Liabilities:Party:"


def doors(ledger: LedgerStore, keeper: Bookkeeper, engine: Engine) -> Doors:
    """The doors about the ledger."""
    desk = _Desk(ledger, keeper, engine)
    return {
        "ledger/standing": Door(desk.standing),
        "ledger/verify": Door(desk.verify, _EVERYTHING, acts=True),
        "ledger/balances": Door(desk.balances),
        "ledger/journal": Door(desk.journal, MONEY, JournalQuestion),
        "ledger/file": Door(desk.file, MONEY, JournalFile),
        "ledger/statement": Door(desk.statement, MONEY, StatementQuestion),
    }


class _Desk:
    """Answers about one ledger."""

    def __init__(self, ledger: LedgerStore, keeper: Bookkeeper, engine: Engine) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._engine = engine

    def standing(self, _: Nothing, __: Caller) -> StandingView:
        return _standing_view(self._keeper)

    def verify(self, _: Nothing, __: Caller) -> StandingView:
        self._keeper.begin_anew()
        return _standing_view(self._keeper)

    def balances(self, _: Nothing, caller: Caller) -> BalancesView:
        standing = _standing_view(self._keeper)
        if caller.role == "reader":
            return BalancesView(standing=standing, scope="none")
        accounts = self._ledger.accounts()
        seen = _seen(accounts, caller)
        return BalancesView(
            standing=standing,
            scope="all" if caller.role in _EVERYTHING else "party",
            accounts=tuple(
                account_view(accounts[name], balance.posted, balance.pending)
                for name, balance in self._ledger.balances().items()
                if name in seen
            ),
        )

    def journal(self, asked: JournalQuestion, caller: Caller) -> JournalPage:
        accounts = self._ledger.accounts()
        seen = _seen(accounts, caller)
        criteria = _criteria(asked, accounts, caller, after=asked.after, limit=asked.limit)
        if criteria is None:
            return JournalPage()
        found = self._ledger.search(criteria)
        entries = tuple(entry_view(entry, accounts, seen) for entry in found.entries)
        return JournalPage(entries=entries, following=found.following)

    def file(self, asked: JournalFile, caller: Caller) -> bytes:
        if asked.form == "beancount":
            return self._beancount(caller)
        accounts, after = self._ledger.accounts(), ""
        seen = _seen(accounts, caller)
        entries: list[Entry] = []
        while criteria := _criteria(asked, accounts, caller, after=after, limit=_PAGE):
            found = self._ledger.search(criteria)
            entries += found.entries
            after = found.following
            if len(entries) > _MOST_EXPORTED:
                raise LedgerError(
                    f"more than {_MOST_EXPORTED} transactions fit: narrow the search, or write the whole journal with "
                    "entente ledger export"
                )
            if not after:
                break
        rows = journal_rows(entries, accounts)
        return to_csv([row for row in rows if not row["account"] or row["account"] in seen]).encode()

    def _beancount(self, caller: Caller) -> bytes:
        if caller.role not in _EVERYTHING:
            raise AgreementError("Beancount text has every account in it: an operator exports its own entries as CSV")
        if self._ledger.head().sequence > _MOST_EXPORTED:
            raise LedgerError("the journal is too long for one page: write it with entente ledger export")
        return beancount_text(self._ledger.journal(), self._ledger.accounts()).encode()

    def statement(self, asked: StatementQuestion, caller: Caller) -> bytes:
        if caller.role == "operator" and asked.party != caller.party:
            raise AgreementError(f"{caller.name} works for {caller.party}, and this is the statement of {asked.party}")
        accounts = self._ledger.accounts()
        own = [name for name in accounts if name.startswith(f"{_PARTY}{asked.party}:")]
        journal, head = self._ledger.journal_of(own)
        days = [entry.transaction.timestamp for entry in journal] or [datetime.now(UTC)]
        first = asked.first or min(days).date()
        last = asked.last or max(days).date()
        made = statement(
            journal, accounts, asked.party, _start(first), _start(last + timedelta(days=1)), method=METHOD,
            bundles=self._bundles(journal), head=head,
        )  # fmt: skip
        if asked.form == "pdf":
            from parties.ledger.pdf import statement_pdf

            return statement_pdf(made)
        return (statement_html(made) if asked.form == "html" else statement_csv(made)).encode()

    def _bundles(self, journal: list[Entry]) -> dict[str, str]:
        """The factor bundle's hash of each run in the journal that the coordinator knows."""
        wanted = {entry.transaction.run_id for entry in journal}
        found = {}
        for known in self._engine.all_runs():
            if known.state.run in wanted:
                spans = [span for span in known.state.spans if span.phase == "export"]
                reports = (spans[0].reports or {}) if spans else {}
                found[known.state.run] = str(reports.get(known.state.plan.label, {}).get("sha256", ""))
        return found


def account_view(account: Account, posted: int, pending: int) -> AccountView:
    """An account and a balance, by whose it is and what for."""
    party, _, last = account.name.removeprefix(_PARTY).partition(":") if account.name.startswith(_PARTY) else ("",) * 3
    kinds: dict[str, AccountKind] = {"Stake": "Stake", "Pending": "Pending", "Payable": "Payable"}
    return AccountView(
        account=account.name,
        kind=kinds.get(last, "consortium"),
        party=party,
        posted=posted,
        pending=pending,
        unit=account.unit.code,
        scale=account.unit.scale,
    )


def entry_view(entry: Entry, accounts: Mapping[str, Account], seen: frozenset[str]) -> EntryView:
    """A transaction with those of its postings that may be seen."""
    made = entry.transaction
    shown = [posting for posting in made.postings if posting.account in seen]
    state = entry.resolved_as if made.state is State.PENDING and entry.resolved_as is not None else made.state
    return EntryView(
        sequence=entry.sequence,
        transaction=made.id,
        at=made.timestamp,
        narration=made.narration,
        state=state.value,
        resolves=made.resolves or "",
        resolved_by=entry.resolved_by or "",
        run_id=made.run_id,
        evidence=made.evidence,
        digest=entry.digest,
        lines=tuple(
            LineView(
                account=posting.account,
                minor=posting.amount,
                unit=accounts[posting.account].unit.code,
                scale=accounts[posting.account].unit.scale,
            )
            for posting in shown
        ),
        hidden=len(made.postings) - len(shown),
    )


def _standing_view(keeper: Bookkeeper) -> StandingView:
    found = keeper.current()
    return StandingView(**{name: getattr(found, name) for name in StandingView.model_fields})


def _seen(accounts: Mapping[str, Account], caller: Caller) -> frozenset[str]:
    """The accounts whose amounts the caller may see."""
    if caller.role in _EVERYTHING:
        return frozenset(accounts)
    prefix = f"{_PARTY}{caller.party}:"
    return frozenset(name for name in accounts if caller.party and name.startswith(prefix))


def _criteria(
    asked: JournalFilter, accounts: Mapping[str, Account], caller: Caller, *, after: str, limit: int
) -> Criteria | None:
    """The search, held to what the caller may see; None where nothing can be found."""
    chosen = _seen(accounts, caller)
    if asked.party:
        chosen = frozenset(name for name in chosen if name.startswith(f"{_PARTY}{asked.party}:"))
    if asked.account:
        chosen &= {asked.account}
    narrowed = bool(asked.party or asked.account) or caller.role not in _EVERYTHING
    if narrowed and not chosen:
        return None
    return Criteria(
        text=asked.text,
        accounts=tuple(sorted(chosen)) if narrowed else (),
        run_id=asked.run_id,
        state=asked.state,
        first=_start(asked.first) if asked.first else None,
        until=_start(asked.last + timedelta(days=1)) if asked.last else None,
        order=asked.order,
        after=after,
        limit=limit,
    )


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
