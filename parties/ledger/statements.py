"""A party's statement: opening balance, every entry, closing balance; as data, CSV and HTML. Pure.

The PDF is in ``pdf.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape

from parties.errors import LedgerError
from parties.ledger.entries import Account, Entry, Head, Side, Unit, instant
from parties.ledger.export import to_csv
from parties.ledger.movements import movements

__all__ = [
    "AccountStatement",
    "Line",
    "RunEvidence",
    "Statement",
    "statement",
    "statement_csv",
    "statement_html",
    "statement_rows",
]


@dataclass(frozen=True, slots=True)
class Line:
    """One entry's effect on one account, on its normal side, and the balances after it (minor units)."""

    entry: Entry
    posted: int
    pending: int
    posted_after: int
    pending_after: int


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """One account over the period; opening and closing are (posted, pending) in minor units."""

    account: str
    unit: Unit
    opening: tuple[int, int]
    lines: tuple[Line, ...]
    closing: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """What a run's amounts rest on, in hex: hashes of contributions or dossiers, and of the bundle's manifest."""

    run_id: str
    evidence: tuple[str, ...]
    bundle: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A party's accounts from ``first`` up to, not including, ``until`` (UTC), as of journal entry ``sequence``.

    ``method`` names the version of the rules the amounts were computed by.
    """

    party: str
    first: datetime
    until: datetime
    sequence: int
    digest: str
    accounts: tuple[AccountStatement, ...]
    method: str = ""
    runs: tuple[RunEvidence, ...] = ()


def statement(
    journal: Iterable[Entry],
    accounts: Mapping[str, Account],
    party: str,
    first: datetime,
    until: datetime,
    *,
    method: str = "",
    bundles: Mapping[str, str] | None = None,
    head: Head | None = None,
) -> Statement:
    """The statement of ``party`` from the whole ``journal``. Entries count by timestamp, then journal order.

    With ``head``, the journal may hold only what moves the party's accounts and what that resolves.

    ``bundles``: run id -> hash of the factor bundle's manifest; runs it names are listed with their evidence.

    Raises :class:`LedgerError` when the party has no account or the period is empty.
    """
    if not first < until:
        raise LedgerError(f"statement of {party!r}: the period from {first} until {until} is empty; give a later end")
    prefix = f"Liabilities:Party:{party}:"
    chosen = {name: account for name, account in accounts.items() if name.startswith(prefix)}
    if not chosen:
        raise LedgerError(f"party {party!r} has no account in this ledger; check the spelling")
    moved = list(movements(journal))
    last = moved[-1][0] if moved else None
    moved.sort(key=lambda pair: (pair[0].transaction.timestamp, pair[0].sequence))
    made = tuple(
        _account(account, [(e, m.posted, m.pending) for e, ms in moved for m in ms if m.account == name], first, until)
        for name, account in chosen.items()
    )
    if head is not None:
        sequence, digest = head.sequence, head.digest
    else:
        sequence, digest = (last.sequence, last.digest) if last else (0, "")
    return Statement(party, first, until, sequence, digest, made, method, _runs(made, bundles or {}))


def _runs(accounts: Iterable[AccountStatement], bundles: Mapping[str, str]) -> tuple[RunEvidence, ...]:
    """The runs that the statement's lines are of, in order."""
    found: dict[str, dict[str, None]] = {}
    for account in accounts:
        for line in account.lines:
            transaction = line.entry.transaction
            if transaction.run_id in bundles:
                found.setdefault(transaction.run_id, {})[transaction.evidence] = None
    return tuple(RunEvidence(run, tuple(filter(None, hashes)), bundles[run]) for run, hashes in found.items())


def _account(
    account: Account, moves: list[tuple[Entry, int, int]], first: datetime, until: datetime
) -> AccountStatement:
    sign = 1 if account.normal is Side.DEBIT else -1
    posted = sum(sign * p for entry, p, _ in moves if entry.transaction.timestamp < first)
    pending = sum(sign * w for entry, _, w in moves if entry.transaction.timestamp < first)
    opening, lines = (posted, pending), []
    for entry, p, w in moves:
        if first <= entry.transaction.timestamp < until:
            posted, pending = posted + sign * p, pending + sign * w
            lines.append(Line(entry, sign * p, sign * w, posted, pending))
    return AccountStatement(account.name, account.unit, opening, tuple(lines), (posted, pending))


