"""Payment orders that the standard's own schema accepts, and the accounts they pay to."""

from __future__ import annotations

import importlib.util
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.errors import ConfigError, LedgerError
from parties.ledger.core import Ledger, Unit
from parties.ledger.iso20022 import BankAccount, check_bank_account, pain001, payouts_of
from parties.ledger.lifecycle import resolve_transaction
from parties.ledger.settlement import CASH, chart_of_accounts, payout, settlement_transactions, subscription
from parties.settlement.payees import load_payees

AT = datetime(2026, 6, 30, 12, tzinfo=UTC)
# the published example IBANs of their countries
DEBTOR = BankAccount("Consortium e.V.", iban="DE89370400440532013000", bic="COBADEFFXXX")
PAYEES = {
    "orbit": BankAccount("Orbit Fünd Ltd ✓ & Söhne", iban="GB82WEST12345698765432"),
    "card_spend": BankAccount("Card Spend", account="000123 456-7", bic="CHASUS33"),
}
FILE = """
[debtor]
name = "Consortium"
iban = "DE89 3704 0044 0532 0130 00"
bic = "cobadeffxxx"
[payee.orbit]
name = "Orbit"
iban = "GB82 WEST 1234 5698 7654 32"
"""


@cache
def schema() -> Any:
    """The XSD of pain.001.001.09, as a package on PyPI carries it."""
    xmlschema = pytest.importorskip("xmlschema", reason="the schema validator is not installed")
    found = importlib.util.find_spec("sepaxml")
    if found is None or found.origin is None:
        pytest.skip("sepaxml, which carries the schema, is not installed")
    return xmlschema.XMLSchema(str(Path(found.origin).parent / "schemas" / "pain.001.001.09.xsd"))


def books(unit: Unit, amounts: dict[str, int], reference: str = "2026-06") -> Ledger:
    ledger = Ledger()
    ledger.open_accounts(chart_of_accounts(unit, amounts), AT)
    ledger.append(subscription("1", sum(amounts.values()), AT))
    (pending,) = settlement_transactions("r1", amounts, AT)
    ledger.append_all([pending, resolve_transaction(pending, AT, amounts, {})])
    ledger.append_all([payout(f"{reference}/{party}", party, amount, AT) for party, amount in amounts.items()])
    return ledger


def order(ledger: Ledger, reference: str = "2026-06", **changes: Any) -> str:
    given_terms: dict[str, Any] = {"payees": PAYEES, "debtor": DEBTOR} | changes
    due = payouts_of(ledger.journal(), reference)
    return pain001(
        due, ledger.accounts(), given_terms["payees"], given_terms["debtor"], reference, AT, date(2026, 7, 1)
    )


def test_the_schema_accepts_a_payment_order() -> None:
    text = order(books(Unit("EUR", 2), {"orbit": 6_001, "card_spend": 2_999}))
    schema().validate(text)
    names = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}
    root = ElementTree.fromstring(text)
    assert [e.text for e in root.iterfind(".//p:CtrlSum", names)] == ["90.00", "90.00"]
    assert [(e.text, e.get("Ccy")) for e in root.iterfind(".//p:InstdAmt", names)] == [
        ("60.01", "EUR"),
        ("29.99", "EUR"),
    ]
    assert [e.text for e in root.iterfind(".//p:EndToEndId", names)] == ["2026-06/orbit", "2026-06/card-spend"]
    assert [e.text for e in root.iterfind(".//p:Cdtr/p:Nm", names)] == ["Orbit Fund Ltd . . Sohne", "Card Spend"]
    assert [e.text for e in root.iterfind(".//p:ChrgBr", names)] == ["SLEV"]


def test_the_schema_refuses_what_is_wrong() -> None:
    text = order(books(Unit("USD", 2), {"orbit": 1}))
    assert schema().is_valid(text)
    for right, wrong in (("<PmtMtd>TRF", "<PmtMtd>CASH"), (">0.01</InstdAmt>", ">0,01</InstdAmt>"), ("SHAR", "MINE")):
        assert right in text
        assert not schema().is_valid(text.replace(right, wrong))


