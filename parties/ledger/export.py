"""The books for other programs: rows, CSV, and Beancount text that ``bean-check`` accepts with no tolerance. Pure.

Every function takes what a ledger gives out (``journal()`` from its beginning, ``accounts()``,
``balances()``), so the same works on the model, a store and a replay. Amounts are exact decimals.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from parties.ledger.entries import Account, Balance, Entry, State, instant
from parties.ledger.movements import movements

__all__ = [
    "balance_rows",
    "beancount_account",
    "beancount_text",
    "journal_rows",
    "to_csv",
]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def journal_rows(journal: Iterable[Entry], accounts: Mapping[str, Account]) -> list[dict[str, str]]:
    """One row per posting, in journal order; an entry without postings (a void) has one row without an account."""
    rows = []
    for entry in journal:
        transaction = entry.transaction
        common = {
            "sequence": str(entry.sequence),
            "transaction": transaction.id,
            "timestamp": instant(transaction.timestamp),
            "state": transaction.state.value,
            "resolves": transaction.resolves or "",
            "resolved_by": entry.resolved_by or "",
            "narration": transaction.narration,
        }
        last = {"run_id": transaction.run_id, "evidence": transaction.evidence, "digest": entry.digest}
        for posting in transaction.postings:
            unit = accounts[posting.account].unit
            amount = unit.format(abs(posting.amount))
            sides = {"debit": amount, "credit": ""} if posting.amount > 0 else {"debit": "", "credit": amount}
            rows.append(common | {"account": posting.account, "unit": unit.code} | sides | last)
        if not transaction.postings:
            rows.append(common | {"account": "", "unit": "", "debit": "", "credit": ""} | last)
    return rows


def balance_rows(balances: Mapping[str, Balance], accounts: Mapping[str, Account]) -> list[dict[str, str]]:
    """One row per account, in opening order, on the account's normal side."""
    rows = []
    for name, balance in balances.items():
        unit = accounts[name].unit
        row = {"account": name, "side": balance.normal.value, "unit": unit.code}
        row |= {"posted": unit.format(balance.posted), "pending": unit.format(balance.pending)}
        rows.append(row)
    return rows


def to_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """RFC 4180 text with a header. Text a spreadsheet would take for a formula gets a leading apostrophe."""
    if not rows:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _inert(value) for key, value in row.items()})
    return out.getvalue()


def _inert(text: str) -> str:
    """Text that would begin a formula or another row, made text; a number, a negative one too, is what it is."""
    formula = len(text) > 1 and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return _CONTROLS.sub(" ", f"'{text}" if formula else text)


def beancount_account(name: str) -> str:
    """The name as Beancount takes it: parts begin with a capital, and ``_`` becomes ``-U-``.

    Distinct names stay distinct: party names have no capitals of their own.
    """
    head, party, tail = name.partition(":Party:")
    if not party:
        return name
    first, separator, rest = tail.partition(":")
    return f"{head}{party}{first[0].upper()}{first[1:].replace('_', '-U-')}{separator}{rest}"


def beancount_text(journal: Iterable[Entry], accounts: Mapping[str, Account], *, title: str = "Entente ledger") -> str:
    """The journal as a Beancount file that closes with an assertion of every balance.

    Pending amounts count, as they do for Beancount: a transaction that still waits has the flag ``!``,
    and a void is written as the reversal it is. Dates are UTC days.
    """
    entries = list(movements(journal))
    days = [entry.transaction.timestamp.date() for entry, _ in entries] or [date(1970, 1, 1)]
    lines = [
        f"option {_quoted('title')} {_quoted(title)}",
        f"option {_quoted('tolerance_multiplier')} {_quoted('0')}",
        *(f"option {_quoted('operating_currency')} {_quoted(code)}" for code in _codes(accounts)),
        "",
        *(f"{min(days)} commodity {code}" for code in _codes(accounts)),
        *(f"{min(days)} open {beancount_account(name)} {a.unit.code}" for name, a in accounts.items()),
    ]
    totals = dict.fromkeys(accounts, 0)
    for entry, moved in entries:
        transaction = entry.transaction
        flag = "!" if entry.waiting else "*"
        lines += ["", f"{transaction.timestamp.date()} {flag} {_quoted(transaction.narration)}"]
        lines += [f"  {key}: {_quoted(value)}" for key, value in _metadata(entry) if value]
        for movement in moved:
            amount = movement.posted + movement.pending
            totals[movement.account] += amount
            if amount:
                unit = accounts[movement.account].unit
                lines.append(f"  {beancount_account(movement.account)}  {unit.format(amount)} {unit.code}")
    closing = max(days) + timedelta(days=1)
    lines.append("")
    for name, total in totals.items():
        unit = accounts[name].unit
        lines.append(f"{closing} balance {beancount_account(name)}  {unit.format(total)} {unit.code}")
    return "\n".join(lines) + "\n"


def _metadata(entry: Entry) -> list[tuple[str, str]]:
    transaction = entry.transaction
    voided_by = entry.resolved_by if entry.resolved_as is State.VOIDED else ""
    return [
        ("transaction", transaction.id),
        ("timestamp", instant(transaction.timestamp)),
        ("resolves", transaction.resolves or ""),
        ("voided-by", voided_by or ""),
        ("run", transaction.run_id),
        ("evidence", transaction.evidence),
        ("digest", entry.digest),
    ]


def _codes(accounts: Mapping[str, Account]) -> list[str]:
    return list(dict.fromkeys(account.unit.code for account in accounts.values()))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
