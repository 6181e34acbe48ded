"""``entente ledger``: what people get out of the books, from a settled run to the payment order."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from parties.cli import run as run_command
from parties.ledger.entries import Account, Balance, Unit
from parties.ledger.pdf import statement_pdf
from parties.ledger.statements import statement
from parties.ledger.store import LedgerStore
from parties.settlement.cash import propose_payouts
from parties.settlement.dossier_parts import METHOD
from tests.parties.settlement_rig import RULES, SettledHome

PAYEES = """
[debtor]
name = "Consortium"
iban = "DE89370400440532013000"
[payee.sat]
name = "Sat Fund"
iban = "GB82WEST12345698765432"
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Entente = Callable[..., Ran]


@pytest.fixture
def entente(capsys: pytest.CaptureFixture[str]) -> Entente:
    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> SettledHome:
    return SettledHome(tmp_path_factory.mktemp("home"), RULES | {"live_periods": 0})


def test_replay_gives_the_balances_kept(entente: Entente, settled: SettledHome) -> None:
    ran = entente("ledger", "replay", "--home", settled.home)
    assert ran.code == 0, ran.err
    assert "entries replayed; head: " in ran.out
    assert "NO" not in ran.out.split()
    assert ran.out.split().count("yes") == len(settled.agreement.parties) * 3 + 6


def test_a_statement_on_paper_says_method_run_and_bundle(
    entente: Entente, settled: SettledHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportlab.rl_config.pageCompression", 0)
    run = settled.run_id
    files = {suffix: tmp_path / f"sat.{suffix}" for suffix in ("pdf", "html", "csv")}
    for file in files.values():
        ran = entente("ledger", "statement", "sat", "--home", settled.home, "--out", file)
        assert ran.code == 0, ran.err
        assert "Liabilities:Party:sat:Stake" in ran.out
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text(encoding="utf-8"), newline="")))
    (pending,) = [row for row in rows if row["account"].endswith(":Pending") and row["transaction"]]
    assert (pending["run_id"], pending["bundle"], pending["method"]) == (run, "ab" * 32, METHOD)
    assert (pending["pending"], len(pending["evidence"])) == ("20.00", 64)
    page = files["html"].read_text(encoding="utf-8")
    paper = files["pdf"].read_bytes()
    assert paper.startswith(b"%PDF-")
    for said in (METHOD, "80.00", "20.00", "Opening balance", "Closing balance", pending["evidence"][:32], "ab" * 20):
        assert said in page
    text = paper.replace(b") Tj T* (", b"").decode("latin-1")
    for said in (
        METHOD,
        "80.00",
        "20.00",
        "Opening balance",
        "Closing balance",
        "Runs and their evidence",
        "page 1 of",
    ):
        assert said in text
    empty = entente("ledger", "statement", "sat", "--home", settled.home, "--out", tmp_path / "x.docx")
    assert (empty.code, "end the name with .pdf" in empty.err) == (2, True)


