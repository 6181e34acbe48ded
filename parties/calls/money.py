"""The ledger as the desk shows it: balances, the journal with its search, files, and whether everything adds up."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import View
from parties.names import PartyName

__all__ = [
    "AccountView",
    "BalancesView",
    "EntryView",
    "JournalFile",
    "JournalFilter",
    "JournalPage",
    "JournalQuestion",
    "LineView",
    "MoneyCalls",
    "StandingView",
    "StatementQuestion",
]

AccountKind = Literal["Stake", "Pending", "Payable", "consortium"]


class StandingView(View):
    """Whether the books add up: ``checked`` of ``entries`` are verified by now, from the first one on.

    ``finding`` is the first thing found wrong, or "". ``checked_at``: when the last of them was; ``whole_at``: when the
    verification from the first entry began.
    """

    entries: int
    checked: int
    complete: bool
    balanced: bool
    finding: str = ""
    transactions: int = 0
    postings: int = 0
    unresolved: int = 0
    digest: str = ""
    checked_at: datetime | None = None
    whole_at: datetime | None = None


class AccountView(View):
    """An account's balance in minor units on its normal side. ``posted`` is final, ``pending`` awaits resolution."""

    account: str
    kind: AccountKind
    party: str = ""
    posted: int
    pending: int
    unit: str
    scale: int


class BalancesView(View):
    """``scope``: all accounts, those of the caller's own party, or none where the role sees no amounts."""

    standing: StandingView
    scope: Literal["all", "party", "none"]
    accounts: tuple[AccountView, ...] = ()


class LineView(View):
    """One posting: minor units, debit above zero."""

    account: str
    minor: int
    unit: str
    scale: int


class EntryView(View):
    """One transaction of the journal. ``hidden``: postings to accounts that the caller does not see.

    ``state``: what it is worth now; a pending one that was resolved shows what became of it. ``evidence`` is the
    digest of the dossier or of the contributions it rests on.
    """

    sequence: int
    transaction: str
    at: datetime
    narration: str
    state: Literal["pending", "posted", "voided"]
    resolves: str = ""
    resolved_by: str = ""
    run_id: str = ""
    evidence: str = ""
    digest: str = ""
    lines: tuple[LineView, ...] = ()
    hidden: int = 0


class JournalPage(View):
    """Transactions, and the cursor of the page that follows ("": none does)."""

    entries: tuple[EntryView, ...] = ()
    following: str = ""


_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,64}$")]

_Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(2199, 12, 30))]


class JournalFilter(Question):
    """Which transactions. Days are UTC days, both included; ``run_id`` may be the beginning of one."""

    text: Annotated[str, StringConstraints(max_length=200)] = ""
    party: PartyName | Literal[""] = ""
    account: Annotated[str, StringConstraints(max_length=128)] = ""
    run_id: _Hex = ""
    state: Literal["", "pending", "posted", "voided"] = ""
    first: _Day | None = None
    last: _Day | None = None
    order: Literal["newest", "oldest", "date", "amount"] = "newest"


class JournalQuestion(JournalFilter):
    """A page of the journal; ``after`` is the cursor that the page before gave."""

    after: Annotated[str, StringConstraints(max_length=64)] = ""
    limit: int = Field(default=50, ge=1, le=500)


class JournalFile(JournalFilter):
    """The filtered journal as CSV, or the whole one as Beancount text."""

    form: Literal["csv", "beancount"] = "csv"


class StatementQuestion(Question):
    """A party's statement over UTC days, both included; without days, over everything."""

    party: PartyName
    first: _Day | None = None
    last: _Day | None = None
    form: Literal["pdf", "html", "csv"] = "pdf"


class MoneyCalls(Asking, Protocol):
    """Calls about the ledger."""

    def books(self) -> StandingView:
        """Whether the books add up."""
        return self.ask("ledger/standing", Nothing(), StandingView)

    def verify_books(self) -> StandingView:
        """Begin to verify the whole chain again from its first entry."""
        return self.ask("ledger/verify", Nothing(), StandingView)

    def balances(self) -> BalancesView:
        """Every account the caller may see."""
        return self.ask("ledger/balances", Nothing(), BalancesView)

    def journal(self, question: JournalQuestion) -> JournalPage:
        """One page of the journal."""
        return self.ask("ledger/journal", question, JournalPage)

    def journal_file(self, question: JournalFile) -> bytes:
        """The journal for another program."""
        return self.fetch("ledger/file", question)

    def statement(self, question: StatementQuestion) -> bytes:
        """A party's statement of account."""
        return self.fetch("ledger/statement", question)
