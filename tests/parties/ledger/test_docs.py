"""docs/ledger.md says what the ledger does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parties.ledger import export, iso20022, pdf, statements
from parties.ledger.core import Reason, Unit
from parties.ledger.settlement import chart_of_accounts
from tests.places import ROOT

TEXT = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    rows = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")][2:]


def test_every_refusal_is_documented_in_order() -> None:
    assert [row[0] for row in table("What is refused")] == [reason.value for reason in Reason]


def test_every_account_is_documented() -> None:
    rows = table("Accounts")
    documented = {
        name.replace("NAME", "orbit"): row[1] for row in rows for name in re.findall(r"`([A-Za-z:]+)`", row[0])
    }
    opened = chart_of_accounts(Unit("USD", 2), ["orbit"])
    assert documented == {account.name: account.normal.value for account in opened}


def test_every_export_is_documented() -> None:
    documented = set(re.findall(r"[\w.]*?(\w+)`", " ".join(row[0] for row in table("What comes out"))))
    public: set[str] = set()
    for module in (export, iso20022, pdf, statements):
        public |= {name for name in module.__all__ if name.islower()}
    assert documented == public - {"beancount_account", "check_bank_account"}


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)
    exec(compile(example, "docs/ledger.md", "exec"), {})
    assert (tmp_path / "ledger.db").exists()