def test_the_same_statement_is_the_same_pdf(settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        journal, accounts = ledger.journal(), ledger.accounts()
    days = [entry.transaction.timestamp for entry in journal]
    made = statement(journal, accounts, "card", min(days), max(days))
    assert statement_pdf(made) == statement_pdf(made)
    odd = statement_pdf(made, title="<b>Zoë</b> & ✓ 統計")
    assert odd != statement_pdf(made)


def test_exports_for_spreadsheets_and_accountants(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    for form, says in (
        ("csv", "sequence,transaction"),
        ("balances", "account,side"),
        ("beancount", "tolerance_multiplier"),
    ):
        file = tmp_path / form
        assert entente("ledger", "export", "--format", form, "--home", settled.home, "--out", file).code == 0
        assert says in file.read_text(encoding="utf-8")
    ran = entente("ledger", "export", "--format", "pain001", "--home", settled.home, "--out", tmp_path / "x.xml")
    assert (ran.code, "needs --payees FILE" in ran.err) == (2, True)


def test_a_payment_that_the_cash_does_not_cover_is_remarked_on_where_people_sign() -> None:
    cash = Account("Assets:Consortium:Cash", Unit("USD", 2))
    owed = Account("Liabilities:Party:sat:Payable", Unit("USD", 2))
    for held, remarked in ((1_999, True), (2_000, False)):
        books = SimpleNamespace(
            accounts=lambda: {one.name: one for one in (cash, owed)},
            balances=lambda held=held: {
                cash.name: Balance(cash.normal, debits_posted=held),
                owed.name: Balance(owed.normal, credits_posted=2_000),
            },
        )
        dossier = propose_payouts(cast(Any, books), ["sat"], "1", "admin", datetime(2026, 1, 1, tzinfo=UTC))
        said = "Assets:Consortium:Cash holds 19.99 USD, and this pays 20.00 USD" in "; ".join(dossier.reasons)
        assert said == remarked
        assert dossier.reasons[0] == "sat: 20.00 USD is payable"


def test_from_the_final_settlement_to_the_payment_order(entente: Entente, tmp_path: Path) -> None:
    settled = SettledHome(tmp_path / "home", RULES | {"live_periods": 0})

    def signed(name: str) -> tuple[object, ...]:
        return ("--home", settled.home, "--credentials", settled.keys(name), "--as", name)

    for kind, command in (
        ("final", ("settle", "finalise", settled.run_id)),
        ("pay", ("settle", "pay", "--reference", "2026-06", "--party", "sat")),
    ):
        ran = entente(*command, *signed("admin"))
        assert ran.code == 0
        assert "USD" in ran.out, "in whole currency"
        assert "warning" not in ran.out, "the cash is there"
        (dossier,) = settled.home.glob(f"settlements/{kind}-*.json")
        assert entente("settle", "approve", dossier, "--yes", *signed("sat" if kind == "pay" else "bank")).code == 0
    payees, order = tmp_path / "payees.toml", tmp_path / "order.xml"
    payees.write_text(PAYEES, encoding="utf-8")
    ran = entente("ledger", "export", "--format", "pain001", "--home", settled.home, "--out", order, "--payees", payees,
                  "--reference", "2026-06", "--execute", "2026-07-01")  # fmt: skip
    assert ran.code == 0, ran.err
    text = order.read_text(encoding="utf-8")
    assert '<InstdAmt Ccy="USD">20.00</InstdAmt>' in text
    assert "<Dt>2026-07-01</Dt>" in text


def test_stakes_can_be_paid_in_before_the_first_run(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    home = tmp_path / "coordinator"
    home.mkdir()
    (home / "roster.json").write_bytes((settled.home / "roster.json").read_bytes())
    LedgerStore(home / "ledger.db").close()
    receive = ("settle", "receive", "sat", "80.00", "--stake", "--reference", "b-1", "--home", home)
    early = entente(*receive, "--credentials", settled.keys("admin"))
    assert (early.code, "no accounts yet" in early.err) == (8, True)
    opened = entente("ledger", "open", "--party", "sat", "--party", "card", "--unit", "USD", "--home", home)
    assert "12 accounts opened" in opened.out
    assert "0 accounts opened" in entente("ledger", "open", "--party", "sat", "--unit", "USD", "--home", home).out
    other = entente("ledger", "open", "--party", "sat", "--unit", "USD", "--scale", "3", "--home", home)
    assert (other.code, "has scale 2" in other.err) == (8, True)
    assert entente(*receive, "--credentials", settled.keys("admin")).code == 0
    (dossier,) = home.glob("settlements/receipt-*.json")
    approve = (
        "settle",
        "approve",
        dossier,
        "--yes",
        "--home",
        home,
        "--credentials",
        settled.keys("sat"),
        "--as",
        "sat",
    )
    assert entente(*approve).code == 0
    assert "80.00 USD" in entente("ledger", "balance", "--home", home).out


def test_a_backup_and_a_signed_head(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    head, backup = tmp_path / "head.json", tmp_path / "books.backup"
    roster = settled.home / "roster.json"
    assert entente("ledger", "head", "--home", settled.home, "--out", head).code == 0
    assert entente("ledger", "backup", "--home", settled.home, "--out", backup).code == 0
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    restored = entente("ledger", "restore", backup, "--url", url)
    assert restored.code == 0, restored.err
    checked = entente("ledger", "check", "--url", url, "--head", head, "--roster", roster)
    assert checked.code == 0, checked.err
    assert "signed by coordinator" in checked.out
    again = entente("ledger", "restore", backup, "--url", url)
    assert (again.code, "is not empty" in again.err) == (7, True)
    head.write_text(head.read_text().replace('"sequence": ', '"sequence": 1'))
    forged = entente("ledger", "check", "--url", url, "--head", head, "--roster", roster)
    assert (forged.code, "does not carry the signature" in forged.err) == (8, True)
    without = entente("ledger", "check", "--url", url, "--head", head)
    assert (without.code, "--roster FILE" in without.err) == (2, True)
