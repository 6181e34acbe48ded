"""What leaves the ledger: CSV, Beancount text checked by Beancount itself, and statements."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from parties.errors import LedgerError
from parties.ledger.core import Account, Ledger, Posting, State, Transaction, Unit
from parties.ledger.export import balance_rows, beancount_account, beancount_text, journal_rows, to_csv
from parties.ledger.settlement import (
    CASH,
    REWARD,
    SUBSCRIPTIONS,
    chart_of_accounts,
    final_settlement,
    party_account,
    payout,
    settlement_transactions,
    subscription,
    void_settlement,
)
from parties.ledger.statements import statement, statement_csv, statement_html, statement_rows

JAN, FEB, MAR = (datetime(2026, month, 15, 9, 30, tzinfo=UTC) for month in (1, 2, 3))
YEN = Unit("JPY", 0)


@pytest.fixture
def ledger() -> Ledger:
    """Every kind of entry: two units, pending, final, partly final, void, plain post, still open."""
    made = Ledger()
    made.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit", "card_spend"]), JAN)
    made.open_accounts([Account("Assets:Consortium:Yen", YEN), Account("Income:Yen", YEN)], JAN)
    made.append(subscription("1", 100_005, JAN, '=HYPERLINK("http://x") \\ <b>Zoë</b>'))
    made.append(Transaction("yen", JAN, "yen", (Posting("Assets:Consortium:Yen", 700), Posting("Income:Yen", -700))))
    (whole,) = settlement_transactions("r1", {"orbit": 6001, "card_spend": 2999}, JAN, evidence="ab" * 32)
    (part,) = settlement_transactions("r2", {"orbit": 500, "card_spend": 700}, FEB)
    (void,) = settlement_transactions("r3", {"orbit": 1}, FEB)
    (plain,) = settlement_transactions("r4", {"card_spend": 9}, FEB)
    (waits,) = settlement_transactions("r5", {"orbit": 77}, MAR)
    made.append_all([whole, part, void, plain, waits])
    made.append(final_settlement(whole, FEB))
    made.append(final_settlement(part, MAR, payable={"orbit": 499, "card_spend": 0}))
    made.append(void_settlement(void, MAR, "restated"))
    made.append(Transaction("plain", MAR, "posted as it is", (), State.POSTED, plain.id))
    made.append(payout("1", "orbit", 6000, MAR))
    return made


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_journal_as_csv(ledger: Ledger) -> None:
    rows = parsed(to_csv(journal_rows(ledger.journal(), ledger.accounts())))
    entries = {e.transaction.id: e for e in ledger.journal()}
    assert len(rows) == sum(max(1, len(e.transaction.postings)) for e in entries.values())
    for unit in ("USD", "JPY"):
        mine = [row for row in rows if row["unit"] == unit]
        scale = 100 if unit == "USD" else 1
        debits = sum(round(float(row["debit"] or 0) * scale) for row in mine)
        assert debits == sum(round(float(row["credit"] or 0) * scale) for row in mine) > 0
    first = rows[0]
    assert (first["account"], first["debit"], first["credit"]) == (CASH, "1000.05", "")
    assert first["narration"].startswith("'=HYPERLINK"), "no spreadsheet computes what a ledger narrates"
    whole = next(row for row in rows if row["transaction"] == "settlement/r1")
    assert (whole["state"], whole["resolved_by"], whole["run_id"]) == ("pending", "settlement/r1/final", "r1")
    assert (whole["evidence"], whole["digest"]) == ("ab" * 32, entries["settlement/r1"].digest)
    (void,) = [row for row in rows if row["transaction"] == "settlement/r3/void"]
    assert (void["account"], void["resolves"]) == ("", "settlement/r3")
    assert to_csv([]) == ""


def test_balances_as_rows(ledger: Ledger) -> None:
    rows = {row["account"]: row for row in balance_rows(ledger.balances(), ledger.accounts())}
    assert rows[CASH] == {"account": CASH, "side": "debit", "unit": "USD", "posted": "940.05", "pending": "0.00"}
    owed = rows[party_account("orbit", "Pending")]
    assert (owed["side"], owed["posted"], owed["pending"]) == ("credit", "0.00", "0.77")
    assert rows["Income:Yen"]["posted"] == "700"
    assert rows[REWARD]["posted"] == "95.08"


def test_beancount_names_stay_distinct() -> None:
    names = ["a_b", "a-b", "a--b", "a-_b", "a_-b", "a__b", "a-u-b", "ab", "a_b_", "a1"]
    translated = [beancount_account(f"Liabilities:Party:{name}:Payable") for name in names]
    assert len(set(translated)) == len(names)
    assert translated[0] == "Liabilities:Party:A-U-b:Payable"
    assert beancount_account("Liabilities:Party:card_spend") == "Liabilities:Party:Card-U-spend"
    assert beancount_account(SUBSCRIPTIONS) == SUBSCRIPTIONS


@pytest.fixture
def bean_check(tmp_path: Path) -> Callable[[str], str]:
    program = shutil.which("bean-check", path=str(Path(sys.executable).parent)) or shutil.which("bean-check")
    if program is None:
        pytest.skip("bean-check is not installed: pip install beancount")

    def run(text: str) -> str:
        file = tmp_path / "ledger.beancount"
        file.write_text(text, encoding="utf-8")
        result = subprocess.run([program, "--no-cache", file], capture_output=True, text=True, timeout=60)
        told = result.stdout + result.stderr
        assert (result.returncode == 0) == (told == "")
        return told

    return run


def test_beancount_accepts_the_books(ledger: Ledger, bean_check: Callable[[str], str]) -> None:
    text = beancount_text(ledger.journal(), ledger.accounts(), title='The "books"')
    assert bean_check(text) == ""
    assert '2026-03-15 ! "Reward of run r5' in text
    assert "2026-03-16 balance Liabilities:Party:Orbit:Payable  -5.00 USD" in text
    assert bean_check(beancount_text([], ledger.accounts())) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("  Expenses:Reward  90.00 USD", "  Expenses:Reward  90.001 USD"),
        ("balance Assets:Consortium:Cash  940.05 USD", "balance Assets:Consortium:Cash  940.051 USD"),
        ("open Expenses:Reward USD", "open Expenses:Reward JPY"),
    ],
)
def test_beancount_would_notice(ledger: Ledger, bean_check: Callable[[str], str], right: str, wrong: str) -> None:
    text = beancount_text(ledger.journal(), ledger.accounts())
    assert right in text
    assert bean_check(text.replace(right, wrong, 1)) != ""


def test_a_statement_opens_runs_and_closes(ledger: Ledger) -> None:
    february = statement(
        ledger.journal(), ledger.accounts(), "orbit",
        datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    by_name = {account.account: account for account in february.accounts}
    waiting = by_name[party_account("orbit", "Pending")]
    assert waiting.opening == (0, 6001)
    moves = [(line.entry.transaction.id, line.posted, line.pending, line.pending_after) for line in waiting.lines]
    assert moves == [
        ("settlement/r2", 0, 500, 6501),
        ("settlement/r3", 0, 1, 6502),
        ("settlement/r1/final", 0, -6001, 501),
    ]
    assert waiting.closing == (0, 501)
    payable = by_name[party_account("orbit", "Payable")]
    assert (payable.opening, payable.closing) == ((0, 0), (6001, 0))
    assert (february.sequence, february.digest) == (ledger.head().sequence, ledger.head().digest)


def test_statements_join_up_and_end_at_the_balance(ledger: Ledger) -> None:
    edges = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)]
    months = [
        statement(ledger.journal(), ledger.accounts(), "card_spend", first, until) for first, until in pairwise(edges)
    ]
    for before, after in pairwise(months):
        assert [a.closing for a in before.accounts] == [a.opening for a in after.accounts]
    for account in months[-1].accounts:
        balance = ledger.balances()[account.account]
        assert account.closing == (balance.posted, balance.pending)
    for month in months:
        for account in month.accounts:
            assert account.closing[0] == account.opening[0] + sum(line.posted for line in account.lines)
            assert account.closing[1] == account.opening[1] + sum(line.pending for line in account.lines)


def test_statements_as_csv_and_html(ledger: Ledger) -> None:
    made = statement(
        ledger.journal(), ledger.accounts(), "orbit", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    )
    rows = parsed(statement_csv(made))
    assert rows == statement_rows(made)
    payable = [row for row in rows if row["account"].endswith(":Payable")]
    assert [row["posted_balance"] for row in payable] == ["0.00", "60.01", "65.00", "5.00", "5.00"]

    cells: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            cells.append(data)

    page = statement_html(made, title="<Statement> & more")
    Reader().feed(page)
    assert "<Statement> & more" in cells
    assert "<Statement>" not in page
    assert {"60.01", "65.00", "settlement/r1", "ab" * 32, made.digest, "Closing balance"} <= set(cells)


def test_statements_of_nobody_or_of_no_time(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="party 'orbi' has no account"):
        statement(ledger.journal(), ledger.accounts(), "orbi", JAN, FEB)
    with pytest.raises(LedgerError, match=r"the period from .* is empty"):
        statement(ledger.journal(), ledger.accounts(), "orbit", FEB, FEB)
