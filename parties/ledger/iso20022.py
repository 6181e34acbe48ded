"""Payouts as an ISO 20022 credit transfer initiation (pain.001.001.09), which banks take as a payment order. Pure.

Only payouts that stand in the journal are written, so no money can be ordered that is not booked. Texts are put into
the Latin letters that every bank's system takes.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from xml.etree import ElementTree

from parties.errors import LedgerError
from parties.ledger.entries import Account, Entry, Transaction
from parties.ledger.settlement import CASH

__all__ = ["BankAccount", "check_bank_account", "pain001", "payouts_of"]

_SPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PREFIX = "payout/"


@dataclass(frozen=True, slots=True)
class BankAccount:
    """Who is paid or pays, and where: an IBAN, or another account number with the bank's BIC."""

    name: str
    iban: str = ""
    bic: str = ""
    account: str = ""


def check_bank_account(account: BankAccount) -> str:
    """What is wrong with it, in words that follow its name; empty when nothing is."""
    if not _latin(account.name, 140).strip("."):
        return "needs a name in Latin letters"
    if bool(account.iban) == bool(account.account):
        return "needs either an IBAN or another account number"
    if account.iban and not _is_iban(account.iban):
        return f"has an IBAN that is not one ({account.iban}): a digit or letter is wrong"
    if account.account and not (account.bic and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 /-]{0,33}", account.account)):
        return "needs the bank's BIC beside an account number of at most 34 letters and digits"
    if account.bic and not _BIC.fullmatch(account.bic):
        return f"has a BIC that is not one ({account.bic})"
    return ""


def _is_iban(text: str) -> bool:
    """ISO 13616: the digits, with letters as 10 to 35 and the first four moved to the end, leave 1 modulo 97."""
    if not _IBAN.fullmatch(text):
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def payouts_of(journal: Iterable[Entry], reference: str) -> dict[str, Transaction]:
    """Party -> its payout in the batch ``reference``. Raises :class:`LedgerError` when there is none."""
    prefix = f"{_PREFIX}{reference}/"
    found = {
        entry.transaction.id[len(prefix) :]: entry.transaction
        for entry in journal
        if entry.transaction.id.startswith(prefix)
    }
    if not found:
        raise LedgerError(f"no payout of batch {reference!r} is in the books: post entente settle pay first")
    return found


def pain001(
    payouts: Mapping[str, Transaction],
    accounts: Mapping[str, Account],
    payees: Mapping[str, BankAccount],
    debtor: BankAccount,
    reference: str,
    at: datetime,
    execute: date,
) -> str:
    """The payment order for ``payouts`` (by party), to be executed on ``execute``; ``at`` is when it was made (UTC).

    Raises :class:`LedgerError` for a party without bank details, a unit that is no currency, or a wrong account.
    """
    unit = accounts[CASH].unit
    if not _CURRENCY.fullmatch(unit.code):
        raise LedgerError(
            f"the ledger's unit {unit.code!r} is no ISO 4217 currency: such payouts have no payment order"
        )
    missing = sorted(set(payouts) - set(payees))
    if missing:
        raise LedgerError(f"the payees file has no [payee.{missing[0]}]: add its name and account")
    for who, account in (("the debtor", debtor), *((f"payee {party!r}", payees[party]) for party in payouts)):
        fault = check_bank_account(account)
        if fault:
            raise LedgerError(f"{who} {fault}")
    amounts = {party: -sum(p.amount for p in made.postings if p.account == CASH) for party, made in payouts.items()}
    total = unit.format(sum(amounts.values()))
    root = ElementTree.Element("Document", {"xmlns": _SPACE})
    order = _add(root, "CstmrCdtTrfInitn")
    head = _add(order, "GrpHdr")
    _add(head, "MsgId", _reference(f"{reference}-{at:%Y%m%d%H%M%S}"))
    _add(head, "CreDtTm", f"{at:%Y-%m-%dT%H:%M:%S}Z")
    _add(head, "NbOfTxs", str(len(payouts)))
    _add(head, "CtrlSum", total)
    _add(_add(head, "InitgPty"), "Nm", _latin(debtor.name, 140))
    batch = _add(order, "PmtInf")
    _add(batch, "PmtInfId", _reference(reference))
    _add(batch, "PmtMtd", "TRF")
    _add(batch, "NbOfTxs", str(len(payouts)))
    _add(batch, "CtrlSum", total)
    _add(_add(batch, "ReqdExctnDt"), "Dt", execute.isoformat())
    _add(_add(batch, "Dbtr"), "Nm", _latin(debtor.name, 140))
    _add_account(batch, "DbtrAcct", debtor)
    _add_bank(batch, "DbtrAgt", debtor)
    _add(batch, "ChrgBr", "SLEV" if unit.code == "EUR" else "SHAR")
    for party, made in payouts.items():
        _add_transfer(batch, payees[party], made, unit.format(amounts[party]), unit.code)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_transfer(
    batch: ElementTree.Element, payee: BankAccount, made: Transaction, amount: str, currency: str
) -> None:
    transfer = _add(batch, "CdtTrfTxInf")
    _add(_add(transfer, "PmtId"), "EndToEndId", _reference(made.id.removeprefix(_PREFIX)))
    _add(_add(transfer, "Amt"), "InstdAmt", amount).set("Ccy", currency)
    if payee.bic:
        _add_bank(transfer, "CdtrAgt", payee)
    _add(_add(transfer, "Cdtr"), "Nm", _latin(payee.name, 140))
    _add_account(transfer, "CdtrAcct", payee)
    _add(_add(transfer, "RmtInf"), "Ustrd", _latin(f"{made.narration} {made.id}", 140))


def _add(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = text
    return child


def _add_account(parent: ElementTree.Element, name: str, account: BankAccount) -> None:
    identity = _add(_add(parent, name), "Id")
    if account.iban:
        _add(identity, "IBAN", account.iban)
    else:
        _add(_add(identity, "Othr"), "Id", account.account)


def _add_bank(parent: ElementTree.Element, name: str, account: BankAccount) -> None:
    bank = _add(_add(parent, name), "FinInstnId")
    if account.bic:
        _add(bank, "BICFI", account.bic)
    else:
        _add(_add(bank, "Othr"), "Id", "NOTPROVIDED")


def _latin(text: str, longest: int) -> str:
    """Text in the letters of the SEPA rulebook: accents are dropped, any other sign becomes a full stop."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return re.sub(r"[^A-Za-z0-9/\-?:().,'+ ]", ".", plain)[:longest].strip()


def _reference(text: str) -> str:
    """At most 35 characters; a longer one keeps its beginning and a hash of the whole."""
    made = re.sub(r"[^A-Za-z0-9+?./:(),'-]", "-", text).strip("/").replace("//", "/")
    return made if len(made) <= 35 else f"{made[:26]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
