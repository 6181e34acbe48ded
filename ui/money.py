"""Money on the pages: tables of balances, journal and settlements, and the words beside them. Nothing here draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

import pandas as pd

from parties.client import (
    AccountView,
    DossierView,
    EffectView,
    EntryView,
    JournalQuestion,
    OutcomeView,
    SettlementView,
    StandingView,
    StepLine,
)
from ui.wording import MISSING, Colour, amount, as_sentence, correlation, count, plain, short_id, things, when

__all__ = [
    "APPROVER_WORDS",
    "KINDS",
    "ORDERS",
    "STATES",
    "STATE_LOOKS",
    "accounts_table",
    "days_of",
    "dossier_words",
    "effects_table",
    "entries_table",
    "final_table",
    "in_order",
    "journal_question",
    "outcomes_table",
    "settlements_table",
    "standing_words",
    "steps_table",
    "whole",
]

KINDS: Mapping[str, str] = {
    "consortium": "Consortium",
    "Pending": "Rewards, pending",
    "Payable": "Rewards, payable",
    "Stake": "Stakes",
}
STATES: Mapping[str, str] = {"": "All", "pending": "Pending", "posted": "Final", "voided": "Voided"}
ORDERS: Mapping[str, str] = {
    "newest": "Last booked first",
    "oldest": "First booked first",
    "date": "By date, latest first",
    "amount": "Largest amount first",
}
STATE_LOOKS: Mapping[str, tuple[str, Colour, str]] = {
    "to close": ("to close", "orange", ":material/assignment:"),
    "pending": ("pending", "blue", ":material/hourglass_top:"),
    "due": ("to finalise", "orange", ":material/assignment_turned_in:"),
    "final": ("final", "green", ":material/check_circle:"),
    "voided": ("voided", "gray", ":material/block:"),
    "nothing": ("nothing booked", "gray", ":material/remove:"),
}
APPROVER_WORDS: Mapping[str, str] = {
    "approved": "approved",
    "refused": "refused",
    "asked": "asked, no answer yet",
    "may": "may approve by a signed file",
}


def whole(minor: int, scale: int) -> float:
    """Minor units as a number of whole ones: for charts and for columns that sort, never for sums."""
    return float(Decimal(minor).scaleb(-scale))


def standing_words(standing: StandingView) -> str:
    """How far the books are verified."""
    if standing.finding:
        return plain(standing.finding)
    if not standing.complete:
        share = 100 * standing.checked / standing.entries if standing.entries else 0
        return f"{count(standing.checked)} of {count(standing.entries)} entries verified ({share:.0f} %)"
    return (
        f"{things(standing.transactions, 'transactions')}, {things(standing.postings, 'postings')}, all verified "
        f"{when(standing.checked_at)}"
    )


def in_order(accounts: Iterable[AccountView], *, zero: bool = True) -> list[AccountView]:
    """The consortium's accounts first, then party by party; those that hold nothing only with ``zero``."""
    kept = [a for a in accounts if zero or a.posted or a.pending]
    return sorted(kept, key=lambda a: (a.party, list(KINDS).index(a.kind), a.account))


def accounts_table(accounts: Iterable[AccountView], *, zero: bool = True) -> pd.DataFrame:
    """One row per account, in order; then, for each unit, what the parties have in all."""
    ordered = in_order(accounts, zero=zero)
    rows = [
        (
            a.party or "Consortium",
            KINDS[a.kind] if a.party else a.account.rpartition(":")[2],
            _or_dash(a.posted, a.unit, a.scale),
            _or_dash(a.pending, a.unit, a.scale),
            a.account,
        )
        for a in ordered
    ]
    sums: dict[tuple[str, int], list[int]] = {}
    for a in ordered:
        if a.party:
            total = sums.setdefault((a.unit, a.scale), [0, 0])
            total[0] += a.posted
            total[1] += a.pending
    owners = sorted({a.party for a in ordered if a.party})
    whose = owners[0] if len(owners) == 1 else "All parties"
    for (unit, scale), (posted, pending) in sums.items():
        rows.append((whose, "In all", _or_dash(posted, unit, scale), _or_dash(pending, unit, scale), ""))
    return pd.DataFrame(rows, columns=["Whose", "What for", "Final", "Pending", "Account"])


def _or_dash(minor: int, unit: str, scale: int) -> str:
    return amount(minor, unit, scale) if minor else MISSING


def entries_table(entries: Iterable[EntryView]) -> pd.DataFrame:
    """One row per posting, its transaction's words on the first; what the viewer does not see is counted."""
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        state = STATES[entry.state].lower() if entry.state in STATES else entry.state
        said = (str(entry.sequence), entry.at, state, entry.narration, short_id(entry.run_id), entry.transaction)
        begun = len(rows)
        for line in entry.lines:
            debit = amount(line.minor, line.unit, line.scale) if line.minor > 0 else ""
            credit = amount(-line.minor, line.unit, line.scale) if line.minor < 0 else ""
            rows.append((line.account, debit, credit))
        if entry.hidden or not entry.lines:
            rows.append((f"{things(entry.hidden, 'postings')} of others" if entry.hidden else MISSING, "", ""))
        for i in range(begun, len(rows)):
            head = said if i == begun else ("",) * len(said)
            rows[i] = (*head[:4], *rows[i], *head[4:])
    columns = ["No.", "Time", "State", "Memo", "Account", "Debit", "Credit", "Run", "Transaction"]
    return pd.DataFrame(rows, columns=columns)