@given(
    st.sampled_from([Unit("JPY", 0), Unit("EUR", 2), Unit("KWD", 3)]),
    st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_-]{0,31}\Z"), st.integers(1, 10**12), min_size=1, max_size=4),
    st.from_regex(r"\A[!-.0-~]{1,60}\Z"),
    st.text(max_size=200),
)
def test_every_payment_order_fits_the_schema(unit: Unit, amounts: dict[str, int], reference: str, name: str) -> None:
    payee = BankAccount(f"x{name}", iban="GB82WEST12345698765432")
    ledger = books(unit, amounts, reference)
    text = order(ledger, reference, payees=dict.fromkeys(amounts, payee))
    schema().validate(text)
    total = ElementTree.fromstring(text).find(".//{*}CtrlSum")
    assert total is not None
    assert total.text is not None
    assert Decimal(total.text).scaleb(unit.scale) == ledger.balances()[CASH].debits_posted


def test_only_what_is_booked_is_paid_and_only_to_known_accounts() -> None:
    ledger = books(Unit("USD", 2), {"orbit": 5})
    with pytest.raises(LedgerError, match="no payout of batch '2026-07' is in the books"):
        order(ledger, "2026-07")
    with pytest.raises(LedgerError, match=r"no \[payee\.orbit\]"):
        order(ledger, payees={})
    with pytest.raises(LedgerError, match="payee 'orbit' has an IBAN that is not one"):
        order(ledger, payees={"orbit": BankAccount("x", iban="GB82WEST12345698765433")})
    with pytest.raises(LedgerError, match="'POINTS' is no ISO 4217 currency"):
        order(books(Unit("POINTS", 0), {"orbit": 5}))


@pytest.mark.parametrize(
    ("account", "says"),
    [
        (BankAccount("x", iban="DE89370400440532013000"), ""),
        (BankAccount("x", iban="FR1420041010050500013M02606", bic="BNPAFRPP"), ""),
        (BankAccount("x", account="1", bic="CHASUS33XXX"), ""),
        (BankAccount("x", iban="DE98370400440532013000"), "a digit or letter is wrong"),
        (BankAccount("x", iban="de89370400440532013000"), "a digit or letter is wrong"),
        (BankAccount("x", iban="DE89"), "a digit or letter is wrong"),
        (BankAccount("x", iban="DE89370400440532013000", bic="COBA"), "has a BIC that is not one"),
        (BankAccount("x", iban="DE89370400440532013000", account="1"), "either an IBAN or another"),
        (BankAccount("x"), "either an IBAN or another"),
        (BankAccount("x", account="1"), "needs the bank's BIC"),
        (BankAccount("✓", account="1", bic="CHASUS33"), "needs a name"),
    ],
)
def test_bank_accounts_are_checked(account: BankAccount, says: str) -> None:
    fault = check_bank_account(account)
    assert (fault == "") == (says == "")
    assert says in fault


@given(st.integers(0, 21), st.characters(codec="ascii", categories=["Nd", "Lu"]))
def test_one_wrong_sign_in_an_iban_is_found(place: int, sign: str) -> None:
    iban = "GB82WEST12345698765432"
    changed = iban[:place] + sign + iban[place + 1 :]
    wrong = bool(check_bank_account(BankAccount("x", iban=changed)))
    # modulo 97 misses no single digit; a letter counts as two digits, whose change it can miss only by chance
    assert wrong == (changed != iban) or sign.isalpha() or iban[place].isalpha()


def test_the_payees_file(tmp_path: Path) -> None:
    file = tmp_path / "payees.toml"
    file.write_text(FILE, encoding="utf-8")
    payees = load_payees(file)
    assert payees.debtor.bank_account == BankAccount("Consortium", "DE89370400440532013000", "COBADEFFXXX")
    for change, says in (
        (("0130 00", "0130 01"), "debtor: has an IBAN that is not one"),
        (("[payee.orbit]", "[payee.Orbit]"), r"payee\.Orbit"),
        (("name = ", "nmae = "), "debtor"),
        (("iban = ", "iban "), "not valid TOML"),
    ):
        file.write_text(FILE.replace(*change), encoding="utf-8")
        with pytest.raises(ConfigError, match=says):
            load_payees(file)
    with pytest.raises(ConfigError, match=r"no such file; name the operator's payees\.toml"):
        load_payees(tmp_path / "nowhere.toml")
