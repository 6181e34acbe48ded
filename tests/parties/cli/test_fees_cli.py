"""``entente fees``: a whole round as files under a key of 3072 bits, and what each step refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.terms import FeeUseTerms
from parties.cli import run
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import AgreementError, LedgerError
from parties.ledger.entries import Unit
from parties.ledger.settlement import CASH, SUBSCRIPTIONS, chart_of_accounts
from parties.ledger.store import LedgerStore
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from parties.settlement.fee_files import fee_terms, minor_amount

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASSETS = {"fund": "0.00", "satellite": "1500.00", "social": "499.99"}  # at 20 millionths: 0, 3 and 0 cents
Call = Callable[..., tuple[int, str]]


class Office:
    """Homes, an agreement with fees whose key holder is ``social``, and everybody's reports."""

    def __init__(self, folder: Path) -> None:
        made = simulate(folder / "data", entities=40, periods=12, parties=2, seed=3, model="split")
        self.folder = folder
        settings = load_consortium(made.config)
        self.homes: DemoHomes = lay_out(folder / "demo", settings, made.config.parent, made.data, 3)
        self.settings = settings
        self.file = folder / "agreement.json"

    def home(self, name: str) -> Path:
        return self.homes.party(name)

    def agree(self, modulus: str) -> None:
        terms = FeeUseTerms(key_holder="social", modulus=modulus, bits=2)
        agreed = agreement_of(self.settings.model_copy(update={"fees": terms}), self.homes.roster, NOW)
        self.file.write_bytes(agreed.canonical())

    def terms(self, period: str = "2026Q1") -> tuple[str, ...]:
        return ("--agreement", str(self.file), "--period", period)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office(tmp_path_factory.mktemp("fees"))