def statement_rows(made: Statement) -> list[dict[str, str]]:
    """One row per account's opening, line and closing; every row says by which method, and of which bundle."""
    rows = []
    bundles = {run.run_id: run.bundle for run in made.runs}
    for account in made.accounts:
        rows.append(_row(account, instant(made.first), "Opening balance", None, *account.opening))
        for line in account.lines:
            transaction = line.entry.transaction
            when = instant(transaction.timestamp)
            rows.append(_row(account, when, transaction.narration, line, line.posted_after, line.pending_after))
        rows.append(_row(account, instant(made.until), "Closing balance", None, *account.closing))
    return [row | {"bundle": bundles.get(row["run_id"], ""), "method": made.method} for row in rows]


def _row(
    account: AccountStatement, when: str, narration: str, line: Line | None, posted: int, pending: int
) -> dict[str, str]:
    show = account.unit.format
    return {
        "account": account.account,
        "timestamp": when,
        "transaction": line.entry.transaction.id if line else "",
        "narration": narration,
        "unit": account.unit.code,
        "posted": show(line.posted) if line else "",
        "pending": show(line.pending) if line else "",
        "posted_balance": show(posted),
        "pending_balance": show(pending),
        "run_id": line.entry.transaction.run_id if line else "",
        "evidence": line.entry.transaction.evidence if line else "",
    }


def statement_csv(made: Statement) -> str:
    """The rows as CSV."""
    return to_csv(statement_rows(made))


_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:72rem;color:#222}"
    "table{border-collapse:collapse;width:100%;margin:0 0 2rem}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;"
    "text-align:left;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "code{overflow-wrap:anywhere;font-size:12px}tr.total td{font-weight:600;border-top:1px solid #222}"
)


def statement_html(made: Statement, *, title: str = "Statement of account") -> str:
    """One self-contained page."""
    period = f"{made.first:%Y-%m-%d} until {made.until:%Y-%m-%d} (UTC, end not included)"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}: {escape(made.party)}</title>',
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
        f"<p>Party <strong>{escape(made.party)}</strong>, {period}.<br>",
        f"Journal entry {made.sequence}, ledger hash <code>{escape(made.digest)}</code>.",
        f"<br>Method: {escape(made.method)}.</p>" if made.method else "</p>",
    ]
    parts += [_section(account) for account in made.accounts]
    if made.runs:
        parts.append(
            "<h2>Runs and their evidence</h2><table><tr><th>Run</th><th>Evidence</th><th>Factor bundle</th></tr>"
        )
        parts += [
            f"<tr><td><code>{escape(run.run_id)}</code></td><td><code>{escape(' '.join(run.evidence))}</code></td>"
            f"<td><code>{escape(run.bundle)}</code></td></tr>"
            for run in made.runs
        ]
        parts.append("</table>")
    return "".join(parts) + "</html>\n"


def _section(account: AccountStatement) -> str:
    show = account.unit.format
    heads = "".join(
        f"<th{' class=n' if number else ''}>{name}</th>"
        for name, number in (
            ("Date", False), ("Entry", False), ("Run and evidence", False),
            ("Posted", True), ("Pending", True), ("Posted balance", True), ("Pending balance", True),
        )
    )  # fmt: skip
    rows = [_total("Opening balance", account, account.opening)]
    for line in account.lines:
        transaction = line.entry.transaction
        numbers = (line.posted, line.pending, line.posted_after, line.pending_after)
        rows.append(
            f"<tr><td>{transaction.timestamp:%Y-%m-%d}</td>"
            f"<td>{escape(transaction.narration)}<br><code>{escape(transaction.id)}</code></td>"
            f"<td><code>{escape(transaction.run_id)}</code><br><code>{escape(transaction.evidence)}</code></td>"
            + "".join(f'<td class="n">{show(number)}</td>' for number in numbers)
            + "</tr>"
        )
    rows.append(_total("Closing balance", account, account.closing))
    return f"<h2>{escape(account.account)} ({account.unit.code})</h2><table><tr>{heads}</tr>{''.join(rows)}</table>"


def _total(name: str, account: AccountStatement, balance: tuple[int, int]) -> str:
    show = account.unit.format
    return (
        f'<tr class="total"><td></td><td>{name}</td><td></td><td></td><td></td>'
        f'<td class="n">{show(balance[0])}</td><td class="n">{show(balance[1])}</td></tr>'
    )
