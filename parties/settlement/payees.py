"""``payees.toml``: whom the consortium pays, and from which account. The operator keeps it; it never enters the ledger.

[debtor]
name = "Example consortium"
iban = "DE89370400440532013000"
bic = "COBADEFFXXX"

[payee.orbit]
name = "Example fund"
iban = "GB82WEST12345698765432"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from parties.errors import ConfigError
from parties.files.toml import read_toml
from parties.ledger.iso20022 import BankAccount, check_bank_account
from parties.names import PartyName
from vfl.terms import Terms

__all__ = ["AccountTerms", "Payees", "load_payees"]

_Compact = Annotated[str, AfterValidator(lambda text: "".join(text.split()).upper())]


class AccountTerms(Terms):
    """One bank account: an IBAN, or another account number with the bank's BIC."""

    name: str = Field(min_length=1, max_length=140)
    iban: _Compact = ""
    bic: _Compact = ""
    account: str = ""

    @model_validator(mode="after")
    def _usable(self) -> AccountTerms:
        fault = check_bank_account(self.bank_account)
        if fault:
            raise ValueError(fault)
        return self

    @property
    def bank_account(self) -> BankAccount:
        return BankAccount(self.name, self.iban, self.bic, self.account)


class Payees(Terms):
    """The whole file."""

    debtor: AccountTerms
    payee: dict[PartyName, AccountTerms]


def load_payees(path: Path) -> Payees:
    """Read and check the file. Raises :class:`ConfigError` naming the account and the fault."""
    try:
        return Payees.model_validate(read_toml(path, "name the operator's payees.toml"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