def journal_question(
    *,
    text: str = "",
    party: str = "",
    account: str = "",
    run: str = "",
    state: str = "",
    days: tuple[date, ...] = (),
    order: str = "newest",
    after: str = "",
    rows: int = 50,
) -> JournalQuestion:
    """The question for a page. ``days`` are none, one, or a first and a last; ``run`` the beginning of an id."""
    kept = "".join(c for c in run.strip().lower() if c in "0123456789abcdef")[:64]
    return JournalQuestion.model_validate(
        {
            "text": text.strip()[:200],
            "party": party,
            "account": account[:128],
            "run_id": kept,
            "state": state,
            "first": days[0] if days else None,
            "last": days[-1] if days else None,
            "order": order,
            "after": after,
            "limit": rows,
        }
    )


def days_of(chosen: object) -> tuple[date, ...]:
    """What a date field holds: no day, one, or a first and a last."""
    if isinstance(chosen, tuple):
        return tuple(day for day in chosen if isinstance(day, date))
    return (chosen,) if isinstance(chosen, date) else ()


def settlements_table(runs: Iterable[SettlementView]) -> pd.DataFrame:
    """One row per run: where its reward stands, and the first thing it waits for."""
    rows = [
        (
            short_id(run.run_id),
            run.purpose,
            STATE_LOOKS[run.state][0] + (" · approval asked" if run.dossier else ""),
            amount(run.amount, run.unit, run.scale),
            f"{run.live_periods} of {run.live_needed}" if run.live_needed else MISSING,
            as_sentence(run.waits[0]) if run.waits else "",
        )
        for run in runs
    ]
    columns = ["Run", "Purpose", "Stands", "Booked", "Live periods", "Waits for"]
    return pd.DataFrame(rows, columns=columns)


def outcomes_table(outcomes: Iterable[OutcomeView], kind: str, unit: str, scale: int) -> pd.DataFrame:
    """Each party's numbers and why."""
    if kind == "close":
        rows = [(o.party, correlation(o.score), amount(o.pending, unit, scale), o.why) for o in outcomes]
        return pd.DataFrame(rows, columns=["Party", "Score", "Reward", "Why"])
    final = [
        (o.party, correlation(o.score), *(amount(n, unit, scale) for n in (o.pending, o.payable, o.lost)), o.why)
        for o in outcomes
    ]
    return pd.DataFrame(final, columns=["Party", "Live score", "Pending", "Payable", "Stake lost", "Why"])


def final_table(outcomes: Sequence[OutcomeView], unit: str, scale: int) -> pd.DataFrame:
    """What became of each party's part, with a sum of all."""
    rows = [(o.party, *(amount(n, unit, scale) for n in (o.pending, o.payable, o.lost))) for o in outcomes]
    sums = [sum(o.pending for o in outcomes), sum(o.payable for o in outcomes), sum(o.lost for o in outcomes)]
    rows.append(("All", *(amount(n, unit, scale) for n in sums)))
    return pd.DataFrame(rows, columns=["Party", "Was pending", "Became payable", "Stake lost"])


def steps_table(steps: Sequence[StepLine]) -> pd.DataFrame:
    """What would be posted, one row per posting."""
    rows = []
    for step in steps:
        for line in step.lines:
            debit = amount(line.minor, line.unit, line.scale) if line.minor > 0 else ""
            credit = amount(-line.minor, line.unit, line.scale) if line.minor < 0 else ""
            rows.append((line.account, debit, credit, _would_be(step.state), step.narration))
        if not step.lines:
            rows.append((MISSING, "", "", _would_be(step.state), step.narration))
    return pd.DataFrame(rows, columns=["Account", "Debit", "Credit", "Would be", "Memo"])


def _would_be(state: str) -> str:
    """The state of a posting that is not made yet, in the journal's words."""
    return STATES.get(state, state).lower()


def effects_table(effects: Iterable[EffectView]) -> pd.DataFrame:
    """What it does to every balance it touches."""
    rows = [
        (
            e.account,
            _or_dash(e.posted, e.unit, e.scale),
            _or_dash(e.posted_after, e.unit, e.scale),
            _or_dash(e.pending, e.unit, e.scale),
            _or_dash(e.pending_after, e.unit, e.scale),
        )
        for e in effects
    ]
    return pd.DataFrame(rows, columns=["Account", "Final now", "Final then", "Pending now", "Pending then"])


def dossier_words(dossier: DossierView) -> str:
    """How far an asked-for step is."""
    return f"{dossier.approved} of {dossier.needed} approvals"