@pytest.fixture
def entente(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.err.strip() if code else captured.out

    return call


def test_a_round_from_the_key_to_the_checked_total(office: Office, entente: Call, tmp_path: Path) -> None:
    code, said = entente("fees", "key", "--home", office.home("social"))
    assert code == 0
    found = re.search(r'modulus = "([0-9a-f]{768})"', said)
    assert found is not None
    office.agree(found[1])
    assert "never overwritten" in entente("fees", "key", "--home", office.home("social"))[1]
    key_file = office.home("social") / "keys" / "fees.key"
    assert key_file.stat().st_mode & 0o077 == 0
    assert b"[" not in key_file.read_bytes()[:1]

    reports = {name: tmp_path / f"{name}.report" for name in ASSETS}
    for name, assets in ASSETS.items():
        home = ("--home", office.home(name), "--assets", assets, "--out", reports[name])
        code, said = entente("fees", "report", *office.terms(), *home)
        assert code == 0, said
    assert "0.03 USD" in entente("fees", "report", *office.terms("2026Q2"), "--home", office.home("satellite"),
                                 "--assets", "1500.00", "--out", tmp_path / "later")[1]  # fmt: skip
    everybody = list(reports.values())
    summed, total, result = tmp_path / "sum", tmp_path / "total", tmp_path / "result"

    code, said = entente("fees", "collect", *office.terms(), reports["fund"], reports["social"], "--out", summed)
    assert (code, said) == (5, "error: no fee report from satellite for '2026Q1': wait or excuse them")
    code, said = entente("fees", "collect", *office.terms(), *everybody[:2], tmp_path / "later", "--out", summed)
    assert code == 5
    assert "satellite: reported '2026Q2' when '2026Q1' is due: a replay" in said
    collected = tmp_path / "collected"
    code, said = entente("fees", "collect", *office.terms(), *everybody, "--out", collected)
    assert (code, "goes to fund, satellite, who multiply it, and not to social" in said) == (0, True)
    products: list[object] = []
    for name in ("fund", "satellite", "social"):
        product = tmp_path / f"{name}.product"
        made = ("fees", "multiply", collected, "--home", office.home(name), *office.terms(), "--out", product)
        code, said = entente(*made, "--report", reports[name])
        if name == "social":
            assert (code, "the key holder multiplies nothing" in said) == (2, True)
            continue
        assert (code, "3 reports multiplied, yours among them" in said) == (0, True)
        code, said = entente("fees", "add", *office.terms(), *everybody, *products, "--out", summed)
        assert (code, "have not multiplied the reports of '2026Q1'" in said) == (5, True)
        products += ["--product", product]
    assert "left this party's fee report out" in entente(
        "fees", "multiply", collected, "--home", office.home("satellite"), *office.terms(), "--out", tmp_path / "no",
        "--report", tmp_path / "later",
    )[1]  # fmt: skip
    assert entente("fees", "add", *office.terms(), *everybody, *products, "--out", summed)[0] == 0

    code, said = entente("fees", "open", summed, "--home", office.home("satellite"), *office.terms(), "--out", total)
    assert "make one with entente fees key" in said
    opening = ("fees", "open", summed, "--home", office.home("social"), *office.terms(), "--out")
    code, said = entente(*opening, total)
    assert code == 0
    assert "0.03 USD" in said
    code, said = entente(*opening, tmp_path / "again")
    assert code == 8
    assert "was opened before" in said

    publishing = ("fees", "publish", *office.terms(), *everybody, *products, "--total", total, "--out")
    assert entente(*publishing, result)[0] == 0
    checking = ("fees", "check", result, *office.terms(), "--report")
    code, said = entente(*checking, reports["fund"])
    assert code == 0
    assert "Total for 2026Q1: 0.03 USD, proved." in said
    assert "Reported: fund, satellite, social. Absent: nobody." in said
    assert "not in the total" in entente(*checking, tmp_path / "later")[1]
    assert (
        "holds 'fees.report', not what is needed here" in entente("fees", "check", reports["fund"], *office.terms())[1]
    )

    books = office.homes.coordinator
    booking = ("fees", "book", result, *office.terms(), "--home", books, "--credentials", office.homes.admin)
    assert "no such ledger" in entente(*booking)[1]
    with LedgerStore(books / "ledger.db") as ledger:
        ledger.open_accounts(chart_of_accounts(Unit("EUR", 2), ()), NOW)
    assert "the fees are in USD and the books in EUR" in entente(*booking)[1]
    (books / "ledger.db").unlink()
    with LedgerStore(books / "ledger.db") as ledger:
        ledger.open_accounts(chart_of_accounts(Unit("USD", 2), ASSETS), NOW)
    code, said = entente(*booking)
    assert code == 0, said
    assert "usage fees of 2026Q1: 0.03 USD, proved; fund, satellite, social reported; absent: nobody" in said
    assert "1 of 4 approvals; it concerns fund, satellite, social, who must approve" in said
    [dossier] = (books / "settlements").glob("receipt-*.json")
    for name in ("satellite", "social", "fund"):
        approving = ("settle", "approve", dossier, "--home", books, "--yes", "--as", name)
        code, said = entente(*approving, "--credentials", office.home(name))
    assert "Posted: 1 new entry, approved by admin, satellite, social, fund" in said
    with LedgerStore(books / "ledger.db") as ledger:
        balances = ledger.balances()
        assert (balances[CASH].posted, balances[SUBSCRIPTIONS].posted) == (3, 3)
        assert ledger.check().ok
    assert "Posted: 0 new entries" in entente(*approving, "--credentials", office.home("fund"))[1]
    code, said = entente(*booking)
    assert (code, "are in the books already, as 'subscription/fees/simulated/2026Q1'" in said) == (8, True)
    assert entente("settle", "check", "--home", books)[0] == 2, "no coordinator ran there"

    head, _, body = result.read_bytes().partition(b"\n")
    unproved = tmp_path / "unproved"
    unproved.write_bytes(head + b"\n" + body[:-10] + bytes(10))
    code, said = entente(*booking[:2], unproved, *booking[3:])
    assert (code, "that the key holder did not sign" in said) == (5, True)

    head, _, body = total.read_bytes().partition(b"\n")
    forged = tmp_path / "forged"
    forged.write_bytes(head + b"\n" + body[:-10] + bytes(10))
    code, said = entente(*publishing[:-2], forged, "--out", tmp_path / "wrong")
    assert code == 5
    assert "social: sent a total that the key holder did not sign" in said
    (tmp_path / "text").write_text("hello")
    assert "not a fee document" in entente("fees", "check", tmp_path / "text", *office.terms())[1]


def test_agreements_without_usable_fee_terms(office: Office) -> None:
    plain = agreement_of(office.settings, office.homes.roster, NOW)
    with pytest.raises(AgreementError, match="has no usage fees"):
        fee_terms(plain)
    with pytest.raises(ValidationError, match="no Paillier modulus of 3072 bits"):
        FeeUseTerms(key_holder="fund", modulus="0" * 767 + "1")
    body = json.loads(plain.canonical())
    fees = {"key_holder": "stranger", "modulus": "f" * 768}
    with pytest.raises(ValidationError, match=r"fees\.key_holder must be one of them"):
        Agreement.model_validate(body | {"fees": fees})


def test_amounts_are_exact() -> None:
    assert minor_amount("1250000000.00", 2) == 125_000_000_000
    assert minor_amount("7", 0) == 7
    for wrong in ("1.234", "-1", "NaN", "many", "Infinity"):
        with pytest.raises(LedgerError, match="is no amount"):
            minor_amount(wrong, 2)
